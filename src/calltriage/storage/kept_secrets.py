"""Secrets that are made once and kept in a file of the data folder, for its owner alone."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from calltriage.errors import StoreError
from calltriage.leaves import durable
from calltriage.storage.folders import file_lock

if TYPE_CHECKING:
    from filelock import BaseFileLock

SHORTEST_KEY = 16
"""Characters that a key or token of our own has at least."""


def kept_secret(folder: Path, name: str, advice: str) -> SecretStr:
    """A secret in a file of the data folder, made when it is first asked for. Raises StoreError with the advice; for a
    missing folder, too."""
    file = folder / name
    try:
        if not file.exists():
            _make_secret(file)
        key = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StoreError(f"The key in {folder} cannot be read or made ({type(error).__name__}): {advice}.") from None
    if len(key) < SHORTEST_KEY:
        raise StoreError(
            f"The key in {file} is empty or too short. Remove the file: another key is made at the next start."
        )
    return SecretStr(key)


def _make_secret(file: Path) -> None:
    """Write a new key unless another process is first."""
    with secret_lock(file):
        if not file.exists():
            write_secret(file, secrets.token_urlsafe(32))


def secret_lock(file: Path) -> BaseFileLock:
    """Held while a key's file is made or replaced. Not every file system has links, which would do as well."""
    return file_lock(file.with_name(f"{file.name}.lock"), 30)


def write_secret(file: Path, key: str) -> None:
    """Write a key into a file that only its owner may read. It is renamed into place, so no reader gets a part of it."""
    durable.write(file, key.encode())
