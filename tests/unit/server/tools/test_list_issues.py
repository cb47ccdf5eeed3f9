"""list_issues tells an agent how far a search has looked."""

from __future__ import annotations

import pytest
from mcp.client import Client
from tool_calls import filed, ok

from calltriage.desk.database import issue_search


async def test_a_search_that_looked_at_a_part_of_the_issues_says_so_and_leads_on(
    agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {"NAMED": 1, "FEW": 1, "FIRST": 1, "MOST": 1, "NEAR": 4}.items():
        monkeypatch.setattr(issue_search, name, most)
    for title in ["lost card", "lost card", "lost", "card", "lost", "card"]:
        await filed(agent, title=title, on_duplicate="create")
    first = await ok(agent, "list_issues", search="lost card")
    assert (first["items"], first["complete"]) == ([], False)
    assert "a part of the issues" in first["note"]
    rest = await ok(agent, "list_issues", search="lost card", cursor=first["next_cursor"])
    assert [item["title"] for item in rest["items"]] == ["lost card", "lost card"]
    assert (rest["complete"], "note" in rest) == (True, False)


async def test_a_page_that_is_full_says_nothing_of_a_part(agent: Client) -> None:
    for n in range(3):
        await filed(agent, title=f"lost card {n}", on_duplicate="create")
    page = await ok(agent, "list_issues", search="lost card", limit=2)
    assert (page["returned"], page["complete"], "note" in page) == (2, False, False)
