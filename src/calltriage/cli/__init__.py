"""The command line: everything that is printed for a person."""

from calltriage.cli.main import main

__all__ = ["main"]
