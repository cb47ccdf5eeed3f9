"""One request rate for all processes on a ledger: the ledger gives each request the instant at which it may be sent."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from sqlalchemy import Double, case, cast, func

from calltriage.client.client import Client
from calltriage.pipelines.ledger.ledger import Ledger, open_ledger
from calltriage.pipelines.ledger.rows import insert_into
from calltriage.pipelines.ledger.tables import paces

if TYPE_CHECKING:
    from sqlalchemy import Connection

FURTHEST_S = 600.0
"""A next instant further ahead than this comes from a wrong clock and is ignored."""


async def reserve(ledger: Ledger, api: str, per_second: float) -> float:
    """Reserve the next free instant for a request to an API. Returns the seconds until then."""

    step = 1 / per_second

    def change(connection: Connection) -> float:
        now: Any = _now(connection)
        row = {"account": ledger.account, "api": api, "next_at": now + step}
        insert = insert_into(connection.dialect.name, paces).values(row)
        kept = case((paces.c.next_at.between(now, now + FURTHEST_S), paces.c.next_at), else_=now)
        taken = insert.on_conflict_do_update(
            index_elements=[paces.c.account, paces.c.api], set_={"next_at": kept + step}
        ).returning(paces.c.next_at - now - step)
        return max(0.0, round(float(connection.execute(taken).scalar_one()), 5))

    return await ledger.write(change, "pace")


def _now(connection: Connection) -> Any:
    """Seconds since 1970 on the clock that all processes share: PostgreSQL's, or this machine's."""
    if connection.dialect.name == "postgresql":
        return cast(func.extract("epoch", func.clock_timestamp()), Double)
    return time.time()


@contextmanager
def paced(client: Client, ledger: Ledger) -> Generator[None]:
    """While the block runs, the client's APIs with a rate share it with all processes on the ledger."""
    with ExitStack() as stack:
        for api, endpoint in client.endpoints.items():
            if endpoint.rate is not None:
                stack.enter_context(endpoint.rate.shared(partial(_wait, ledger, api.name, endpoint.rate.per_second)))
        yield


@asynccontextmanager
async def open_ledger_of(client: Client) -> AsyncGenerator[Ledger]:
    """The ledger of a client's account. While it is open, the client's rates hold over all processes on it.

    Raises SettingsError for a client without a data folder.
    """
    home = client.home
    async with open_ledger(home.folder, home.account, home.database_url) as ledger:
        with paced(client, ledger):
            yield ledger


@asynccontextmanager
async def at_shared_pace(client: Client) -> AsyncGenerator[None]:
    """While the block runs, the client's rates hold over all processes on its account's ledger, for work that needs no
    ledger besides. A client without a rate, as on the embedded desk, is not held up, and its ledger stays closed.

    Raises SettingsError for a client with a rate and without a data folder.
    """
    if all(endpoint.rate is None for endpoint in client.endpoints.values()):
        yield
        return
    async with open_ledger_of(client):
        yield


async def _wait(ledger: Ledger, api: str, per_second: float) -> None:
    await anyio.sleep(await reserve(ledger, api, per_second))
