"""What the client asks of whoever keeps a record of its writes. The package's journal is one; a client can do without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from calltriage.client.outcomes import Receipt
from calltriage.operations.base import Operation

Standing = Literal["new", "done", "standing", "open"]
"""How a write stands before it is sent: never asked for; done, and its result is kept for this key; done lately by one of
equal content, if that is still there; asked for, and nobody knows what became of it."""


@dataclass(frozen=True)
class Entry:
    """A write that was put on record before it is sent.

    Attributes:
        id: the record's.
        standing: what is known of an equal one asked for before.
        result: what that one was answered, when it is done.
        age_s: seconds since it was asked for, when that is open.
        under_way: whether whoever asked for it may still be at it.
    """

    id: str
    standing: Standing = "new"
    result: Any = None
    age_s: float = 0.0
    under_way: bool = True


class Ledger(Protocol):
    async def begin(self, operation: Operation[Any]) -> Entry:
        """Put a write on record, durably, before anything of it is sent. Raises a CallError when that cannot be done."""
        ...

    async def end(self, entry: Entry, operation: Operation[Any], came: Receipt[Any] | BaseException) -> None:
        """Record what became of it. Never raises: the write is what it is, recorded or not."""
        ...
