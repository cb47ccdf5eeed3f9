"""How SQLite goes about an incident with very many findings: by indexes, never by reading all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledgers import opened_ledger
from sqlalchemy import Connection, event, insert

from calltriage.pipelines.ledger import Ledger, candidates
from calltriage.pipelines.ledger.candidates import Alone, Versions
from calltriage.pipelines.ledger.tables import findings

OWN = Versions("long_wait", ("v1", "v2"), "long_wait")
OTHERS = Versions("talk_over", None, "talk_over")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened_ledger(tmp_path) as opened:
        yield opened


async def add(ledger: Ledger, *rows: dict[str, Any]) -> None:
    """Findings with these columns, and usual ones else."""
    at = ledger.now()
    usual = {
        "account": ledger.account, "pipeline": "line", "content_hash": "h", "detector": "long_wait", "kind": "wait",
        "version_hash": "v1", "quote": "q", "verification": "exact", "fingerprint": "v1:a", "group": {}, "state": "new",
        "call_began": at, "created_at": at, "updated_at": at,
    }  # fmt: skip
    made = [usual | {"id": f"{number:032x}", "call_id": f"call-{number}"} | row for number, row in enumerate(rows)]
    await ledger.write(lambda it: it.execute(insert(findings), made) and None)


async def statements(ledger: Ledger, change: Callable[[Connection], Any]) -> list[tuple[str, list[str]]]:
    """The statements of a change, each with the steps of its plan."""
    seen: list[tuple[str, Any]] = []

    def run(connection: Connection) -> list[tuple[str, list[str]]]:
        event.listen(connection, "before_cursor_execute", lambda _c, _k, sql, values, *_: seen.append((sql, values)))
        change(connection)
        asked = [one for one in seen if one[0].startswith("SELECT")]
        plans = (connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in asked)
        return [(sql, [row[3] for row in plan]) for (sql, _), plan in zip(asked, plans, strict=True)]

    return await ledger.write(run)


ALONE = [
    pytest.param(None, id="all new ones, of a muted incident"),
    pytest.param(Alone("line", ()), id="none"),
    pytest.param(Alone("line", (OWN, OTHERS)), id="of some versions"),
]


@pytest.mark.parametrize("alone", ALONE)
async def test_what_may_be_filed_of_an_incident_is_looked_up_by_its_state(ledger: Ledger, alone: Alone | None) -> None:
    read = partial(candidates.of_incident, ledger=ledger, fingerprints=["v1:a"], alone=alone)
    [(_, plan)] = await statements(ledger, read)

    [search] = [step for step in plan if "pipeline_findings" in step]
    assert "INDEX pipeline_findings_of_incident (account=? AND fingerprint=? AND state=?)" in search, plan


async def test_new_findings_are_not_read_where_none_of_them_may_be_filed_alone(ledger: Ledger) -> None:
    read = partial(candidates.of_incident, ledger=ledger, fingerprints=["v1:a"])
    await add(ledger, {"state": "new"}, {"state": "accepted"}, {"state": "counted"})

    [(nobody, _)] = await statements(ledger, partial(read, alone=Alone("line", (OWN,), frozenset({"hold"})).of("hold")))
    [(somebody, _)] = await statements(ledger, partial(read, alone=Alone("line", (OWN,))))
    found = await ledger.read(partial(read, alone=Alone("line", ())))

    assert ("version_hash IN" in nobody, "version_hash IN" in somebody) == (False, True)
    assert [one.state for one in found] == ["accepted"]


def test_an_incident_holds_findings_of_its_own_detector_under_all_its_names() -> None:
    renamed = Versions("waits", ("v1",), "long_wait")
    alone = Alone("line", (OWN, renamed, OTHERS), frozenset({"hold"}))

    assert alone.of("waits").versions == alone.of("long_wait").versions == (OWN, renamed)
    assert alone.of("talk_over").versions == (OTHERS,)
    assert alone.of("hold").versions == ()
    assert alone.of("a name that the file does not have").versions == alone.versions
