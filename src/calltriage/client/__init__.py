"""How an operation goes over HTTP."""
