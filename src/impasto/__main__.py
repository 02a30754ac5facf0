"""`python -m impasto`."""

from impasto.cli import program

program()
