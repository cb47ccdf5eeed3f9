"""How the calls of a run are spread: over the tasks of this process (`embedded`), or over workers on several machines."""
