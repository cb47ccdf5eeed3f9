"""Tests of the board; a package, so that they share one event loop and one browser."""
