"""Rules that come with the package: each takes time in proportion to the call, and says in its docstring what it finds."""
