"""Pages of lists whose cursor is the place of a row, each row in brief."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from calltriage.errors import Rejected
from calltriage.leaves.gate import compact
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import A_CURSOR, Form
from calltriage.operations.results import Result
from calltriage.server.answers.results import BUDGET, Bundle, beginning, unread, untrusted

ROWS = 20
"""Rows of a list unless the caller asks for another number."""
LONGEST_TEXT = 300
"""Characters of one text that a row shows."""
CURSOR = "next_cursor of the page before; keep the filters."

RowCursor = Annotated[str, StringConstraints(max_length=512), Form(r"^[0-9]{1,7}$", A_CURSOR)]
"""Place of the first row of a page."""


class Rows(Result):
    """A page of rows, and how complete it is."""

    items: list[Any]
    returned: int
    complete: bool


def brief_row(fields: JsonObject, columns: Iterable[str], longest: int = LONGEST_TEXT) -> JsonObject:
    """The columns of a row that have a value. Texts of more than `longest` characters are cut to their beginning, lists
    and objects of more are left out; `characters_left_out` says of how many."""
    kept: JsonObject = {}
    for name in columns:
        value = fields.get(name)
        if isinstance(value, str | int | float):
            kept = beginning({**kept, name: value}, name, longest)
        elif value:
            if (length := len(compact(value))) <= longest:
                kept[name] = value
            else:
                kept.setdefault("characters_left_out", {})[name] = length
    if unreadable := fields.get("unreadable_fields"):
        kept["unreadable_fields"] = unreadable
    return kept


def page_of(
    rows: list[JsonObject],
    first: int,
    total: int | None,
    origin: str,
    budget: int = BUDGET,
    *,
    lost: Sequence[int] = (),
) -> JsonObject:
    """Rows from place `first` on, as many as fit; the cursor is the place after the last one shown. `lost` are the places of
    rows that cannot be read, counted from `first`. Raises Rejected when the list has ended before `first`."""
    if total is not None and first > total:
        raise Rejected(f"The list has {total} rows, and the cursor lies behind them. Begin without it.", field="cursor")
    bundle = Bundle(budget, gaps=1)
    kept = list[JsonObject]()
    for row in rows:
        shown = row
        if not bundle.affords(row):
            if kept:
                break
            shown = {"too_long": True}  # the next page goes on after it
            bundle.affords(shown)
        kept.append(shown)
    places = [place for place in range(len(rows) + len(lost)) if place not in lost]
    after = first + (places[len(kept)] if len(kept) < len(rows) else len(rows) + len(lost))
    ends = not (rows or lost) or (total is not None and after >= total)
    known = {"returned": len(kept), "complete": ends and not lost} | ({} if total is None else {"total": total})
    body = untrusted(origin, items=kept, **known) | unread([first + place for place in lost])
    return body | ({} if ends else {"next_cursor": str(after)})
