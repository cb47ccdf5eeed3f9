"""After a write its answer says which issues it touched, and the `updated_at` that a guarded change may pass next."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Clock
from mcp.client import Client
from tool_calls import filed, ok, with_call

from calltriage.client.client import Client as ApiClient
from calltriage.operations.activity import AddComment
from calltriage.operations.issues import GetIssue

WRITES: dict[str, dict[str, Any]] = {
    "add_flag": {"call_id": "call-card", "type": "missed_handoff", "message_index": 0},
    "add_comment": {"detail": "As heard."},
    "create_attachment": {"name": "report.txt", "text": "x"},
    "link_issue": {"relation_type": "blocks"},
}


@pytest.mark.parametrize("tool", WRITES)
async def test_a_change_guarded_by_what_the_write_answered_goes_through(agent: Client, clock: Clock, tool: str) -> None:
    ticket, other = await with_call(agent), await filed(agent)
    clock.advance(seconds=7)
    ends = {
        "create_attachment": {"attach_to": ticket},
        "link_issue": {"issue_id": ticket, "related_issue_id": other["id"]},
    }
    told = await ok(agent, tool, **WRITES[tool], **ends.get(tool, {"issue_id": ticket}))
    assert [one["triage_id"] for one in told["issues"]] == [ticket, other["triage_id"]][: 1 + (tool == "link_issue")]
    for issue in told["issues"]:
        guard = {"issue_id": issue["id"], "expect_updated_at": issue["updated_at"]}
        assert (await ok(agent, "update_issue", severity="low", **guard))["outcome"] == "committed"


async def test_what_others_did_meanwhile_is_not_hidden_behind_the_write(
    agent: Client, client: ApiClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = await filed(agent)
    send = ApiClient.send

    async def others_first(self: ApiClient, operation: Any) -> Any:
        if isinstance(operation, GetIssue):
            clock.advance(seconds=3)
            await send(client, AddComment(issue_id=issue["id"], detail="Meanwhile."))
        return await send(self, operation)

    monkeypatch.setattr(ApiClient, "send", others_first)
    [told] = (await ok(agent, "add_comment", issue_id=issue["id"], detail="Mine."))["issues"]
    assert "updated_at" not in told
    assert "Read it" in told["note"]


async def test_a_replay_touches_nothing(agent: Client) -> None:
    ticket = (await filed(agent))["triage_id"]
    for outcome in ("committed", "replayed"):
        told = await ok(agent, "attach_resource", issue_id=ticket, resource_type="call", resource_id="call-card")
        assert (told["outcome"], "issues" in told) == (outcome, outcome == "committed")
