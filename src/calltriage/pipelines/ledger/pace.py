"""One pace for all processes on a ledger: each request to an API has an instant of its own, which the ledger gives out."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import func, select, update

from calltriage.client.client import Client
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import add_new
from calltriage.pipelines.ledger.tables import paces

if TYPE_CHECKING:
    from sqlalchemy import Connection

FURTHEST_S = 600.0
"""An instant further ahead comes from a clock that was wrong, and does not count."""


async def reserve(ledger: Ledger, api: str, per_second: float) -> float:
    """Take the next instant at which a request may go out; the seconds until then."""

    def change(connection: Connection) -> float:
        now = _now(connection)
        this = (paces.c.account == ledger.account) & (paces.c.api == api)
        add_new(connection, paces, [{"account": ledger.account, "api": api, "next_at": now}])
        found: float = connection.execute(select(paces.c.next_at).where(this)).scalar_one()
        at = found if now <= found <= now + FURTHEST_S else now
        connection.execute(update(paces).where(this).values(next_at=at + 1 / per_second))
        return at - now

    return await ledger.write(change, "pace")


def _now(connection: Connection) -> float:
    """Seconds since 1970 on the clock that all of them share: the server's, or that of the one machine."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
    return time.time()


@contextmanager
def paced(client: Client, ledger: Ledger) -> Generator[None]:
    """While the block runs, the client's requests to vendors keep the pace of all processes on the ledger."""
    with ExitStack() as stack:
        for api, endpoint in client.endpoints.items():
            if endpoint.rate is not None:
                stack.enter_context(endpoint.rate.shared(partial(_wait, ledger, api.name, endpoint.rate.per_second)))
        yield


async def _wait(ledger: Ledger, api: str, per_second: float) -> None:
    await anyio.sleep(await reserve(ledger, api, per_second))
