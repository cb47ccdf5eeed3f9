"""Removes the words and the measures of deleted calls, and those older than the file's `retention`.

Ids, hashes, states and verdicts stay, so that nothing is filed twice. What the calls of an incident share, its `group`
values and its key, stays as long as one of its findings has words; then it goes from the incident and from the writes on its
issue. A write whose end is not known keeps its request: it is repeated as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, case, or_, select

from calltriage.pipelines.ledger.effects import without_words
from calltriage.pipelines.ledger.incidents import ALIKE
from calltriage.pipelines.ledger.tables import effects, findings, incidents, items, measures, results, reviews

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Executable

    from calltriage.pipelines.ledger.ledger import Ledger

GONE = ""
"""Replaces removed words."""
HAS_GROUP = findings.c.group.is_not(None)
"""Whether a finding has its words. Without a `group_by` its `group` is empty, and it is NULL once the words are removed."""
AT_ONCE = 1_000
"""Findings whose words are removed in one commit, so that others can write in between."""
_A_FINDING_WITH_WORDS = (
    select(findings.c.id)
    .where(
        findings.c.account == incidents.c.account, findings.c.fingerprint == incidents.c.fingerprint, HAS_GROUP,
    )
    .order_by(findings.c.state.desc(), findings.c.call_began.desc())
    .limit(1)
    .scalar_subquery()
)  # fmt: skip
"""One of an incident: the index goes from those of later calls to earlier ones, whose words are removed first."""


def forget_call(connection: Connection, ledger: Ledger, call_id: str) -> int:
    """Remove a call's measures, and its words from its findings and reviews and from incidents of no other call. Returns the
    number of findings.

    Ids, states and verdicts stay: a call that is imported again files nothing twice, and people's decisions still count.
    """
    of_call = (findings.c.account == ledger.account) & (findings.c.call_id == call_id)
    names = connection.execute(select(findings.c.fingerprint).where(of_call).distinct()).scalars()
    fingerprints = [name for name in names if name is not None]
    count = _forget(connection, ledger, of_call)
    for first in range(0, len(fingerprints), AT_ONCE):
        _forget_incidents(connection, ledger, fingerprints[first : first + AT_ONCE])
    of_call = (reviews.c.account == ledger.account) & (reviews.c.call_id == call_id)
    connection.execute(reviews.update().where(of_call).values(quote=None, reason=None))
    connection.execute(
        measures.delete().where((measures.c.account == ledger.account) & (measures.c.call_id == call_id))
    )
    for table in (items, results):
        of_call = (table.c.account == ledger.account) & (table.c.call_id == call_id)
        connection.execute(table.update().where(of_call).values(error=None))
    return count


async def forget_older(ledger: Ledger, pipeline: str, detectors: Collection[str], before: str) -> int:
    """Remove the words of a pipeline's findings that were recorded before an instant, and of older reviews of its detectors,
    and what its detectors measured before it.

    Returns the number of findings.
    """
    count = 0
    while some := await ledger.write(partial(_some, ledger=ledger, pipeline=pipeline, before=before)):
        count += some
    # After the loop, and once; also those that a process left that ended before it came here.
    while bare := await ledger.read(partial(_bare, ledger=ledger)):
        await ledger.write(partial(_forget_incidents, ledger=ledger, fingerprints=bare))
    old = (reviews.c.account == ledger.account) & reviews.c.detector.in_(detectors) & (reviews.c.at < before)
    has_words = or_(reviews.c.quote.is_not(None), reviews.c.reason.is_not(None))
    change = reviews.update().where(old, has_words).values(quote=None, reason=None)
    await ledger.write(partial(_execute, change=change))
    old = (measures.c.account == ledger.account) & measures.c.detector.in_(detectors) & (measures.c.at < before)
    some = select(measures.c.call_id).where(old).limit(AT_ONCE)
    while calls := await ledger.read(lambda connection: set(connection.execute(some).scalars())):
        drop = measures.delete().where(old, measures.c.call_id.in_(calls))
        await ledger.write(partial(_execute, change=drop))
    return count


def _execute(connection: Connection, change: Executable) -> None:
    connection.execute(change)


def _some(connection: Connection, ledger: Ledger, pipeline: str, before: str) -> int:
    has_words = or_(findings.c.quote != GONE, findings.c.note != GONE, findings.c.key.is_not(None), HAS_GROUP)
    old = (findings.c.account == ledger.account) & (findings.c.pipeline == pipeline) & (findings.c.created_at < before)
    query = select(findings.c.id).where(old, has_words).limit(AT_ONCE)
    ids = list(connection.execute(query).scalars())
    return _forget(connection, ledger, (findings.c.account == ledger.account) & findings.c.id.in_(ids)) if ids else 0


def _forget(connection: Connection, ledger: Ledger, which: ColumnElement[bool]) -> int:
    """Remove the words of findings and of their finished effects. Returns the number of the findings."""
    _strip(connection, ledger, effects.c.finding_id.in_(select(findings.c.id).where(which)))
    change = findings.update().where(which).values(quote=GONE, note=GONE, key=None, group=None)
    return connection.execute(change).rowcount


def _bare(connection: Connection, ledger: Ledger) -> list[str]:
    """Incidents that hold what their calls share although none of their findings has words, AT_ONCE at most."""
    shares = or_(incidents.c.group.is_not(None), incidents.c.key.is_not(None))
    where = (incidents.c.account == ledger.account) & shares & _A_FINDING_WITH_WORDS.is_(None)
    return list(connection.execute(select(incidents.c.fingerprint).where(where).limit(AT_ONCE)).scalars())


def _forget_incidents(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> None:
    """Remove what the calls of incidents share, unless a finding of the incident still has words."""
    of_these = (incidents.c.account == ledger.account) & incidents.c.fingerprint.in_(fingerprints)
    with_words = select(incidents.c.fingerprint).where(of_these, _A_FINDING_WITH_WORDS.is_not(None))
    left = set(connection.execute(with_words).scalars())
    bare = [name for name in fingerprints if name not in left]
    if not bare:
        return
    _strip(connection, ledger, effects.c.fingerprint.in_(bare))
    joined = incidents.c.joined_because
    why = case((joined.startswith(ALIKE, autoescape=True), ALIKE), else_=joined)  # after it come words of the title
    where = (incidents.c.account == ledger.account) & incidents.c.fingerprint.in_(bare)
    connection.execute(incidents.update().where(where).values(group=None, key=None, joined_because=why))


def _strip(connection: Connection, ledger: Ledger, which: ColumnElement[bool]) -> None:
    """Remove the words of finished effects."""
    done = (effects.c.account == ledger.account) & which & (effects.c.state != "begun")
    query = select(effects.c.key, effects.c.result).where(done, effects.c.request.is_not(None))
    ends = [{"this": row.key, "left": without_words(row.result)} for row in connection.execute(query)]
    if ends:
        this = (effects.c.account == ledger.account) & (effects.c.key == bindparam("this"))
        change = (
            effects.update().where(this).values(request=None, result=bindparam("left", type_=effects.c.result.type))
        )
        connection.execute(change, ends)
