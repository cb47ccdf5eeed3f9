"""Finding calls by words that were said in them. The desk's own route: no vendor has it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, select

from calltriage.desk.database.call_words import few_places, newest_words, next_places, place_of
from calltriage.desk.database.tables import call_words, calls
from calltriage.desk.database.transaction import Reply, Transaction, bad_request, handled
from calltriage.desk.handlers.calls import CALL_FIELDS, any_form, call_filters, call_row, first_and_last, with_issues
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.near_words import near_words
from calltriage.matching.spoken_search import Words, said, shown_turns, words_of
from calltriage.operations.calls import ListCalls, SearchCalls

SIZE = 20
MOST_EXAMINED = 400
"""Most calls that one answer reads, among those that the index names."""
LAST_PLACE = 2**62


class _Turn(NamedTuple):
    """A turn of a record."""

    user: str | None
    text: str


def search_calls(tx: Transaction, call: SearchCalls) -> Reply:
    """Calls in which the words were said. Raises ContractError for a query without words."""
    words = words_of(call.query)
    if not words.texts:
        raise bad_request(query="must hold words")
    name = f"calls said {call.model_dump_json(exclude={'limit', 'cursor', 'near'})}"
    before: int = LAST_PLACE if call.cursor is None else tx.open_cursor(call.cursor, name)[0]
    listed, size = call.filters(), call.limit or SIZE
    first, last = _window(listed)
    filters = _filters(call, listed)
    few = few_places(tx, _filters(call, listed.model_copy(update={"start_date": None, "end_date": None})))
    alternatives = words.alternatives()
    found, examined, is_end = list[JsonObject](), 0, False
    while len(found) < size and examined < MOST_EXAMINED and not is_end:
        most = size - len(found)
        places = next_places(tx, alternatives, few, before=min(before, last), after=first, size=most)
        is_end = len(places) < most
        examined += len(places)
        found += _holding(tx, call, words, filters, places) if places else []
        before = places[-1] if places else before
    cursor = None if is_end else tx.seal_cursor([before], name)
    body = {"calls": with_issues(tx, found), "examined": examined, "next_cursor": cursor}
    if call.near and not found and is_end:
        said = newest_words(tx, few, before=last, after=first)
        return Reply(200, {**body, "near_words": near_words(call.query, said)})
    return Reply(200, body)


def _window(listed: ListCalls) -> tuple[int, int]:
    """The first place of the wanted calls, and the one after the last, to the second."""
    first, last = first_and_last(listed)
    return (
        -LAST_PLACE if first is None else place_of(first, 0),
        LAST_PLACE if last is None else place_of(last, -1) + 1,
    )


def _filters(call: SearchCalls, listed: ListCalls) -> list[ColumnElement[bool]]:
    found = call_filters(listed)
    if call.number is not None:
        wanted = any_form([call.number])
        found.append(calls.c.from_number.in_(wanted) | calls.c.to_number.in_(wanted))
    return found


def _holding(
    tx: Transaction, call: SearchCalls, words: Words, filters: list[ColumnElement[bool]], places: list[int]
) -> list[JsonObject]:
    """Those of the calls at these places that hold the words and pass the filters, in order."""
    columns = [column.label(name) for name, column in CALL_FIELDS.items()]
    here = (calls.c.org_id == call_words.c.org_id) & (calls.c.id == call_words.c.call_id)
    query = select(*columns, calls.c.record.label("record"), call_words.c.place.label("place")).where(
        here, call_words.c.place.in_(places), tx.mine(call_words), tx.mine(calls, *filters)
    )
    rows = sorted(tx.connection.execute(query).mappings(), key=lambda row: row["place"], reverse=True)
    found = list[JsonObject]()
    for row in rows:
        turns = [_Turn(turn.get("user"), turn.get("text") or "") for turn in row["record"]["transcripts"] or ()]
        held = said(turns, words, call.speaker)
        if held is not None:
            fields = call_row({name: row[name] for name in CALL_FIELDS}) | {"summary": row["record"].get("summary")}
            found.append({**fields, "matches": len(held.turns), "turns": shown_turns(turns, held)})
    return found


HANDLERS = (handled(SearchCalls, by=search_calls),)
