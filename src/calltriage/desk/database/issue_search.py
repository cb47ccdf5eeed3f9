"""Finding issues by words: all words of a search, in any order, in title or description, and ticket numbers (bland-triage,
section 5). What stands in quotation marks, and a search with other signs, is looked for as it is written. Numbers are found
however they are written or spoken.

Words are compared by the one folding of `matching`, at their edges. An index of trigrams names the issues that may hold
them; whether they do is always asked of the words themselves. So the index changes how long an answer takes, and how much
of a long list one answer looks at. A store that cannot have an index looks at all of it, and is only slower.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    case,
    column,
    false,
    func,
    literal_column,
    or_,
    select,
    table,
    union_all,
)

from calltriage.desk.database.indexes import make_where_possible
from calltriage.desk.database.tables import issues, settings
from calltriage.desk.database.transaction import Transaction
from calltriage.matching.folding import folded
from calltriage.matching.spoken_search import line_with_numbers, words_of

NAMED = 100
"""Matches that the list's own statement names, so that SQLite's index is not asked again. (PostgreSQL's planner would read
the whole table to bring so few of many.)"""
FEW = 2000
"""Matches that are fetched and sorted whole; a text with more of them is looked for among the first issues of the list."""
FIRST = 500
"""Issues of the list that PostgreSQL looks at before it asks its index, which tells no match before it has read all."""
NEAR = 20_000
"""Issues of the list that one answer looks at."""
MOST = 5000
"""Matches that are fetched and sorted whole where these issues of the list do not fill a page. SQLite's index is asked for
several words together if one of them alone has no more matches."""
GRAM = 3
"""Characters of a trigram. What is looked for has as many at least: a word has a blank on either side."""
MOST_GRAMS = 24
"""Trigrams asked for; more of them seldom tell more issues apart."""

PAGE_BYTES = 1000
"""Bytes of a page of SQLite's index, 4050 unless said. To find one of the issues that have a trigram, SQLite reads a page
from its start: among a million issues, these more than halve the time that a rare word takes. Writes take no longer."""

# The organisation's mark and the words in one text: a short id in front, so that a small organisation does not pay for a
# large one.
_GRAMS = "substr({0}.org_id, 1, 3) || char(10) || {0}.words"
_FORGET = f"INSERT INTO issue_grams (issue_grams, rowid, grams) VALUES ('delete', old.seq, {_GRAMS.format('old')})"  # noqa: S608
_LEARN = f"INSERT INTO issue_grams (rowid, grams) VALUES (new.seq, {_GRAMS.format('new')})"  # noqa: S608
_INDEX = {
    "sqlite": (
        "CREATE VIRTUAL TABLE issue_grams USING fts5 "
        "(grams, content='', detail=none, tokenize='trigram case_sensitive 1')",
        f"INSERT INTO issue_grams (issue_grams, rank) VALUES ('pgsz', {PAGE_BYTES})",  # noqa: S608
        f"INSERT INTO issue_grams (rowid, grams) SELECT seq, {_GRAMS.format('issues')} FROM issues",  # noqa: S608
        f"CREATE TRIGGER issue_grams_insert AFTER INSERT ON issues BEGIN {_LEARN}; END",
        f"CREATE TRIGGER issue_grams_delete AFTER DELETE ON issues BEGIN {_FORGET}; END",
        f"CREATE TRIGGER issue_grams_update AFTER UPDATE OF words ON issues BEGIN {_FORGET}; {_LEARN}; END",
    ),
    "postgresql": (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE EXTENSION IF NOT EXISTS btree_gin",
        "CREATE INDEX issues_by_words ON issues USING gin (org_id, words gin_trgm_ops)",
    ),
}
_DROP = {
    "sqlite": (
        *(f"DROP TRIGGER IF EXISTS issue_grams_{change}" for change in ("insert", "delete", "update")),
        "DROP TABLE IF EXISTS issue_gram_terms",
        "DROP TABLE IF EXISTS issue_grams",
    ),
    "postgresql": ("DROP INDEX IF EXISTS issues_by_words",),
}
_grams = table("issue_grams", column("rowid", BigInteger))
_kept = select(settings.c.value).where(settings.c.name == "search_index")


def make_index(connection: Connection) -> None:
    """Make the index if the database can have one (FTS5 with trigrams; pg_trgm and btree_gin). The setting `search_index`
    records it."""
    make_where_possible(connection, _INDEX[connection.dialect.name], setting="search_index", kind="trigrams")


def drop_index(connection: Connection) -> None:
    """Drop the index of this version or of an earlier one."""
    for statement in _DROP[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def searched(title: str, description: str) -> str:
    """The text of an issue that a search looks in."""
    return line_with_numbers(f"{title}\n{description}")


@dataclass(frozen=True)
class Looked:
    """Where a search has looked.

    Attributes:
        holds: the condition "is one of the issues that were found".
        only: how many issues of the list were looked at, where these were not all.
    """

    holds: ColumnElement[bool]
    only: int | None = None


def look_for(tx: Transaction, wanted: str, walk: Select[*tuple[object, ...]], size: int) -> Looked:
    """Look for issues that hold the text. `walk` selects the list without it, in its order; `size` issues are needed of it.

    Few matches are found through the index. Of a text with many, enough stand among the first issues of the list. Where
    they do not, what these hold is all that is found. So an answer reads a bounded number of issues, however many there
    are. SQLite's index stops at the first matches, so for one word it is asked before the list.
    """
    words, number = words_of(wanted), _ticket_number(folded(wanted))
    texts = words.lines() if words.texts else []
    holds = _holds(issues, texts, number)
    candidates = _candidates(tx, texts, number)
    if candidates is None:
        return Looked(holds)

    def among_first(near: int) -> list[int]:
        """The first `size` issues that hold the text, of the first `near` of the list."""
        first = walk.with_only_columns(issues.c.seq, issues.c.words, issues.c.number).limit(near).subquery()
        query = select(first.c.seq).where(_holds(first, texts, number)).limit(size)
        return list(tx.connection.execute(query).scalars())

    on_postgresql = tx.connection.dialect.name == "postgresql"
    if on_postgresql and len(found := among_first(FIRST)) == size:
        return Looked(issues.c.seq.in_(found))
    first = None if on_postgresql else _first_matches(tx, candidates, texts)
    if first is not None and len(first) <= NAMED:
        return Looked(issues.c.seq.in_(first) & holds)
    asks_index = on_postgresql or first is not None
    if asks_index and _has_at_most(tx, candidates, FEW):
        return Looked(issues.c.seq.in_(candidates.limit(FEW)) & holds)
    found = among_first(NEAR)
    if len(found) == size:
        return Looked(issues.c.seq.in_(found))
    if asks_index and _has_at_most(tx, candidates, MOST):
        return Looked(issues.c.seq.in_(candidates) & holds)
    return Looked(issues.c.seq.in_(found), only=NEAR)


def _first_matches(tx: Transaction, candidates: Select[int], texts: list[list[str]]) -> list[int] | None:
    """The candidates of SQLite's index, NAMED + 1 of more. None if it would have to compare texts that each have very many
    matches: it then reads all of them."""
    rows = candidates.limit(NAMED + 1)
    several = [one for one in texts if len(one) > 1]
    if not several:
        return list(tx.connection.execute(rows).scalars())
    rare = (or_(*(_count(_by_grams(tx, [[text]]), MOST).scalar_subquery() <= MOST for text in one)) for one in several)
    found = select(func.json_group_array(rows.subquery().c[0], type_=Text)).scalar_subquery()
    told: str | None = tx.connection.execute(select(case((and_(*rare), found)))).scalar_one()
    return None if told is None else json.loads(told)


def _has_at_most(tx: Transaction, candidates: Select[int], most: int) -> bool:
    return tx.connection.execute(_count(candidates, most)).scalar_one() <= most


def _count(candidates: Select[int], most: int) -> Select[int]:
    """How many candidates there are, `most` + 1 for more."""
    return select(func.count()).select_from(candidates.limit(most + 1).subquery())


def _ticket_number(text: str) -> int | None:
    """The number in `t-1023`, `t1023` or `1023`; None for other text."""
    digits = text.removeprefix("t").removeprefix("-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else None


def _holds(rows: FromClause, texts: list[list[str]], number: int | None) -> ColumnElement[bool]:
    """The condition "holds each text of one of the lists, or is the ticket"."""
    whole = [and_(*(rows.c.words.like(_pattern(text), escape="\\") for text in one)) for one in texts]
    holds = or_(false(), *whole)
    return holds if number is None else or_(holds, rows.c.number == number)


def _pattern(text: str) -> str:
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _candidates(tx: Transaction, texts: list[list[str]], number: int | None) -> Select[int] | None:
    """The query for rows (`seq`) that may hold the texts. None that holds them is missing. None if there is no index, or
    no text to look for."""
    if not texts or tx.connection.execute(_kept).scalar_one_or_none() != "trigrams":
        return None
    if tx.connection.dialect.name == "sqlite":
        found = _by_grams(tx, texts)
    else:
        found = select(issues.c.seq).where(tx.mine(issues, _holds(issues, texts, None)))
    if number is None:
        return found
    ticket = select(issues.c.seq).where(tx.mine(issues, issues.c.number == number))
    return select(union_all(found, ticket).subquery().c[0])


def _by_grams(tx: Transaction, texts: list[list[str]]) -> Select[int]:
    """The query for what FTS5 finds."""
    return select(_grams.c.rowid).where(literal_column("issue_grams").op("MATCH")(_of_grams(tx, texts)))


def _of_grams(tx: Transaction, texts: list[list[str]]) -> str:
    """The FTS5 query for issues of organisations with this mark that hold every trigram of one of the lists."""
    return f"{_quoted(tx.who.org_id[:GRAM])} AND ({' OR '.join(f'({_all_grams(one)})' for one in texts)})"


def _all_grams(texts: list[str]) -> str:
    grams = dict.fromkeys(text[start : start + GRAM] for text in texts for start in range(len(text) - GRAM + 1))
    return " AND ".join(map(_quoted, list(grams)[:MOST_GRAMS]))


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'
