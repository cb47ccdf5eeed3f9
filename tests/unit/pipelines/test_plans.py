"""How SQLite goes about an incident with very many findings: by indexes, never by reading all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledgers import opened_ledger
from sqlalchemy import Connection, event, insert

from calltriage.pipelines.ledger import Ledger, candidates, retention
from calltriage.pipelines.ledger.candidates import Alone, Versions
from calltriage.pipelines.ledger.retention import forget_call
from calltriage.pipelines.ledger.tables import findings, incidents

OWN = Versions("long_wait", ("v1", "v2"), "long_wait")
OTHERS = Versions("talk_over", None, "talk_over")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened_ledger(tmp_path) as opened:
        yield opened


async def add(ledger: Ledger, *rows: dict[str, Any]) -> None:
    """Findings of an incident with these columns, and usual ones else."""
    at = ledger.now()
    usual = {
        "account": ledger.account, "pipeline": "line", "content_hash": "h", "detector": "long_wait", "kind": "wait",
        "version_hash": "v1", "quote": "q", "verification": "exact", "fingerprint": "v1:a", "group": {}, "state": "new",
        "call_began": at, "created_at": at, "updated_at": at,
    }  # fmt: skip
    made = [usual | {"id": f"{number:032x}", "call_id": f"call-{number}"} | row for number, row in enumerate(rows)]
    shared = {name: made[0][name] for name in ("account", "fingerprint", "pipeline", "detector", "kind", "group")}
    incident = {**shared, "state": "open", "created_at": at, "updated_at": at}
    await ledger.write(lambda it: it.execute(insert(findings), made) and None)
    await ledger.write(lambda it: it.execute(insert(incidents).values(incident)) and None)


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


async def test_whether_an_incident_still_has_words_is_looked_up_from_its_latest_call(ledger: Ledger) -> None:
    await add(ledger, *({"call_began": f"2026-05-0{day}T10:00:00.000Z"} for day in range(1, 7)))

    found = await statements(ledger, partial(forget_call, ledger=ledger, call_id="call-0"))

    [plan] = [plan for sql, plan in found if "FROM pipeline_incidents" in sql]
    [search] = [step for step in plan if "pipeline_findings" in step]
    assert "INDEX pipeline_findings_of_incident (account=? AND fingerprint=?)" in search, plan
    assert not [step for step in plan if "ORDER BY" in step]


async def test_old_words_are_removed_without_a_look_at_the_rest_of_the_incident_in_each_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    await add(ledger, *[{"created_at": "2026-04-01T10:00:00.000Z"}] * 6)
    write, looks = ledger.write, list[list[str]]()

    async def told(change: Callable[[Connection], Any]) -> Any:
        def listened(connection: Connection) -> Any:
            seen = list[str]()
            looks.append(seen)
            event.listen(connection, "before_cursor_execute", lambda _c, _k, sql, *_: seen.append(sql))
            return change(connection)

        return await write(listened)

    monkeypatch.setattr(ledger, "write", told)
    count = await retention.forget_older(ledger, "line", ["long_wait"], "2026-05-01")

    assert count == 6
    looks_at_incidents = [any("fingerprint IN" in sql for sql in seen) for seen in looks]
    assert looks_at_incidents == [False, False, False, False, True, False]
