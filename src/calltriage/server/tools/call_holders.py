"""The issues that hold the calls of a page, where an API's rows do not name them."""

from __future__ import annotations

import anyio

from calltriage.client.limits import deadline_in
from calltriage.leaves.strict_json import JsonObject
from calltriage.server.answers.results import BUDGET, passes
from calltriage.server.context import Invocation

UNKNOWN = "Which issues hold these calls could not be read."
NO_ROOM = "The issues that hold these calls did not fit. Pass a smaller limit."


async def with_issues(work: Invocation, body: JsonObject) -> JsonObject:
    """A page of calls whose rows name the issues that hold them; a note says if some or all could not be named."""
    left = deadline_in(work.server.client.deadline_s) - anyio.current_time()
    held = await work.server.holders.of(work.server.client, left / 2)
    if held is None:
        return _noting(body, UNKNOWN)
    tickets = [held.tickets.get(row.get("call_id", ""), []) for row in body["items"]]
    items = [row | ({"issues": of} if of else {}) for row, of in zip(body["items"], tickets, strict=True)]
    if not passes(fuller := {**body, "items": items}, BUDGET):
        return _noting(body, NO_ROOM)
    if held.is_all:
        return fuller
    return _noting(fuller, f"issues: of the {held.issues} issues of latest activity that hold calls.")


def _noting(body: JsonObject, note: str) -> JsonObject:
    return {**body, "note": f"{body['note']} {note}" if "note" in body else note}
