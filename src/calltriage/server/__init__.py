"""What an agent sees: tools and resources over MCP. May import client, operations and errors; nothing else imports mcp."""

from calltriage.leaves.importing import import_alone

import_alone("mcp.server.lowlevel")  # without the SDK's client and its MCPServer: 14 MiB of memory
