"""Many writes as one plan: checked without writing anything, kept, then carried out one after the other."""
