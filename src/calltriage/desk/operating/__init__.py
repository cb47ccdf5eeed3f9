"""What the desk's operator does: organisations, users and keys; deleting what was imported."""
