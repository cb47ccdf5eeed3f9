"""What an agent calls: one module a tool or a family of tools."""
