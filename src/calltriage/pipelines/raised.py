"""Where a user's code raised an error, without a word of the error's message, which may be a caller's."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

OURS = Path(__file__).parent.parent
PYTHONS = Path(os.__file__).parent
"""The folder of the standard library."""


def raised(error: Exception) -> str:
    """The error's type and, if it came out of a user's code, the file's name and line: `KeyError in acme.py line 12`."""
    at = _written_at(error) if isinstance(error, SyntaxError) else _came_from(error)
    where = "" if at is None else f" in {at[0].name} line {at[1]}"
    return f"{type(error).__name__}{where}"


def _written_at(error: SyntaxError) -> tuple[Path, int] | None:
    return None if error.filename is None or error.lineno is None else (Path(error.filename), error.lineno)


def _came_from(error: Exception) -> tuple[Path, int] | None:
    """The innermost line in the folder of the user's code that was entered first; None if none of it was."""
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    users = [frame for frame in frames if _is_users(frame[0])]
    folder = users[0][0].parent if users else None
    return next((frame for frame in reversed(users) if frame[0].is_relative_to(folder or "")), None)


def _is_users(file: Path) -> bool:
    is_pythons = file.is_relative_to(PYTHONS) and "site-packages" not in file.parts
    return not (is_pythons or file.is_relative_to(OURS) or file.name.startswith("<"))
