"""Finding calls by words that were said in them.

Each call has a row in `call_words` with the terms of its turns (matching/spoken_search.py), and an index over them names the
calls in which each term of a search was said: FTS5 in SQLite, GIN in PostgreSQL. Whether a call matches is always decided on
the call itself, so both stores answer the same. A store that cannot have the index is only slower.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import Text

from calltriage.desk.database.indexes import kind_of, make_where_possible
from calltriage.desk.database.tables import call_words, calls, settings
from calltriage.desk.database.transaction import Transaction
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.spoken_search import call_terms

MOST_TERMS = 24
"""Most terms of one reading of a search that the index is asked for."""
NEAR = 2_000
"""Newest calls that PostgreSQL reads before it asks the index: they hold enough matches for a word that many calls have."""
FEW = 2_000
"""If the other filters leave at most this many calls, each of them is read and the index is not asked."""
NEWEST = 400
"""Newest calls in which words like the searched ones are looked for."""
ARRIVALS = 2**25
"""Places within one second: the order of arrival, modulo this, tells calls of a second apart."""

_FORGET = "INSERT INTO call_terms (call_terms, rowid, terms) VALUES ('delete', old.place, old.terms)"
_LEARN = "INSERT INTO call_terms (rowid, terms) VALUES (new.place, new.terms)"
_INDEX = {
    "sqlite": (
        "CREATE VIRTUAL TABLE call_terms USING fts5 (terms, content='call_words', content_rowid='place', detail=none, "
        "columnsize=0, tokenize=\"ascii tokenchars '.,:/'''\")",
        f"CREATE TRIGGER call_terms_insert AFTER INSERT ON call_words BEGIN {_LEARN}; END",
        f"CREATE TRIGGER call_terms_delete AFTER DELETE ON call_words BEGIN {_FORGET}; END",
        "INSERT INTO call_terms (call_terms) VALUES ('rebuild')",
    ),
    "postgresql": (
        "CREATE INDEX call_words_by_term ON call_words USING gin (string_to_array(terms, ' ')) WITH (fastupdate = off)",
    ),
}
_DROP = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS call_terms_insert",
        "DROP TRIGGER IF EXISTS call_terms_delete",
        "DROP TABLE IF EXISTS call_terms",
    ),
    "postgresql": ("DROP INDEX IF EXISTS call_words_by_term",),
}
_index = table("call_terms", column("rowid", BigInteger))


def make_call_index(connection: Connection) -> None:
    """Make the index if the database can have one. The setting `call_index` records it: `terms`, or `none`."""
    make_where_possible(connection, _INDEX[connection.dialect.name], setting="call_index", kind="terms")


def drop_call_index(connection: Connection) -> None:
    """Drop the index and its setting, so that no search asks for it."""
    for statement in _DROP[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(delete(settings).where(settings.c.name == "call_index"))


def keep_words(connection: Connection, org_id: str, records: dict[str, JsonObject]) -> None:
    """Store the terms of these calls of an organisation, in place of earlier ones. `records`: the calls by id."""
    if not records:
        return
    known = and_(calls.c.org_id == org_id, calls.c.id.in_(records))
    found = connection.execute(select(calls.c.seq, calls.c.id, calls.c.created_at).where(known)).all()
    connection.execute(delete(call_words).where(call_words.c.org_id == org_id, call_words.c.call_id.in_(records)))
    rows = [
        {
            "place": place_of(row.created_at, row.seq),
            "org_id": org_id,
            "call_id": row.id,
            "terms": _all_terms(org_id, records[row.id]),
        }
        for row in found
    ]
    connection.execute(insert(call_words), rows)


def forget_words(connection: Connection) -> None:
    """Make the words of calls that are deleted from now on leave SQLite's file, too. Before 3.42 SQLite cannot erase them
    from the index; a merge of the index is asked for instead."""
    if connection.dialect.name == "sqlite" and kind_of(connection, "call_index") == "terms":
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("INSERT INTO call_terms (call_terms, rank) VALUES ('secure-delete', 1)")
        except DBAPIError:
            connection.exec_driver_sql("INSERT INTO call_terms (call_terms) VALUES ('optimize')")


def place_of(created_at: str, arrival: int) -> int:
    """The order of a call among all: by its time in seconds, then by its arrival."""
    return int(datetime.fromisoformat(created_at).timestamp()) * ARRIVALS + arrival % ARRIVALS


def _all_terms(org_id: str, record: JsonObject) -> str:
    said = [turn.get("text") or "" for turn in record["transcripts"] or ()]
    return " ".join({_mark(org_id): None} | call_terms(said))


def _mark(org_id: str) -> str:
    """A term that all calls of an organisation have, so that its searches do not read the calls of others. No spoken word
    has this form."""
    return f"org:{org_id.replace('-', '').lower()}"


def few_places(tx: Transaction, filters: list[ColumnElement[bool]]) -> list[int] | None:
    """The places of all calls that pass the filters; None if there are more than FEW, or no filter."""
    if not filters:
        return None
    joined = call_words.join(calls, and_(calls.c.org_id == call_words.c.org_id, calls.c.id == call_words.c.call_id))
    left = select(call_words.c.place).select_from(joined).where(tx.mine(calls, *filters)).limit(FEW + 1)
    found = list(tx.connection.execute(left).scalars())
    return found if len(found) <= FEW else None


def newest_words(tx: Transaction, few: list[int] | None, *, before: int, after: int) -> set[str]:
    """Words said in the newest calls from the place `after` up to `before`, which is excluded; only in those of `few`, if
    given."""
    within = [call_words.c.place < before, call_words.c.place >= after]
    if few is not None:
        within.append(call_words.c.place.in_(few))
    newest = select(call_words.c.terms).where(tx.mine(call_words, *within)).order_by(call_words.c.place.desc())
    rows = tx.connection.execute(newest.limit(NEWEST)).scalars()
    return {term for terms in rows for term in terms.split() if term.isalpha()}


def next_places(
    tx: Transaction, alternatives: list[list[str]], few: list[int] | None, *, before: int, after: int, size: int
) -> list[int]:
    """Up to `size` places, newest first, from `after` up to `before`, which is excluded: those in `few`, if given, else
    of calls with all terms of one of the alternatives."""
    if few is not None:
        return sorted((place for place in few if after <= place < before), reverse=True)[:size]
    within = tx.mine(call_words, call_words.c.place < before, call_words.c.place >= after)
    wanted = [one[:MOST_TERMS] for one in alternatives]
    if [] in wanted or kind_of(tx.connection, "call_index") != "terms":
        holds = or_(*(and_(true(), *map(_has, one)) for one in wanted))
        return _places(tx, select(call_words.c.place).where(within, holds), size)
    mark = _mark(tx.who.org_id)
    if tx.connection.dialect.name == "sqlite":
        named = f"{_named([mark])} AND ({' OR '.join(f'({_named(one)})' for one in wanted)})"
        found = select(_index.c.rowid).where(literal_column("call_terms").op("MATCH")(named))
        found = found.where(_index.c.rowid < before, _index.c.rowid >= after)
        if all(len(one) == 1 for one in wanted):
            # Backwards, FTS5 passes every page of a common term between two calls; forwards it skips them.
            # But where the newest calls alone have two common terms, it would read all of both before these.
            oldest = sorted(tx.connection.execute(found.limit(size + 1)).scalars(), reverse=True)
            if len(oldest) <= size:
                return oldest
        return _places(tx, found, size, _index.c.rowid)
    return _by_array(tx, mark, wanted, within, size)


def _named(terms: list[str]) -> str:
    """The FTS5 query for calls with all of these terms."""
    return " AND ".join('"' + term.replace('"', '""') + '"' for term in terms)


def _by_array(tx: Transaction, mark: str, wanted: list[list[str]], within: ColumnElement[bool], size: int) -> list[int]:
    first = select(call_words).where(within).order_by(call_words.c.place.desc()).limit(NEAR).subquery()
    is_near = or_(*(and_(true(), *(_stands_in(first.c.terms, term) for term in one)) for one in wanted))
    near = _places(tx, select(first.c.place).where(is_near), size, first.c.place)
    if len(near) == size:
        return near
    # Materialized, or the planner may walk the whole list for a word that no call holds.
    has_all = _has_all(call_words.c.terms, [[mark, *one] for one in wanted])
    found = select(call_words.c.place).where(within, has_all).cte()
    found = found.prefix_with("MATERIALIZED")
    return _places(tx, select(found.c.place), size, found.c.place)


def _has_all(words: ColumnElement[Any], wanted: list[list[str]]) -> ColumnElement[bool]:
    """The condition that a call has all terms of one of the lists."""
    return or_(*(_array(words).contains(one) for one in wanted))


def _stands_in(words: ColumnElement[Any], term: str) -> ColumnElement[bool]:
    """The condition that a call has a term, as a search in the text. It costs a tenth of a search in an array."""
    return func.strpos(literal(" ") + words + literal(" "), f" {term} ") > 0


def _array(words: ColumnElement[Any]) -> Any:
    from sqlalchemy.dialects.postgresql import ARRAY  # noqa: PLC0415  3 MiB that a desk on a file never needs

    return func.string_to_array(words, literal_column("' '"), type_=ARRAY(Text))


def _places(
    tx: Transaction, query: Select[Any], size: int, place: ColumnElement[Any] = call_words.c.place
) -> list[int]:
    return list(tx.connection.execute(query.order_by(place.desc()).limit(size)).scalars())


def _has(term: str) -> ColumnElement[bool]:
    return (literal(" ") + call_words.c.terms + literal(" ")).contains(f" {term} ", autoescape=True)
