"""Deleting what was imported: it is gone, what points at it says so, and nothing else is touched."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import CALLS, DESK_URL, KEY, call_line, load_lines, read_lines
from pydantic import SecretStr
from sqlalchemy import text

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import metadata
from calltriage.desk.importing.loading import load_import
from calltriage.desk.operating.deletion import Kind, Pointing, delete_record, pointing_at
from calltriage.errors import StoreError
from calltriage.storage import sqlite
from calltriage.storage.sqlite import sqlite_driver

ISSUES = "/v1/triage/issues"
SECRET = "the caller's words about a pumpernickel"
LINES = [
    call_line("doomed", SECRET, summary=f"Summary: {SECRET}"),
    call_line("odd_id", SECRET, summary=f"Summary: {SECRET}"),
    json.dumps({
        "kind": "sms_conversation", "conversation_id": "doomed", "created_at": "2026-05-01T10:00:00Z",
        "messages": [{"sender": "user", "text": SECRET}], "summary": f"Summary: {SECRET}",
    }),
]  # fmt: skip
TYPES: dict[Kind, str] = {"call": "call", "conversation": "sms_conversation"}


async def everything(desk: Desk) -> str:
    """All that the desk's tables hold."""
    queries = [f"SELECT * FROM {name}" for name in metadata.tables]
    rows = await desk.store.read(
        lambda connection: [tuple(row) for query in queries for row in connection.execute(text(query))]
    )
    return ascii(rows)


async def filed(http: httpx2.AsyncClient, *resources: tuple[str, str]) -> dict[str, Any]:
    links = [{"resource_type": kind, "resource_id": row_id} for kind, row_id in resources]
    body = {"title": "T", "severity": "low", "category": "Bug", "resource_links": links}
    answer = await http.post(ISSUES, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def items(http: httpx2.AsyncClient, path: str) -> list[dict[str, Any]]:
    return (await http.get(path)).json()["data"]["items"]


@pytest.mark.parametrize(("kind", "row_id"), [("call", "doomed"), ("conversation", "doomed"), ("call", "odd_id")])
async def test_a_deleted_record_leaves_its_words_nowhere_and_links_that_say_so(
    desk: httpx2.AsyncClient, the_desk: Desk, kind: Kind, row_id: str
) -> None:
    lines = [line for line in LINES if row_id in json.loads(line).values() and (kind == "call") == ("call_id" in line)]
    await load_lines(the_desk, *lines, *CALLS)
    issue, other = await filed(desk, (TYPES[kind], row_id), ("call", "call-card")), await filed(desk)
    link = (await items(desk, f"{ISSUES}/{issue['id']}/resources"))[0]
    attached = await desk.post(
        f"{ISSUES}/{other['id']}/resources", json={"resource_type": TYPES[kind], "resource_id": row_id}
    )
    assert (await desk.delete(f"{ISSUES}/{other['id']}/resources/{attached.json()['data']['id']}")).status_code == 204
    assert "pumpernickel" in await everything(the_desk)
    assert await pointing_at(the_desk, kind, row_id) == [Pointing(issue["id"], issue["triage_id"], 0)]
    assert "pumpernickel" in await everything(the_desk), "to look deletes nothing"
    await delete_record(the_desk, kind, row_id)
    assert "pumpernickel" not in await everything(the_desk), "not in links nor in feeds, of removed links neither"
    after = (await items(desk, f"{ISSUES}/{issue['id']}/resources"))[0]
    assert after == link | {"title": f"Deleted {kind}", "status": "unavailable"}
    [told] = [entry for entry in await items(desk, f"{ISSUES}/{issue['id']}/activity") if entry["type"] == "comment"]
    assert row_id in told["detail"]
    assert told["actor"] == {"kind": "system", "id": None, "label": None, "avatar_url": None}
    assert (await desk.get(f"{ISSUES}/{issue['id']}")).json()["data"]["has_unread_activity"] is True
    assert (await desk.get("/v1/calls/call-card")).status_code == 200
    for work in (pointing_at, delete_record):
        with pytest.raises(StoreError, match="no " + kind):
            await work(the_desk, kind, row_id)


async def test_flags_and_comments_stay_and_are_counted(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await load_lines(the_desk, *LINES)
    issues = [await filed(desk, ("call", "doomed")) for _ in range(2)]
    path = f"{ISSUES}/{issues[0]['id']}"
    for note in ("one", "two"):
        assert (
            await desk.post(f"{path}/flags", json={"call_id": "doomed", "type": "x", "note": note})
        ).status_code == 201
    await desk.post(f"{path}/comments", json={"detail": "I heard it."})
    flags = await items(desk, f"{path}/flags")
    found = await delete_record(the_desk, "call", "doomed")
    assert [(one.ticket, one.flags) for one in found] == [("T-1001", 2), ("T-1002", 0)]
    assert await items(desk, f"{path}/flags") == flags
    details = [entry["detail"] for entry in await items(desk, f"{path}/activity")]
    assert "I heard it." in details
    assert "2 flags" in details[0]
    assert (await desk.get("/v1/sms/conversations/doomed")).status_code == 200, "another kind's record of the same id"
    assert (await desk.delete(f"{path}/calls/doomed")).status_code == 204, "and the link can be removed as ever"


async def test_a_record_is_deleted_in_one_organisation_alone(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    other = await the_desk.tenants.add_organisation("B")
    await load_lines(the_desk, LINES[0])
    entries, _ = read_lines([LINES[0]], skip_bad=False)
    await load_import(the_desk, entries, org_id=other.org_id)
    await filed(desk, ("call", "doomed"))
    assert await delete_record(the_desk, "call", "doomed", other.org_id) == []
    assert (await desk.get("/v1/calls/doomed")).status_code == 200
    assert (await desk.get("/v1/calls/doomed", headers={"authorization": other.key})).status_code == 404
    with pytest.raises(StoreError, match="desk organisations list"):
        await delete_record(the_desk, "call", "doomed", "absent")


async def test_imported_again_it_can_be_read_again(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await load_lines(the_desk, LINES[0])
    issue = await filed(desk, ("call", "doomed"))
    await delete_record(the_desk, "call", "doomed")
    assert (await load_lines(the_desk, LINES[0])).added == 1
    [link] = await items(desk, f"{ISSUES}/{issue['id']}/resources")
    assert (link["status"], link["title"]) == ("available", "Deleted call")


async def test_the_words_are_not_left_over_in_the_database_s_file(tmp_path: Path) -> None:
    """SQLite frees the room of a deleted row without overwriting it, unless it is told to."""
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL)
    await load_lines(desk, call_line("doomed", *["pumpernickel " * 500] * 20))
    await delete_record(desk, "call", "doomed")
    await desk.close()
    with closing(sqlite_driver().connect(tmp_path / "desk.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"pumpernickel" not in b"".join(path.read_bytes() for path in tmp_path.glob("desk.sqlite3*"))


@pytest.mark.parametrize("is_read", [False, True], ids=["idle", "read"])
async def test_the_words_leave_the_database_s_log_too_or_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, is_read: bool
) -> None:
    """Others have the desk open, so that its log stays when this one closes."""
    monkeypatch.setattr(sqlite, "LOG_PATIENCE_MS", 1)
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL)
    await load_lines(desk, call_line("doomed", *["pumpernickel " * 500] * 20))
    with closing(sqlite_driver().connect(tmp_path / "desk.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN" if is_read else "PRAGMA user_version")
        other.execute("SELECT count(*) FROM calls").fetchall()
        await delete_record(desk, "call", "doomed")
        await desk.close()
        found = b"".join(path.read_bytes() for path in tmp_path.glob("desk.sqlite3*"))
    told = [record.getMessage() for record in caplog.records if "desk.sqlite3-wal" in record.getMessage()]
    assert (b"pumpernickel" in found, len(told)) == (is_read, int(is_read))
