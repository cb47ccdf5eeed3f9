"""`calltriage install`: writes this server into the configuration of an MCP host, and takes it out again."""
