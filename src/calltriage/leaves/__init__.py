"""Small modules that import nothing else of the package."""
