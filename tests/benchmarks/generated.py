"""A desk with as many issues as one likes, made in bulk: the same one for the same number."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from calltriage.desk.database.issue_search import drop_index, make_index, searched
from calltriage.desk.database.tables import (
    activity,
    calls,
    flags,
    issues,
    links,
    new_organisation,
    organisations,
    settings,
)
from calltriage.desk.handlers.issues import SEVERITY_RANK, STATUS_RANK
from calltriage.leaves.instants import written as instant

COMMON, FREQUENT, RARE = "refund", "invoice", "zyxwvut"
"""Two words of about every fifth issue each, and one of twenty issues, of whatever number."""
LIKELY = "bacedifogu"
"""A word of no issue, of syllables that very many have."""
OTHERS = 200
"""Organisations beside the desk's own, which has four issues of five."""
LINKED = (10, 100, 1000, 10_000)
"""Links of the issues whose evidence is measured."""
BATCH = 20_000
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


def _words(source: random.Random) -> tuple[list[str], list[float]]:
    """A vocabulary in which few words are frequent and most are rare."""
    made = [
        "".join(source.choice("bcdfghlmnprstv") + source.choice("aeiou") for _ in range(source.randint(1, 4)))
        for _ in range(3000)
    ]
    made[5:7] = COMMON, FREQUENT
    return made, list(itertools.accumulate(1 / (place + 8) for place in range(len(made))))


def _issues(count: int, own: str) -> Iterator[dict[str, Any]]:
    source = random.Random(20_261_125)
    words, weights = _words(source)
    orgs = [f"{source.getrandbits(32):08x}-0000-4000-8000-000000000000" for _ in range(OTHERS)]
    statuses, severities = list(STATUS_RANK), list(SEVERITY_RANK)
    numbers, apart = dict.fromkeys([own, *orgs], 1000), max(1, count // 20)
    for place in range(count):
        org = own if source.random() < 0.8 else source.choice(orgs)
        numbers[org] += 1
        title = " ".join(source.choices(words, cum_weights=weights, k=6))
        description = " ".join(source.choices(words, cum_weights=weights, k=18))
        if place % apart == apart - 1:
            description += f" {RARE}"
        created = instant(BEGAN + timedelta(seconds=60 * place))
        moved = instant(BEGAN + timedelta(seconds=60 * place + source.randrange(30 * 86_400)))
        status = source.choices(statuses, weights=(20, 20, 10, 1, 20, 29))[0]
        severity = source.choices(severities, weights=(40, 40, 15, 5))[0]
        yield {
            "org_id": org, "id": f"{source.getrandbits(128):032x}", "number": numbers[org], "title": title,
            "description": description, "words": searched(title, description), "status": status,
            "status_rank": STATUS_RANK[status], "severity": severity, "severity_rank": SEVERITY_RANK[severity],
            "source": "manual", "category": f"Category {place % 40}", "category_folded": f"category {place % 40}",
            "owner_id": None, "assignee_id": f"user-{source.randrange(2000)}", "author_id": "user-0",
            "created_at": created, "updated_at": moved, "last_activity_at": moved,
        }  # fmt: skip


def _dashed(row: dict[str, Any]) -> dict[str, Any]:
    text = row["id"]
    return {**row, "id": f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"}


def fill(engine: Engine, count: int) -> dict[int, str]:
    """Fill an empty desk; ids of the issues that have `LINKED` links each, by their number of links."""
    with engine.connect() as connection:
        query = select(settings.c.name, settings.c.value).where(settings.c.name.in_(["org_id", "user_id"]))
        own = {row.name: row.value for row in connection.execute(query)}["org_id"]
    rows = map(_dashed, _issues(count, own))
    seen = {own}
    with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
        drop_index(connection)  # it is made in one go, at the end
        connection.execute(delete(settings).where(settings.c.name == "search_index"))
        roomy = {"sqlite": "PRAGMA cache_size = -1000000", "postgresql": "SET LOCAL maintenance_work_mem = '1GB'"}
        connection.exec_driver_sql(roomy[engine.dialect.name])
        for done in range(0, count, BATCH):
            batch = list(itertools.islice(rows, BATCH))
            new = {row["org_id"] for row in batch} - seen
            seen |= new
            for org in new:
                connection.execute(insert(organisations).values(**new_organisation(org, "Another")))
            connection.execute(insert(issues), batch)
            print(f"\r{done + len(batch):,} issues", end="", file=sys.stderr, flush=True)
        last = select(issues.c.number).where(issues.c.org_id == own).order_by(issues.c.number.desc()).limit(1)
        number = connection.execute(last).scalar_one()
        connection.execute(update(organisations).where(organisations.c.id == own).values(last_number=number))
        linked = _link(connection, own)
        make_index(connection)
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA cache_size = -2000")  # KiB
    if engine.dialect.name == "postgresql":  # what its own housekeeping does a minute later
        with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
            connection.exec_driver_sql("ANALYZE")
    print(file=sys.stderr)
    return linked


def _link(connection: Connection, own: str) -> dict[int, str]:
    """Calls, and issues with many of them attached, each with its feed entry; one in ten flagged."""
    now = instant(BEGAN)
    base = {"org_id": own, "created_at": now}
    record = {
        "call_id": "c",
        "created_at": now,
        "transcripts": [{"id": 0, "user": "user", "text": "hello"}],
        "metadata": {},
    }
    call_rows = [
        {**base, "id": f"call-{n}", "summary": f"Call {n}", "updated_at": now, "events": [], "digest": "",
         "record": {**record, "call_id": f"call-{n}"}}
        for n in range(max(LINKED))
    ]  # fmt: skip
    connection.execute(insert(calls), call_rows)
    found = select(issues.c.id).where(issues.c.org_id == own).order_by(issues.c.seq).limit(len(LINKED))
    ids = connection.execute(found).scalars().all()
    for issue, count in zip(ids, LINKED, strict=True):
        hanging = [{**base, "issue_id": issue, "id": f"{issue[:-8]}{n:08d}"} for n in range(count)]
        about = {"resource_type": "call", "metadata": {"created_at": now}}
        connection.execute(
            insert(links),
            [{**row, **about, "resource_id": f"call-{n}", "title": f"Call {n}"} for n, row in enumerate(hanging)],
        )
        entry = {"type": "resource_added", "detail": "Attached a resource.", "resources": [], "referenced_issues": []}
        connection.execute(insert(activity), [{**row, **entry} for row in hanging])
        point = {"type": "wrong_queue", "note": "", "message_index": 0, "author_id": "user-0"}
        flagged = [{**row, **point, "call_id": f"call-{n}"} for n, row in enumerate(hanging) if n % 10 == 0]
        connection.execute(insert(flags), flagged)
    return dict(zip(LINKED, ids, strict=True))
