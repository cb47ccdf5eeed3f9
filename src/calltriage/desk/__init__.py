"""The embedded desk: both vendor contracts, served from one folder."""

CLIENT_ID = "desk"
"""OAuth client id of every organisation; its secret is the organisation's API key."""
