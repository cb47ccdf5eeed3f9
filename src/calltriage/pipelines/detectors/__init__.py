"""Built-in rules. Each takes time in proportion to the call's length. Its docstring defines what it finds."""
