"""Investigations that run by themselves: from a new call to a verified moment, to an issue with its evidence, once."""
