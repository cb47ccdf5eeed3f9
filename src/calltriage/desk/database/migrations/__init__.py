"""Changes to the tables of desks that exist: one module a version, each `upgrade` makes it from the version before.

A released version's module is never changed. `tables.py` says what all of them together make of the first version; a test
compares the two.
"""
