"""Finds the line of each table and key in a TOML text, which Python's `tomllib` does not tell."""

from __future__ import annotations

import re

Place = tuple[str | int, ...]
"""Path of a table or key from the top, such as ("detect", 0, "use"). Tables of an array are numbered from 0."""

HEADER = re.compile(r"\s*\[(\[)?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")
QUOTES = re.compile(r'"""|\'\'\'')


def lines_of(text: str) -> dict[Place, int]:
    """The line (from 1) of each table and key."""
    found, at, counts = dict[Place, int](), Place(), dict[str, int]()
    open_quote: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if open_quote is None and (header := HEADER.match(line)):
            at = tuple(_parts(header[2]))
            if header[1]:
                index = counts.get(header[2], 0)
                counts[header[2]] = index + 1
                at = (*at, index)
            found.setdefault(at, number)
        elif open_quote is None and (key := KEY.match(line)):
            found.setdefault((*at, *_parts(key[1])), number)
        for quote in QUOTES.findall(line):
            open_quote = quote if open_quote is None else None if quote == open_quote else open_quote
    return found


def _parts(key: str) -> list[str]:
    return [part.strip().strip("\"'") for part in key.split(".")]


def nearest_line(lines: dict[Place, int], place: Place) -> int:
    """The line of a place, else of the nearest table around it, else 1."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def told(place: Place) -> str:
    """A place in the words of an error message, such as `detect 2, at_least`."""
    tables, told = list(place[:-1]), list[str]()
    for part in tables:
        told.append(f"{part + 1}" if isinstance(part, int) else str(part))
    return f"{' '.join(told)}, {place[-1]}" if told and place else str(place[-1]) if place else "the file"
