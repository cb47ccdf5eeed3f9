"""What an agent sees: tools and resources over MCP. May import client, operations and errors; nothing else imports mcp."""
