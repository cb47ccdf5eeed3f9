"""The journal's head, noted beside it, so that a journal that was emptied, cut or put back as it was earlier is found.

The note is sealed with a key of the data folder. It may be a second older than the journal: it is written while the server
works, not with each row, and not forced to disk. So it costs nothing, and the journal may be newer than its note.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calltriage.errors import StoreError
from calltriage.leaves.seals import is_signature, signature

NOTE = "journal.head"
NOTED = "journal.noted"
"""Stands beside a note from the first one on, so that a note that was removed is missed."""
KEY = "journal.key"
"""File of the data folder with the secret that seals the note."""
LINE = re.compile(r"(\d{1,18}):([0-9a-f]{64}) ([0-9a-f]{64})\n")

Head = tuple[int, str]
"""Number and hash of a row."""


@dataclass(frozen=True)
class HeadNote:
    """The note in `folder`. `key` gives the secret in the folder's key file, which it makes if it is not there."""

    folder: Path
    key: Callable[[], bytes]

    def read(self) -> Head | None:
        """The noted head; None where none was noted. Raises StoreError for a note that this folder did not make, and for
        one that was removed."""
        try:
            text = (self.folder / NOTE).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            if not (self.folder / NOTED).exists():
                return None
            raise StoreError(
                f"{self.folder / NOTE} is gone: a head was noted beside the journal and the note was removed. So nothing "
                "says whether rows were cut off. Compare the journal with a head that was noted elsewhere, then remove "
                f"{NOTED}: a server notes a new head."
            ) from None
        except OSError as error:
            raise StoreError(f"{self.folder / NOTE} cannot be read ({type(error).__name__}).") from error
        found = LINE.fullmatch(text)
        has_key = (self.folder / KEY).is_file()  # reading makes none
        if found is None or not has_key or not is_signature(found[3], self.key(), _sealed(int(found[1]), found[2])):
            raise StoreError(
                f"{self.folder / NOTE} was not made with the key of this folder: it was altered, or the note or its key "
                f"({KEY}) comes from elsewhere. So nothing says whether rows were cut off. Keep a copy of both and of the "
                f"journal, then remove the note and {NOTED}: a server notes a new one."
            )
        return int(found[1]), found[2]

    def write(self, seq: int, digest: str) -> None:
        """Note a head. Raises OSError or StoreError when that fails."""
        target = self.folder / NOTE
        draft = target.with_name(f"{NOTE}.{os.getpid()}")
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="ascii", newline="") as file:
                file.write(f"{seq}:{digest} {signature(self.key(), _sealed(seq, digest))}\n")
            draft.replace(target)
            target.with_name(NOTED).touch(0o600)  # after the note: a crash in between is no false alarm
        finally:
            draft.unlink(missing_ok=True)


def _sealed(seq: int, digest: str) -> bytes:
    return f"journal head\n{seq}:{digest}".encode()
