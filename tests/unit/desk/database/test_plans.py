"""How the database goes about the lists: by an index that has their order or finds few, never by reading an organisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from postgres import PostgresServer
from pydantic import SecretStr
from sqlalchemy import Connection, event, insert
from transactions import at, new_org

from calltriage.desk.database import issue_search
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import flags
from calltriage.desk.handlers.activity import list_activity
from calltriage.desk.handlers.call_search import search_calls
from calltriage.desk.handlers.calls import list_calls
from calltriage.desk.handlers.issues import create_issue, list_issues
from calltriage.desk.handlers.relations import list_relations
from calltriage.operations.activity import ListActivity
from calltriage.operations.calls import ListCalls, SearchCalls
from calltriage.operations.issues import CreateIssue, ListIssues
from calltriage.operations.relations import ListRelations

ORG = "b1f2"


async def plans_of(folder: Path, ask: Any, url: SecretStr | None = None) -> list[str]:
    """The steps of the last statement that a handler runs."""
    store = Store(folder, url)
    seen: list[tuple[str, Any]] = []

    def run(connection: Connection) -> list[str]:
        tx = at(connection, ORG)
        event.listen(connection, "before_cursor_execute", lambda _c, _k, sql, values, *_: seen.append((sql, values)))
        ask(tx)
        sql, values = seen[-1]
        explain = "EXPLAIN QUERY PLAN" if url is None else "EXPLAIN"
        return [row[-1] for row in connection.exec_driver_sql(f"{explain} {sql}", values)]

    try:
        return await store.read(run)
    finally:
        await store.close()


def uses(plan: list[str], table: str) -> list[str]:
    steps = [step for step in plan if step.startswith((f"SEARCH {table} ", f"SCAN {table}"))]
    return [step.partition(" USING ")[2].replace("COVERING ", "").partition(" (")[0] for step in steps]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "issues_by_activity"),
        ({"sort": "created_at"}, "issues_by_creation"),
        ({"sort": "severity"}, "issues_by_severity"),
        ({"sort": "status", "order": "asc"}, "issues_by_status"),
        ({"status": ["todo"]}, "issues_of_status"),
        ({"status": ["todo", "done", "closed"]}, "issues_by_activity"),
        ({"severity": ["high"]}, "issues_of_severity"),
        ({"category": ["Bug"]}, "issues_of_category"),
        ({"owner_id": "u-1"}, "issues_of_owner"),
        ({"assignee_id": "u-1", "status": ["todo"]}, "issues_of_assignee"),
        ({"date_range": "90d", "date_field": "created_at"}, "issues_by_activity"),
    ],
)
async def test_a_list_is_read_from_the_index_that_has_its_order(
    tmp_path: Path, query: dict[str, Any], index: str
) -> None:
    plan = await plans_of(tmp_path, lambda tx: list_issues(tx, ListIssues(**query)))
    assert uses(plan, "issues") == [f"INDEX {index}"]
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


@pytest.mark.parametrize(
    "query", [{"search": "card"}, {"search": "T-1001"}, {"search": "zq"}, {"resource_type": "file"}]
)
@pytest.mark.parametrize("most_named", [issue_search.NAMED, 0])
async def test_few_matches_are_looked_up_one_by_one(
    tmp_path: Path, query: dict[str, Any], most_named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issue_search, "NAMED", most_named)
    store = Store(tmp_path)

    def file(connection: Connection) -> None:
        tx = at(connection, new_org(connection, ORG))
        create_issue(tx, CreateIssue(title="card zq", severity="low", category="Bug"))

    await store.write(file)
    await store.close()
    plan = await plans_of(tmp_path, lambda tx: list_issues(tx, ListIssues(**query)))
    assert any(
        step.startswith("SEARCH issues USING INTEGER PRIMARY KEY") or step.endswith("(org_id=? AND id=?)")
        for step in plan
    ), plan


async def test_the_lists_of_an_issue_read_that_issue_alone(tmp_path: Path) -> None:
    store, made = Store(tmp_path), list[str]()

    def file(connection: Connection) -> None:
        tx = at(connection, new_org(connection, ORG))
        made.append(create_issue(tx, CreateIssue(title="t", severity="low", category="Bug")).body["id"])

    await store.write(file)
    await store.close()
    plan = await plans_of(tmp_path, lambda tx: list_activity(tx, ListActivity(issue_id=made[0])))
    assert uses(plan, "activity") == ["INDEX activity_of_issue"]
    plan = await plans_of(tmp_path, lambda tx: list_relations(tx, ListRelations(issue_id=made[0])))
    assert not [step for step in plan if step.endswith("(org_id=?)")], plan
    plan = await plans_of(tmp_path, lambda tx: list_calls(tx, ListCalls(from_number=["+1555"])))
    assert uses(plan, "calls") == ["INDEX calls_from"]
    listed = ListCalls(completed=True, start_date="2026-05-01T00:00:00Z", ascending=True)
    plan = await plans_of(tmp_path, lambda tx: list_calls(tx, listed))
    assert plan == ["SEARCH calls USING COVERING INDEX calls_completed (org_id=? AND completed=? AND created_at>?)"]


@pytest.mark.parametrize(("query", "goes_back"), [("refund", False), ("refund card", True)])
async def test_calls_with_one_word_are_looked_for_forwards_first(tmp_path: Path, query: str, goes_back: bool) -> None:
    store = Store(tmp_path)
    asked = list[str]()

    def run(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        search_calls(at(connection, ORG), SearchCalls(query=query))

    try:
        await store.read(run)
    finally:
        await store.close()
    (match,) = [statement for statement in asked if "MATCH" in statement]
    assert ("ORDER BY" in match) == goes_back


async def test_the_index_of_issues_has_small_pages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    query = "SELECT v FROM issue_grams_config WHERE k = 'pgsz'"
    try:
        assert (
            await store.read(lambda connection: connection.exec_driver_sql(query).scalar_one())
            == issue_search.PAGE_BYTES
        )
    finally:
        await store.close()


def test_postgresql_reads_the_flags_of_an_issue_alone_even_where_one_issue_has_all(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    def fill(connection: Connection) -> None:
        tx = at(connection, new_org(connection, ORG))
        (first, *_) = [create_issue(tx, CreateIssue(title="x", severity="low", category="Bug")).body for _ in range(20)]
        flag = {"org_id": ORG, "issue_id": first["id"], "call_id": "c", "type": "tone", "note": "", "author_id": "u"}
        rows = [{**flag, "id": str(n), "message_index": 0, "created_at": tx.instant} for n in range(3000)]
        connection.execute(insert(flags), rows)
        connection.exec_driver_sql("ANALYZE")

    async def run(url: SecretStr) -> list[str]:
        store = Store(tmp_path, url)
        await store.write(fill)
        await store.close()
        return await plans_of(tmp_path, lambda tx: list_issues(tx, ListIssues()), url)

    with postgres.emptied_desk() as url:
        plan = anyio.run(run, SecretStr(url))
    assert any(step.strip().startswith("->  Index Only Scan using flags_of_issue on flags") for step in plan), plan
