"""The issues that have a resource of a kind: the same list, however few or many they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, event, insert
from transactions import at, new_org

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import links, new_id
from calltriage.desk.handlers import issues
from calltriage.desk.handlers.issues import create_issue, list_issues
from calltriage.operations.issues import CreateIssue, ListIssues

ISSUES = 9


def filled(connection: Connection, having: int) -> str:
    """An organisation with issues of which so many have calls, and one has a file."""
    org = new_org(connection)
    ids = [
        create_issue(at(connection, org, n), CreateIssue(title=str(n), severity="low", category="Bug")).body["id"]
        for n in range(ISSUES)
    ]
    kinds = [(issue, "call", str(n)) for issue in ids[:having] for n in range(3)] + [(ids[-1], "file", "f")]
    link = {"org_id": org, "title": "", "metadata": {}, "created_at": "2026-05-06T00:00:00.000Z"}
    connection.execute(
        insert(links),
        [
            {**link, "id": new_id(), "issue_id": issue, "resource_type": kind, "resource_id": which}
            for issue, kind, which in kinds
        ],
    )
    return org


def listed(connection: Connection, org: str, kind: str) -> list[str]:
    """Titles, page by page."""
    titles, cursor = list[str](), None
    while True:
        call = ListIssues.model_validate({"resource_type": kind, "limit": 2, "cursor": cursor})
        body = list_issues(at(connection, org, 60), call).body
        titles += [item["title"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return titles


@pytest.mark.parametrize("having", [0, 1, 2, 3, 5, ISSUES])
async def test_the_list_is_the_same_however_its_issues_are_found(
    tmp_path: Path, database_url: SecretStr | None, monkeypatch: pytest.MonkeyPatch, having: int
) -> None:
    monkeypatch.setattr(issues, "VERY_FEW", 2)
    monkeypatch.setattr(issues, "FEW", 4)
    store = Store(tmp_path / "desk", database_url)

    def check(connection: Connection) -> None:
        filled(connection, 4)  # another's
        org = filled(connection, having)
        asked = list[str]()
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        assert listed(connection, org, "call") == [str(n) for n in reversed(range(having))]
        assert any("DISTINCT" in statement for statement in asked) == (having > 2), "few are found one by one"
        assert listed(connection, org, "file") == [str(ISSUES - 1)]
        assert listed(connection, org, "sms_conversation") == []

    try:
        await store.write(check)
    finally:
        await store.close()
