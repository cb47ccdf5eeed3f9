"""Changes for the tests of the store: rows of its plainest table."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import SecretStr
from sqlalchemy import Connection, insert, select

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings

Url = SecretStr | None
"""None for a file."""


@asynccontextmanager
async def opened(folder: Path, url: Url = None) -> AsyncGenerator[Store]:
    store = Store(folder, url)
    try:
        yield store
    finally:
        await store.close()


def adds(name: str, value: str = "x") -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        connection.execute(insert(settings).values(name=name, value=value))
        return name

    return change


def fails_after_adding(name: str) -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        adds(name)(connection)
        raise LookupError(name)

    return change


def names(connection: Connection) -> set[str]:
    own = {"schema_version", "secret", "org_id", "user_id", "search_index", "call_index"}
    return {row.name for row in connection.execute(select(settings))} - own


class Held:
    """A change that stays inside its transaction until it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: Connection) -> str:
        self.inside.set()
        assert self.go.wait(10)
        return adds(self.name)(connection)

    async def wait_inside(self) -> None:
        assert await anyio.to_thread.run_sync(self.inside.wait, 10)


async def names_on_disk(folder: Path, url: Url = None) -> set[str]:
    """What another opening of the store sees."""
    async with opened(folder, url) as store:
        return await store.read(names)
