"""Finding issues by words: all words of a search, in any order, in title or description, and ticket numbers (bland-triage,
section 5). What stands in quotation marks, and a search with other signs, is looked for as it is written. Numbers are found
however they are written or spoken.

Words are compared by the one folding of `matching`, at their edges. An index of trigrams names the issues that may hold
them; whether they do is always asked of the words themselves. So the index changes how long an answer takes, and how much
of a long list one answer looks at. A store that cannot have an index looks at all of it, and is only slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    column,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    type_coerce,
    union_all,
)

from calltriage.desk.database.indexes import kind_of, make_where_possible
from calltriage.desk.database.tables import issues
from calltriage.desk.database.transaction import Transaction, equal
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

FORMS = 64
"""Forms of a search whose statement is kept."""
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
    candidates = _candidates(tx, texts, number)
    if candidates is None:
        return Looked(_holds(issues, texts, number))
    search = _Search(tx, texts, number, candidates, walk, size)
    return search.on_postgresql() if tx.connection.dialect.name == "postgresql" else search.on_sqlite()


@dataclass(frozen=True)
class _Search:
    """A search with an index. Each question is one statement.

    Attributes:
        candidates: the query for rows (`seq`) that may hold the texts.
        walk, size: see `look_for`.
    """

    tx: Transaction
    texts: list[list[str]]
    number: int | None
    candidates: Select[int]
    walk: Select[*tuple[object, ...]]
    size: int

    def on_sqlite(self) -> Looked:
        found, are_few = self._by_index()
        if found is None:
            return self._near(asks_index=False)
        if len(found) <= NAMED:
            return Looked(issues.c.seq.in_(found) & self._holds)
        return self._few() if are_few else self._near(asks_index=True)

    def on_postgresql(self) -> Looked:
        found, are_few = self._among_first(FIRST, FEW)
        if len(found) == self.size:
            return Looked(issues.c.seq.in_(found))
        return self._few() if are_few else self._near(asks_index=True)

    def _few(self) -> Looked:
        return Looked(issues.c.seq.in_(self.candidates.limit(FEW)) & self._holds)

    def _near(self, *, asks_index: bool) -> Looked:
        """What the first issues of the list hold, or else all matches, if they are not too many."""
        found, are_few = self._among_first(NEAR, MOST if asks_index else None)
        if are_few:
            return Looked(issues.c.seq.in_(self.candidates) & self._holds)
        return Looked(issues.c.seq.in_(found), only=None if len(found) == self.size else NEAR)

    @property
    def _holds(self) -> ColumnElement[bool]:
        return _holds(issues, self.texts, self.number)

    def _by_index(self) -> tuple[list[int] | None, bool]:
        """NAMED + 1 candidates of SQLite's index, and whether there are at most FEW. None if it would have to compare texts
        that each have very many matches: it would then read all of them."""
        several = [one for one in self.texts if len(one) > 1]
        query = _first_of_index(tuple(map(len, several)), is_ticket=self.number is not None)
        values = {f"text{at}": _of_grams(self.tx, [[text]]) for at, text in enumerate(chain.from_iterable(several))}
        bounds = {"named": NAMED + 1, "few": FEW + 1, "most": MOST + 1}
        all_grams = _of_grams(self.tx, self.texts)
        told = self.tx.run(query, grams=all_grams, number=self.number, **bounds, **values).scalar_one()
        return (None, False) if told is None else (told[0], bool(told[1]))

    def _among_first(self, near: int, most: int | None) -> tuple[list[int], bool]:
        """The first `size` issues that hold the text, of the first `near` of the list. Whether there are at most `most`
        candidates, which is asked where these are fewer."""
        first = self.walk.with_only_columns(issues.c.seq, issues.c.words, issues.c.number).limit(near).subquery()
        found = select(first.c.seq).where(_holds(first, self.texts, self.number)).limit(self.size)
        on_sqlite = self.tx.connection.dialect.name == "sqlite"
        told = _told(func.json_group_array if on_sqlite else func.json_agg, found)
        are_few = false() if most is None else _count(self.candidates, literal(most + 1)) <= most
        asked = case((told.c.number < self.size, are_few), else_=false())
        row: Any = self.tx.connection.execute(select(type_coerce(told.c.rows, JSON), asked)).one()
        return row[0] or [], bool(row[1])


@lru_cache(FORMS)
def _first_of_index(several: tuple[int, ...], *, is_ticket: bool) -> Select[Any]:
    """The statement of `_Search._by_index`, built once for searches of one form: `several` has the number of texts of each
    list that has more than one."""
    named, few, most = (bindparam(name, type_=Integer()) for name in ("named", "few", "most"))
    found = _by_grams(bindparam("grams"))
    if is_ticket:
        found = _or_ticket(found, equal(issues, "number"))
    told = _told(func.json_group_array, found.limit(named))
    rows, are_few = func.json(told.c.rows), case((told.c.number == named, _count(found, few) < few), else_=false())
    answer = select(func.json_array(rows, are_few, type_=JSON)).scalar_subquery()
    texts = iter(_by_grams(bindparam(f"text{at}")) for at in range(sum(several)))
    rare = [or_(*(_count(text, most) < most for text in islice(texts, size))) for size in several]
    return select(case((and_(*rare), answer)) if rare else answer)


def _told(group: Callable[..., Any], query: Select[int]) -> Subquery:
    """The rows of a query as JSON, and their number."""
    rows = query.subquery()
    return select(group(rows.c[0]).label("rows"), func.count().label("number")).subquery()


def _count(candidates: Select[int], most: ColumnElement[int]) -> ColumnElement[int]:
    """How many candidates there are, `most` for more."""
    return select(func.count()).select_from(candidates.limit(most).subquery()).scalar_subquery()


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
    if not texts or kind_of(tx.connection, "search_index") != "trigrams":
        return None
    if tx.connection.dialect.name == "sqlite":
        found = _by_grams(literal(_of_grams(tx, texts)))
    else:
        found = select(issues.c.seq).where(tx.mine(issues, _holds(issues, texts, None)))
    return found if number is None else _or_ticket(found, tx.mine(issues, issues.c.number == number))


def _or_ticket(found: Select[int], is_ticket: ColumnElement[bool]) -> Select[int]:
    return select(union_all(found, select(issues.c.seq).where(is_ticket)).subquery().c[0])


def _by_grams(grams: ColumnElement[Any]) -> Select[int]:
    """The query for what FTS5 finds."""
    return select(_grams.c.rowid).where(literal_column("issue_grams").op("MATCH")(grams))


def _of_grams(tx: Transaction, texts: list[list[str]]) -> str:
    """The FTS5 query for issues of organisations with this mark that hold every trigram of one of the lists."""
    return f"{_quoted(tx.who.org_id[:GRAM])} AND ({' OR '.join(f'({_all_grams(one)})' for one in texts)})"


def _all_grams(texts: list[str]) -> str:
    grams = dict.fromkeys(text[start : start + GRAM] for text in texts for start in range(len(text) - GRAM + 1))
    return " AND ".join(map(_quoted, list(grams)[:MOST_GRAMS]))


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'
