"""Lists of calls that are read as one: a number may stand on either side of a call, with its plus sign or without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge

from calltriage.client.client import Client
from calltriage.client.side_by_side import at_once
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.telephone import dialled, forms
from calltriage.operations.calls import Call, CallList, ListCalls

SIDES = {"from_number": "from", "to_number": "to"}
"""Filters of a list by a number, and where a row has it."""


@dataclass(frozen=True)
class Listed:
    """A row of list number `source`; `after` is the place in that list behind it."""

    call: Call
    source: int
    after: int


@dataclass(frozen=True)
class Asked:
    """What is asked: `filters` of every list, and in `lists` the numbers by which each list is narrowed besides."""

    filters: JsonObject
    lists: list[dict[str, str]]
    is_ascending: bool

    def operation(self, source: int, first: int, limit: int) -> ListCalls:
        return ListCalls.model_validate({**self.filters, "from": first, "limit": limit, **self.lists[source]})

    def owns(self, source: int, call: Call) -> bool:
        """Whether a row counts as this list's. By its numbers it may be in several lists: the first of them has it."""
        told = {side: (call.model_extra or {}).get(name) for side, name in SIDES.items()}
        own = {side: dialled(number) for side, number in told.items() if isinstance(number, str)}
        holding = (n for n, wanted in enumerate(self.lists) if wanted and wanted.items() <= own.items())
        return next(holding, source) == source


@dataclass(frozen=True)
class Side:
    """What one list answered from a place on: rows, how many places they and the lost ones take, how many it has in all."""

    first: int
    rows: list[Listed]
    seen: int
    total: int | None
    lost: int


def lists_of(
    number: str | None, from_number: str | None, to_number: str | None, *, has_forms: bool
) -> list[dict[str, str]]:
    """The numbers by which each of the lists is narrowed that together hold the calls with these numbers. `has_forms` if a
    list finds a number only in the form that it was asked for."""

    def each(side: str, value: str | None) -> list[dict[str, str]]:
        if value is None:
            return [{}]
        return [{side: form} for form in (forms(value) if has_forms else (value,))]

    if number is not None:
        return [*each("from_number", number), *each("to_number", number)]
    return [start | end for start in each("from_number", from_number) for end in each("to_number", to_number)]


async def merged(client: Client, asked: Asked, firsts: list[int], limit: int) -> tuple[list[Listed], list[Side]]:
    """The next rows of all lists together, each list in its own order; and what each list answered."""
    pages = await at_once(*(client.send(asked.operation(n, first, limit)) for n, first in enumerate(firsts)))
    sides = [_side(page, asked, n, first, limit) for n, (page, first) in enumerate(zip(pages, firsts, strict=True))]
    rows = merge(
        *(_timed(side.rows, is_ascending=asked.is_ascending) for side in sides),
        key=lambda timed: timed[0],
        reverse=not asked.is_ascending,
    )
    found = dict[str, Listed]()
    for _, row in rows:
        if len(found) == limit:
            break
        found.setdefault(row.call.call_id, row)
    return list(found.values()), sides


def _side(page: CallList, asked: Asked, source: int, first: int, limit: int) -> Side:
    lost = set(page.unreadable_rows("calls"))
    seen = len(page.calls) + len(lost)
    places = [n for n in range(seen) if n not in lost]
    rows = [
        Listed(call, source, first + place + 1)
        for call, place in zip(page.calls, places, strict=True)
        if asked.owns(source, call)
    ]
    total = first + seen if page.total_count is None and seen < limit else page.total_count
    return Side(first, rows, seen, total, len(lost))


def _timed(rows: list[Listed], *, is_ascending: bool) -> Iterator[tuple[datetime, Listed]]:
    """Rows with the times that they are merged by. A list's own order stands: a row without a time, or out of order, has
    that of the row before it."""
    last = datetime.min.replace(tzinfo=UTC) if is_ascending else datetime.max.replace(tzinfo=UTC)
    for row in rows:
        began = row.call.began or last
        last = max(last, began) if is_ascending else min(last, began)
        yield last, row


def on(sides: list[Side], shown: list[Listed]) -> JsonObject:
    """`complete` and, if there is more, `next_cursor`: the place in each list behind its rows that were shown."""
    after = list[int]()
    for n, side in enumerate(sides):
        mine = [row.after for row in shown if row.source == n]
        after.append(side.first + side.seen if len(mine) == len(side.rows) else max([side.first, *mine]))
    ends = all(side.total is not None and place >= side.total for place, side in zip(after, sides, strict=True))
    if ends or not any(side.seen for side in sides):
        return {"complete": not any(side.lost for side in sides)}
    return {"complete": False, "next_cursor": ".".join(map(str, after))}
