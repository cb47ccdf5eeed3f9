"""Runners work on a run's calls: in this process (`embedded`), or in workers on several machines (`queue`)."""
