"""What the client needs of a record of its writes. The journal is one; a client can work without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from calltriage.client.look_ups import Before
from calltriage.client.receipts import Receipt
from calltriage.operations.base import Operation

Standing = Literal["new", "done", "standing", "open"]
"""How a write stands before it is sent: new; done for this key or by an equal overlapping call, with its result kept;
done lately with equal content, if that still exists; or asked for with an unknown outcome."""


@dataclass(frozen=True)
class Entry:
    """A write that was put on record before it is sent.

    Attributes:
        id: the record's.
        standing: what is known of equal ones asked for before.
        result: what that one was answered, when it is done.
        age_s: seconds since the first of those was asked for that are open.
        last_age_s: seconds since the last of those was.
        before: what the list of such rows showed before that one was sent; None when that is not on record.
        under_way: whether whoever asked for one of those may still be at it.
    """

    id: str
    standing: Standing = "new"
    result: Any = None
    age_s: float = 0.0
    last_age_s: float = 0.0
    before: Before | None = None
    under_way: bool = True


class Ledger(Protocol):
    async def begin(self, operation: Operation[object], before: Before | None = None) -> Entry:
        """Put a write on record, durably, before anything of it is sent, with what was listed `before`.

        Raises a CallError when that cannot be done.
        """
        ...

    async def again(self, entry: Entry, operation: Operation[object]) -> Entry:
        """How a write that was put on record stands now. Raises a CallError when that cannot be read."""
        ...

    async def end(self, entry: Entry, operation: Operation[object], came: Receipt[object] | BaseException) -> None:
        """Record what became of it. Never raises: the write is what it is, recorded or not."""
        ...
