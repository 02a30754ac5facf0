"""What a run leaves on disk: names, settings, provenance, records, results and checkpoints."""
