"""Which side of a call a speaker is of: sources name the same side by many words."""

from __future__ import annotations

from calltriage.matching.folding import folded

SIDES = (
    frozenset({"user", "caller", "customer", "client", "human", "callee"}),
    frozenset({"assistant", "agent", "robot", "bot", "ai", "agent-action"}),
)
"""Words for the one who is served, and for the one who serves."""


def is_of(speaker: object, wanted: str) -> bool:
    """Whether a speaker, as a source named them, is the one that is meant, or of the side that is meant."""
    if not isinstance(speaker, str):
        return False
    name, meant = folded(speaker), folded(wanted)
    return name == meant or any(name in side and meant in side for side in SIDES)
