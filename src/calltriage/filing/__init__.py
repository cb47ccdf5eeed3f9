"""What files an issue once: is one like it there already, and where does a fault that comes back belong."""
