"""Files in: their formats, checks, loading, and the sample."""
