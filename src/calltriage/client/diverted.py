"""A client whose operations another party carries out: what runs on it neither knows nor cares."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from calltriage.client.client import Client
from calltriage.client.receipts import Receipt
from calltriage.operations.base import Operation

R = TypeVar("R")


class Carrier(Protocol):
    """Carries an operation out, or stands in for whoever would. Raises a CallError as a client does."""

    def __call__(self, operation: Operation[object], /) -> Awaitable[Receipt[Any]]: ...


class Diverted(Client):
    """A client that gives each operation to `carrier`. It shares everything else with the one that it was made from, but
    for signed links: bytes go nowhere."""

    def __init__(self, client: Client, carrier: Carrier) -> None:
        vars(self).update(vars(client))
        self._links = None
        self._carrier = carrier

    async def deliver(self, operation: Operation[R]) -> Receipt[R]:
        return await self._carrier(operation)
