"""A planner's seat: an agent with every tool, on a desk whose writes are on record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from mcp.client import Client

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

Opened = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncGenerator[Journal]:
    journal = Journal(tmp_path / "data")
    yield journal
    await journal.close()


@pytest.fixture
async def client(the_desk: Desk, journal: Journal) -> AsyncGenerator[ApiClient]:
    """Operations, sent to the desk in process and put on record."""
    endpoints = endpoints_to(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with open_client(endpoints, ledger=journal) as client:
        yield client


@pytest.fixture
def opened(client: ApiClient, journal: Journal) -> Opened:
    """Opens a server on the same data folder: another process with the same secret."""

    @asynccontextmanager
    async def one(**more: Any) -> AsyncGenerator[Client]:
        how: dict[str, Any] = {"tools": select([ALL]), "seals": Seals(lambda: b"0" * 32), "confirm": "allow"} | more
        async with Client(build_server(client, version="0", journal=journal, **how)) as agent:
            yield agent

    return one


@pytest.fixture
async def planner(opened: Opened) -> AsyncGenerator[Client]:
    async with opened() as agent:
        yield agent
