"""The command line: everything that is printed for a person."""
