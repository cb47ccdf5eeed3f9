"""Speaker marks in plain text, as in `Agent: hello` or `[Speaker 1] hello`."""

from __future__ import annotations

import re
from collections import Counter

MARK = re.compile(
    r"\s*(?:>>\s*|[-–]\s+)?"
    r"(?:\[(?P<bracketed>[^\]\n]{1,48})\]:?|(?P<named>[^\W\d_][\w .'’&-]{0,47}?)\s?(?:\([^)\n]{0,48}\))?:)"
    r"\s+(?P<text>\S.*)",
    re.DOTALL,
)
ROLES = {"agent", "ai", "assistant", "bot", "caller", "customer", "robot", "user", "agent-action"}
"""Names that are speakers even if they stand once."""
INLINE = re.compile(rf"(?<!\S)(?=(?:{'|'.join(sorted(ROLES))})\s?:\s+\S)", re.IGNORECASE)
"""The place before the mark of a role."""


def by_marks(texts: list[str]) -> list[tuple[str | None, str]]:
    """Each text with the speaker that it is marked with, or None.

    What stands before a colon is a speaker if it is a role, if it marks several texts, or if every text is marked and it is
    one or two words long.
    """
    found = [MARK.fullmatch(text) for text in texts]
    names = Counter(_name(mark).casefold() for mark in found if mark)
    all_marked = len(texts) > 1 and None not in found
    told = list[tuple[str | None, str]]()
    for text, mark in zip(texts, found, strict=True):
        name = _name(mark) if mark else ""
        is_likely = names[name.casefold()] > 1 or name.casefold() in ROLES
        if mark and (is_likely or (all_marked and len(name.split()) <= 2)):
            told.append((name, mark["text"].strip()))
        else:
            told.append((None, text.strip()))
    return told


def by_lines(text: str) -> list[tuple[str | None, str]]:
    """The turns of a whole transcript, a line each; a line without a mark goes on with the turn before it. A transcript
    that is one line and begins with a role is split before each role."""
    turns = list[tuple[str | None, str]]()
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and INLINE.match(lines[0].strip()):
        lines = [part for part in INLINE.split(lines[0].strip()) if part.strip()]
    for name, words in by_marks(lines):
        if name is None and turns:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}\n{words}")
        else:
            turns.append((name, words))
    return turns


def _name(mark: re.Match[str]) -> str:
    return (mark["bracketed"] or mark["named"]).strip()
