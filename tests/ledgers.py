"""Ledgers for the tests of pipelines, on a file or on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from calltriage.pipelines.ledger import Ledger, open_ledger

Url = SecretStr | None
"""None for a file."""


@asynccontextmanager
async def opened_ledger(folder: Path, url: Url = None, account: str = "desk") -> AsyncGenerator[Ledger]:
    async with open_ledger(folder, account, url) as ledger:
        yield ledger
