"""A client with a data folder on a desk, as the tests of runs need it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
from conftest import endpoints_to
from ledgers import Url

from calltriage.client.client import Client, open_client
from calltriage.client.home import Home
from calltriage.journal.journal import Journal


@asynccontextmanager
async def on_record(
    way: httpx2.AsyncBaseTransport, folder: Path, url: Url = None, in_flight: int = 4
) -> AsyncGenerator[Client]:
    """A client whose writes are on record, and whose ledger is in the folder or at the URL."""
    journal = Journal(folder / "data", "desk")
    home = Home(folder / "data", "desk", url, lambda: b"a secret of the tests")
    endpoints = {api: replace(one, in_flight=in_flight) for api, one in endpoints_to(way).items()}
    async with open_client(endpoints, ledger=journal, home=home) as client:
        yield client
    await journal.close()
