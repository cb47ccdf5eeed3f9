"""What leaves the server: results within a budget, sections, rows."""
