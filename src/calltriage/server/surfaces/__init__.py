"""What MCP has besides tools: resources, prompts, completions, subscriptions."""
