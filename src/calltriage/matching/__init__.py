"""Comparing words: pure functions, used by everything above."""
