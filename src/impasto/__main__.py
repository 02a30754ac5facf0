"""`python -m impasto`."""

from impasto.cli.app import program

program()
