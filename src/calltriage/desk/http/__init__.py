"""What arrives at the desk: wire formats, access, tokens, the OpenAPI document, signed URLs."""
