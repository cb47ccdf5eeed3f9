"""Where a program keeps what belongs to the account that a client reaches, besides the record of its writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr


@dataclass(frozen=True)
class Home:
    """The data folder, and whose things in it are meant.

    Attributes:
        folder: the data folder.
        account: names where calls and issues are; never a credential.
        database_url: PostgreSQL database instead of files in the folder.
        secret: seals what this program has to know again as its own.
        proxy: on the way to other hosts than the APIs; see network.Network.
    """

    folder: Path
    account: str
    database_url: SecretStr | None
    secret: Callable[[], bytes]
    proxy: SecretStr | None = None
