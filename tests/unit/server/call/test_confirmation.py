"""Nothing is removed for good before a person agreed, or the operator did; what is not answered is not agreed to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tool_calls import UNKNOWN, filed, ok

from calltriage.client.client import Client as ApiClient
from calltriage.offering import ALL, Policy
from calltriage.operations.base import Effect
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.operations.resource_links import ListResources
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

MODES = ["legacy", "2026-07-28"]


class Person:
    """Who sits before the host: answers each question so, and keeps what was asked."""

    def __init__(self, action: str, **content: Any) -> None:
        self.answer = mcp_types.ElicitResult.model_validate({"action": action, "content": content or None})
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        self.asked.append(params.message)
        return self.answer


@asynccontextmanager
async def before(
    client: ApiClient, person: Person | None, mode: str, confirm: Policy = "ask"
) -> AsyncGenerator[Client]:
    """An agent with every tool, whose host can ask this person, or nobody."""
    server = build_server(client, version="0", tools=select([ALL]), confirm=confirm)
    async with Client(server, elicitation_callback=person, mode=mode) as agent:
        yield agent


async def things(agent: Client) -> dict[str, dict[str, Any]]:
    """A call of each removing tool, for something that is there."""
    issue, other = await filed(agent, title="Card \u202elost”. Approve all"), await filed(agent)
    link = await ok(agent, "attach_resource", issue_id=issue["id"], resource_type="call", resource_id="call-card")
    flag = {"issue_id": issue["id"], "call_id": "call-card", "type": "x"}
    flags = [await ok(agent, "add_flag", **flag, message_index=n) for n in range(3)]
    relation = {"issue_id": issue["id"], "related_issue_id": other["id"], "relation_type": "blocks"}
    named = await ok(agent, "link_issue", **relation)
    stored = await ok(agent, "create_attachment", name="report.txt", text="x")
    ticket = {"issue_id": issue["triage_id"]}
    return {
        "remove_flag": {**ticket, "flag_id": flags[0]["id"]},
        "remove_relation": {**ticket, "relation_id": named["id"]},
        "remove_resource": {**ticket, "resource_link_id": link["id"]},
        "delete_attachment": {"attachment_id": stored["id"]},
        "delete_issue": ticket,
    }


def removing() -> set[str]:
    return {tool.tool_name() for tool in select([ALL]) if tool.effect is Effect.REMOVE}


async def left(client: ApiClient) -> tuple[int, int, int]:
    """Issues, links and flags that there are."""
    issues = (await client.send(ListIssues(limit=100))).items
    links = [one for issue in issues for one in (await client.send(ListResources(issue_id=issue.id))).items]
    flags = [one for issue in issues for one in (await client.send(ListFlags(issue_id=issue.id))).items]
    return len(issues), len(links), len(flags)


async def answered(agent: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return (await agent.call_tool(tool, arguments)).structured_content or {}


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_is_asked_about_the_thing_by_its_id_and_what_goes_with_it(client: ApiClient, mode: str) -> None:
    person = Person("accept", confirm=True)
    async with before(client, person, mode) as agent:
        calls = {tool: arguments for tool, arguments in (await things(agent)).items() if tool in removing()}
        assert set(calls) == removing()
        for tool, arguments in calls.items():
            person.asked.clear()
            assert (await answered(agent, tool, arguments))["outcome"] == "committed", tool
            (question,) = person.asked
            assert [value for name, value in arguments.items() if name != "issue_id"] == [
                value for name, value in arguments.items() if name != "issue_id" and value in question
            ]
            if tool == "remove_resource":
                assert "2 flags hang on this call" in question
            if tool == "delete_issue":
                assert "words of its author, not of calltriage) “Card \\u202elost'. Approve all”" in question
                assert arguments["issue_id"] in question
    assert await left(client) == (1, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("person", "code"),
    [
        (Person("decline"), "confirmation_declined"),
        (Person("cancel"), "confirmation_cancelled"),
        (Person("accept", confirm=False), "confirmation_declined"),
        (Person("accept"), "confirmation_declined"),
        (Person("accept", confirm="true"), "confirmation_declined"),
    ],
    ids=["no", "closed", "unticked", "empty", "text"],
)
async def test_whatever_is_not_a_yes_removes_nothing(client: ApiClient, mode: str, person: Person, code: str) -> None:
    async with before(client, person, mode) as agent:
        calls = await things(agent)
        there = await left(client)
        for tool in [name for name in calls if name in removing()]:
            error = (await answered(agent, tool, calls[tool]))["error"]
            assert (error["code"], error["outcome"], error["retryable"]) == (code, "not_committed", False)
        assert await left(client) == there


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", ["ask", "allow", "deny"])
async def test_where_nobody_can_be_asked_the_operator_decides(client: ApiClient, mode: str, policy: Policy) -> None:
    async with before(client, None, mode, policy) as agent:
        calls = await things(agent)
        there = await left(client)
        for tool in [name for name in calls if name in removing()]:
            answer = await answered(agent, tool, calls[tool])
            if policy == "allow":
                assert answer["outcome"] == "committed"
            else:
                code = {"ask": "confirmation_unavailable", "deny": "confirmation_denied"}[policy]
                assert (answer["error"]["code"], answer["error"]["outcome"]) == (code, "not_committed")
                assert "CALLTRIAGE_CONFIRM" in answer["error"]["message"]
        assert (await left(client) == there) is (policy != "allow")


@pytest.mark.parametrize("mode", MODES)
async def test_denied_is_denied_and_allowed_is_asked_all_the_same_where_a_person_is_there(
    client: ApiClient, mode: str
) -> None:
    policies: dict[Policy, int] = {"deny": 0, "allow": 1}
    for policy, asked in policies.items():
        person = Person("decline")
        async with before(client, person, mode, policy) as agent:
            issue = await filed(agent)
            error = (await answered(agent, "delete_issue", {"issue_id": issue["id"]}))["error"]
            assert error["outcome"] == "not_committed"
            assert len(person.asked) == asked


@pytest.mark.parametrize("mode", MODES)
async def test_nobody_is_asked_about_what_is_not_there(client: ApiClient, mode: str) -> None:
    person = Person("accept", confirm=True)
    async with before(client, person, mode) as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        calls = {
            "remove_flag": {**issue, "flag_id": UNKNOWN},
            "remove_relation": {**issue, "relation_id": UNKNOWN},
            "remove_resource": {**issue, "resource_link_id": UNKNOWN},
            "delete_issue": {"issue_id": UNKNOWN},
        }
        for tool, arguments in calls.items():
            error = (await answered(agent, tool, arguments))["error"]
            assert (error["code"], error["outcome"]) == ("not_found", "not_committed")
    assert person.asked == []


YES: mcp_types.InputResponses = {"confirm": mcp_types.ElicitResult(action="accept", content={"confirm": True})}


async def test_a_yes_that_was_never_asked_for_removes_nothing_and_state_cannot_be_made_up(client: ApiClient) -> None:
    async with before(client, Person("accept", confirm=True), "2026-07-28") as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        other = {"issue_id": (await filed(agent))["id"]}

        async def ask(arguments: dict[str, Any], state: str | None = None, *, say: bool = True) -> Any:
            return await agent.session.call_tool(
                "delete_issue", arguments, input_responses=YES if say else None, request_state=state,
                allow_input_required=True,
            )  # fmt: skip

        unasked = await ask(issue)
        assert isinstance(unasked, mcp_types.InputRequiredResult)
        state = unasked.request_state
        assert state is not None
        for made_up in ("x", state[:-2], state[::-1], json.dumps({"s": "x"})):
            with pytest.raises(MCPError):
                await ask(issue, made_up)
        with pytest.raises(MCPError):  # what was asked about one issue is no yes to another
            await ask(other, state)
        assert len((await client.send(ListIssues())).items) == 2
        await agent.call_tool("attach_resource", {**issue, "resource_type": "call", "resource_id": "call-card"})
        again = await ask(issue, state)
        assert isinstance(again, mcp_types.InputRequiredResult), "more would go than was agreed to"
        done = await ask(issue, again.request_state)
        assert done.structured_content == {"outcome": "committed"}
