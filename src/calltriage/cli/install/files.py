"""A host's configuration file: read whole, replaced in one step, put back from the copy that was made of it.

The copy stands beside the file, under a name of its own, and is made only while the file has no entry of ours: so it is what
the file was before calltriage came.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from calltriage.errors import CalltriageError
from calltriage.leaves import durable

MOST_BYTES = 16 * 2**20
"""Bytes of a file that is edited. Its parsers take a multiple of that."""
COPY = ".before-calltriage"
"""What the name of the copy ends with."""
BOM = "\ufeff"


class HostFileError(CalltriageError):
    """A host's file that cannot be read or replaced. It is as it was."""


@dataclass(frozen=True)
class HostFile:
    """One file. A link is followed: what it points at is replaced, and the link stays."""

    path: Path

    @property
    def target(self) -> Path:
        return Path(os.path.realpath(self.path))

    @property
    def copy(self) -> Path:
        return self.path.with_name(self.path.name + COPY)

    def read(self) -> str | None:
        """The text, a byte order mark and ends of lines included; None where there is no file."""
        return _read(self.path)

    def read_copy(self) -> str | None:
        return _read(self.copy)

    def replace(self, before: str | None, after: str | None, *, keep: bool = False) -> None:
        """Put one text in the other's place, unless the file is not `before` any more. `keep`: make the copy first."""
        if self.read() != before:
            raise HostFileError(
                f"{self.path} was changed by somebody else at this moment. Nothing was written; run it again."
            )
        try:
            if keep and before is not None:
                _write(self.copy, before, like=self.target)
            if after is None:
                self.target.unlink()
            else:
                self.target.parent.mkdir(parents=True, exist_ok=True)
                _write(self.target, after, like=self.target)
        except OSError as error:
            raise HostFileError(
                f"{self.path} cannot be replaced: {error.strerror}. Nothing was written to it."
            ) from error

    def forget_copy(self) -> None:
        with suppress(OSError):
            self.copy.unlink()


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            found = file.read(MOST_BYTES + 1)
        if len(found) > MOST_BYTES:
            raise HostFileError(f"{path} is larger than {MOST_BYTES // 2**20} MiB. Nothing was written.")
        return found.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise HostFileError(f"{path} is not text in UTF-8. Nothing was written.") from None
    except OSError as error:
        raise HostFileError(f"{path} cannot be read: {error.strerror}. Nothing was written.") from error


def _write(path: Path, text: str, like: Path) -> None:
    """Put a file in its place, with the mode and the owner of another, or for its owner alone where that is not there."""
    durable.write(path, text.encode(), like.stat() if like.exists() else None)
