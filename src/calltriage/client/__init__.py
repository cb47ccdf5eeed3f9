"""How an operation goes over HTTP. May import operations and errors."""
