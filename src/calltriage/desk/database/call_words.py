"""Finding calls by words that were said in them.

Each call has a row in `call_words` with the terms of its turns (matching/spoken_search.py), and an index over them names the
calls in which each term of a search was said: FTS5 in SQLite, GIN in PostgreSQL. Whether a call holds a search is always
asked of the call itself, so both stores answer the same, and a store that cannot have the index is only slower.
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

from calltriage.desk.database.indexes import make_where_possible
from calltriage.desk.database.tables import call_words, calls, settings
from calltriage.desk.database.transaction import Transaction
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.spoken_search import call_terms

MOST_TERMS = 24
"""Terms of a search, or of what else it may mean, that the index is asked for."""
NEAR = 2_000
"""Newest calls that PostgreSQL looks through before it asks the index: of a word that many calls hold, these have enough."""
FEW = 2_000
"""Calls that other filters leave, up to which each of them is looked at instead of the index."""
NEWEST = 400
"""Calls in which words are looked for that are like others."""
ARRIVALS = 2**25
"""Room in a place for the order of arrival within a second."""

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
_kept = select(settings.c.value).where(settings.c.name == "call_index")


def make_call_index(connection: Connection) -> None:
    """Make the index of what is known, where the database can have one, and write down whether."""
    make_where_possible(connection, _INDEX[connection.dialect.name], setting="call_index", kind="terms")


def drop_call_index(connection: Connection) -> None:
    """Take the index away, and have no search ask for it."""
    for statement in _DROP[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(delete(settings).where(settings.c.name == "call_index"))


def keep_words(connection: Connection, org_id: str, records: dict[str, JsonObject]) -> None:
    """Have search find these calls of an organisation by what is said in them now."""
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
    """Have the words of calls that are deleted from now on leave the file, too. SQLite before 3.42 keeps them in the index
    until it merges them away."""
    if connection.dialect.name == "sqlite" and connection.execute(_kept).scalar_one_or_none() == "terms":
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("INSERT INTO call_terms (call_terms, rank) VALUES ('secure-delete', 1)")
        except DBAPIError:
            connection.exec_driver_sql("INSERT INTO call_terms (call_terms) VALUES ('optimize')")


def place_of(created_at: str, arrival: int) -> int:
    """Where a call stands among all: by the second of its time, then by its arrival."""
    return int(datetime.fromisoformat(created_at).timestamp()) * ARRIVALS + arrival % ARRIVALS


def _all_terms(org_id: str, record: JsonObject) -> str:
    said = [turn.get("text") or "" for turn in record["transcripts"] or ()]
    return " ".join({_mark(org_id): None} | call_terms(said))


def _mark(org_id: str) -> str:
    """A term that all calls of an organisation have, so that a small one does not pay for a large one. No word is so."""
    return f"org:{org_id.replace('-', '').lower()}"


def few_places(tx: Transaction, filters: list[ColumnElement[bool]]) -> list[int] | None:
    """The places of all calls that pass the filters, if they are few; None if they are many, or nothing is filtered."""
    if not filters:
        return None
    joined = call_words.join(calls, and_(calls.c.org_id == call_words.c.org_id, calls.c.id == call_words.c.call_id))
    left = select(call_words.c.place).select_from(joined).where(tx.mine(calls, *filters)).limit(FEW + 1)
    found = list(tx.connection.execute(left).scalars())
    return found if len(found) <= FEW else None


def newest_words(tx: Transaction, few: list[int] | None, *, before: int, after: int) -> set[str]:
    """Words that were said in the newest calls between these places, of these few if the others do not count."""
    within = [call_words.c.place < before, call_words.c.place >= after]
    if few is not None:
        within.append(call_words.c.place.in_(few))
    newest = select(call_words.c.terms).where(tx.mine(call_words, *within)).order_by(call_words.c.place.desc())
    rows = tx.connection.execute(newest.limit(NEWEST)).scalars()
    return {term for terms in rows for term in terms.split() if term.isalpha()}


def next_places(
    tx: Transaction, alternatives: list[list[str]], few: list[int] | None, *, before: int, after: int, size: int
) -> list[int]:
    """The next places, the newest first: of these few calls, or of calls with all terms of one of the alternatives."""
    if few is not None:
        return sorted((place for place in few if after <= place < before), reverse=True)[:size]
    within = tx.mine(call_words, call_words.c.place < before, call_words.c.place >= after)
    wanted = [one[:MOST_TERMS] for one in alternatives]
    if [] in wanted or tx.connection.execute(_kept).scalar_one_or_none() != "terms":
        holds = or_(*(and_(true(), *map(_has, one)) for one in wanted))
        return _places(tx, select(call_words.c.place).where(within, holds), size)
    mark = _mark(tx.who.org_id)
    if tx.connection.dialect.name == "sqlite":
        named = f"{_named([mark])} AND ({' OR '.join(f'({_named(one)})' for one in wanted)})"
        found = select(_index.c.rowid).where(literal_column("call_terms").op("MATCH")(named))
        found = found.where(_index.c.rowid < before, _index.c.rowid >= after)
        return list(tx.connection.execute(found.order_by(_index.c.rowid.desc()).limit(size)).scalars())
    return _by_array(tx, mark, wanted, within, size)


def _named(terms: list[str]) -> str:
    """The question to FTS5 for calls with all of these terms."""
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
    """Whether a call has all terms of one of the lists."""
    return or_(*(_array(words).contains(one) for one in wanted))


def _stands_in(words: ColumnElement[Any], term: str) -> ColumnElement[bool]:
    """Whether a call has a term, looked for in the text: a tenth of what an array of its terms costs."""
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
