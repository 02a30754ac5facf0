"""`python -m impasto`."""

from impasto.cli.program import program

program()
