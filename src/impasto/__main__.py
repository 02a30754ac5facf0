"""`python -m impasto`."""

from impasto.cli.app import main

main()
