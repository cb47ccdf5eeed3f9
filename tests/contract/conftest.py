"""Raw HTTP to the desk's attachments side: with no credential, and as each of two accounts."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx2
import pytest
from conftest import DESK_URL, KEY
from contract.attachments import account_with

from calltriage.desk.app import Desk


@pytest.fixture
async def bare(the_desk: Desk) -> AsyncGenerator[httpx2.AsyncClient]:
    """Raw HTTP to the desk without any credential."""
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
        yield http


@pytest.fixture
async def account(the_desk: Desk) -> AsyncGenerator[httpx2.AsyncClient]:
    """The first organisation's account."""
    async with account_with(the_desk, KEY) as http:
        yield http


@pytest.fixture
async def stranger(the_desk: Desk) -> AsyncGenerator[httpx2.AsyncClient]:
    """Another organisation's account."""
    async with account_with(the_desk, (await the_desk.tenants.add_organisation("B")).key) as http:
        yield http
