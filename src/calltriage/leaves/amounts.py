"""Amounts of things as people read them."""

from __future__ import annotations


def amount(count: int, noun: str) -> str:
    """`1 call`, `2 calls`. The noun's plural ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
