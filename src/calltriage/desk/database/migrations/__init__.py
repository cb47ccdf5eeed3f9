"""Changes to the tables of existing desks: one module per version, whose `upgrade` makes it from the version before.

A released version's module is never changed. `tables.py` declares the tables that all of them together make from the first
version; a test compares the two.
"""
