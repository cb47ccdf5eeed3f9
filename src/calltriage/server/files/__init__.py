"""Files: local ones, those of remote clients, and what kind of file bytes are."""
