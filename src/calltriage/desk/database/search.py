"""Finding issues by words: any piece of title or description, case ignored, and ticket numbers (bland-triage, section 5).

An index of trigrams names the issues that may hold the text; whether they do is always asked of the words themselves. So the
index changes how long an answer takes and nothing else, and a store that cannot have one is only slower.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    column,
    func,
    insert,
    literal_column,
    or_,
    select,
    table,
    union_all,
)
from sqlalchemy.exc import DBAPIError

from calltriage.desk.database.tables import issues, settings
from calltriage.desk.database.transaction import Transaction

FEW = 2000
"""Matches that are fetched and sorted whole; a text with more of them is looked for among the first issues of the list."""
NEAR = 20_000
"""Issues of the list looked at before all matches are."""
GRAM = 3
"""Characters of a trigram."""
MOST_GRAMS = 24
"""Trigrams asked for; more of them seldom tell more issues apart."""
MOST_TERMS = 400
"""Trigrams that a text of one or two characters may begin; one that begins more stands in most issues."""

# The organisation's mark and the words in one text: a short id in front, so that a small organisation does not pay for a
# large one, and two line ends behind, so that each character begins a trigram.
_GRAMS = "substr({0}.org_id, 1, 3) || char(10) || {0}.words || char(10) || char(10)"
_FORGET = f"INSERT INTO issue_grams (issue_grams, rowid, grams) VALUES ('delete', old.seq, {_GRAMS.format('old')})"  # noqa: S608
_LEARN = f"INSERT INTO issue_grams (rowid, grams) VALUES (new.seq, {_GRAMS.format('new')})"  # noqa: S608
_INDEX = {
    "sqlite": (
        "CREATE VIRTUAL TABLE issue_grams USING fts5 "
        "(grams, content='', detail=none, tokenize='trigram case_sensitive 1')",
        "CREATE VIRTUAL TABLE issue_gram_terms USING fts5vocab (issue_grams, row)",
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
_grams = table("issue_grams", column("rowid", BigInteger))
_terms = table("issue_gram_terms", column("term", Text))
_kept = select(settings.c.value).where(settings.c.name == "search_index")


def make_index(connection: Connection) -> None:
    """Make the index where the database can have one (FTS5 with trigrams; pg_trgm and btree_gin), and write down whether."""
    kept = "trigrams"
    try:
        with connection.begin_nested():
            for statement in _INDEX[connection.dialect.name]:
                connection.exec_driver_sql(statement)
    except DBAPIError:
        kept = "none"
    connection.execute(insert(settings).values(name="search_index", value=kept))


def searched(title: str, description: str) -> str:
    """What a search looks in."""
    return f"{title}\n{description}".casefold()


def holding(tx: Transaction, wanted: str, walk: Select[*tuple[object, ...]], size: int) -> ColumnElement[bool]:
    """The condition "holds the text". `walk` selects the list without it, in its order; `size` issues are needed of it.

    Few matches are found through the index. Of a text with many, enough stand among the first issues of the list; where
    they do not, all are found through the index.
    """
    folded = wanted.casefold()
    number = _ticket_number(folded)
    holds = _holds(issues, folded, number)

    def among_first(near: int) -> list[int] | None:
        """The first `size` issues that hold the text, if they are among the first `near` of the list."""
        first = walk.with_only_columns(issues.c.seq, issues.c.words, issues.c.number).limit(near).subquery()
        query = select(first.c.seq).where(_holds(first, folded, number)).limit(size)
        found = list(tx.connection.execute(query).scalars())
        return found if len(found) == size else None

    if len(folded) < GRAM and (enough := among_first(NEAR // 10)):  # as a rule most issues hold it
        return issues.c.seq.in_(enough)
    candidates = _candidates(tx, folded, number)
    if candidates is None:
        return holds
    some = candidates.limit(FEW + 1)
    if tx.connection.execute(select(func.count()).select_from(some.subquery())).scalar_one() <= FEW:
        return issues.c.seq.in_(some) & holds
    enough = among_first(NEAR)
    return issues.c.seq.in_(candidates) & holds if enough is None else issues.c.seq.in_(enough)


def _ticket_number(folded: str) -> int | None:
    """T-1023, t1023 and 1023."""
    digits = folded.removeprefix("t").removeprefix("-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else None


def _holds(rows: FromClause, folded: str, number: int | None) -> ColumnElement[bool]:
    holds = rows.c.words.like(_pattern(folded), escape="\\")
    return holds if number is None else or_(holds, rows.c.number == number)


def _pattern(folded: str) -> str:
    return "%" + folded.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _candidates(tx: Transaction, folded: str, number: int | None) -> Select[tuple[int]] | None:
    """Numbers of rows that may hold the text, and of all that do; None when the index has no opinion."""
    if tx.connection.execute(_kept).scalar_one_or_none() != "trigrams":
        return None
    if tx.connection.dialect.name == "sqlite":
        query = _of_grams(tx, folded)
        found = (
            None if query is None else select(_grams.c.rowid).where(literal_column("issue_grams").op("MATCH")(query))
        )
    else:
        likes = issues.c.words.like(_pattern(folded), escape="\\")
        found = select(issues.c.seq).where(tx.mine(issues, likes)) if len(folded) >= GRAM else None
    if found is None or number is None:
        return found
    ticket = select(issues.c.seq).where(tx.mine(issues, issues.c.number == number))
    return select(union_all(found, ticket).subquery().c[0])


def _of_grams(tx: Transaction, folded: str) -> str | None:
    """The question to FTS5: issues of organisations with this one's mark in which each trigram of the text stands."""
    mark = _quoted(tx.who.org_id[:3])
    if len(folded) >= GRAM:
        grams = dict.fromkeys(folded[start : start + GRAM] for start in range(len(folded) - GRAM + 1))
        return " AND ".join([mark, *(_quoted(gram) for gram in list(grams)[:MOST_GRAMS])])
    begins = (_terms.c.term >= folded) & (_terms.c.term < folded + chr(0x10FFFF))
    terms = tx.connection.execute(select(_terms.c.term).where(begins).limit(MOST_TERMS + 1)).scalars().all()
    if len(terms) > MOST_TERMS:
        return None
    # Where no term begins so, no issue holds the text; a trigram that is not there says just that.
    return f"{mark} AND ({' OR '.join(_quoted(term) for term in terms or [(folded * GRAM)[:GRAM]])})"


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'
