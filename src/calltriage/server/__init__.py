"""What an agent sees: tools and resources over MCP."""

from calltriage.leaves.importing import import_alone

import_alone("mcp.server.lowlevel")  # without the SDK's client and its MCPServer: 14 MiB of memory
