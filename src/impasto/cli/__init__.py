"""The command line: words to settings, errors to sentences and exit codes."""
