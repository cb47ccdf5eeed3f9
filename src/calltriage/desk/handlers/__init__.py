"""One handler per operation of the contracts."""
