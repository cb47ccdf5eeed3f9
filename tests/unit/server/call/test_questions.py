"""Where a host cannot ask, a person still can be: by the board in the host, and by the board's page on the same folder."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp.client import Client
from mcp_over_http import served
from pydantic import SecretStr
from storing import Time
from tool_calls import filed, with_call

from calltriage.client.client import Client as ApiClient
from calltriage.leaves.seals import Seals
from calltriage.offering import ALL, Policy
from calltriage.operations.base import Effect
from calltriage.server.app import build_server
from calltriage.server.call.confirmation import QUESTION
from calltriage.server.call.host import CONFIRMED
from calltriage.server.call.views import BOARD, seen_in
from calltriage.server.questions import SECONDS, Questions
from calltriage.server.toolsets import select
from calltriage.server.transports.board_page import BoardPage

MODES = ["legacy", "2026-07-28"]
HERE = "http://127.0.0.1:8000"


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def questions(tmp_path: Path, time: Time) -> Questions:
    return Questions(tmp_path / "data" / "questions", Seals(lambda: b"k" * 32, time))


@asynccontextmanager
async def silent(
    client: ApiClient, questions: Questions | None, confirm: Policy, mode: str = "2026-07-28"
) -> AsyncGenerator[Client]:
    """An agent with every tool, whose host can ask nobody."""
    server = build_server(client, version="0", tools=select([ALL]), confirm=confirm, questions=questions)
    async with Client(server, mode=mode) as agent:
        yield agent


async def flagged(agent: Client) -> dict[str, Any]:
    """Arguments that remove a flag which is there."""
    ticket = await with_call(agent)
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "late", "message_index": 3}
    made = (await agent.call_tool("add_flag", flag)).structured_content or {}
    return {"issue_id": ticket, "flag_id": made["id"]}


async def removing(agent: Client, given: dict[str, Any], seal: str | None = None) -> mcp_types.CallToolResult:
    meta: Any = None if seal is None else {CONFIRMED: seal}
    return await agent.call_tool("remove_flag", given, meta=meta)


def error_of(result: mcp_types.CallToolResult) -> dict[str, Any]:
    return (result.structured_content or {}).get("error", {})


def question_of(result: mcp_types.CallToolResult) -> dict[str, Any]:
    return (result.meta or {})[QUESTION]


@pytest.mark.parametrize("mode", MODES)
async def test_a_view_gets_the_question_and_a_seal_that_the_model_does_not_see(
    client: ApiClient, questions: Questions, mode: str
) -> None:
    async with silent(client, questions, "panel", mode) as agent:
        given = await flagged(agent)
        refused = await removing(agent, given)
        question = question_of(refused)
        shown = json.dumps([refused.structured_content, getattr(refused.content[0], "text", "")])
        assert error_of(refused)["code"] == "confirmation_unavailable"
        assert "If the host shows the board beside this, a person can answer there." in error_of(refused)["message"]
        assert question["seal"] not in shown
        assert (question["tool"], question["arguments"]) == ("remove_flag", given)
        assert given["flag_id"] in question["text"]
        agreed = await removing(agent, given, question["seal"])
        assert (agreed.structured_content or {})["outcome"] == "committed"


async def test_a_seal_is_good_once_for_its_own_question_and_for_ten_minutes(
    client: ApiClient, questions: Questions, time: Time
) -> None:
    async with silent(client, questions, "panel") as agent:
        first, second = await flagged(agent), await flagged(agent)
        seal = question_of(await removing(agent, first))["seal"]
        for wrong in ("", "x", seal[:-4], question_of(await removing(agent, second))["seal"]):
            assert error_of(await removing(agent, first, wrong))["code"] == "confirmation_unavailable"
        time.now += SECONDS
        assert error_of(await removing(agent, first, seal))["code"] == "confirmation_unavailable"
        seal = question_of(await removing(agent, first))["seal"]
        wish_again = {**first}
        assert not (await removing(agent, first, seal)).is_error
        assert error_of(await removing(agent, wish_again, seal))["code"] == "not_found"
        attached = {"issue_id": second["issue_id"]}
        link = (await agent.call_tool("list_resources", attached)).structured_content or {}
        detach = {**attached, "resource_link_id": link["items"][0]["id"]}
        seal = question_of(await agent.call_tool("remove_resource", detach))["seal"]
        await agent.call_tool("remove_resource", detach, meta={CONFIRMED: seal})  # type: ignore[arg-type]
        evidence = {"resource_type": "call", "resource_id": "call-card"}
        await agent.call_tool("attach_resource", {**attached, **evidence})
        again = await agent.call_tool("remove_resource", detach, meta={CONFIRMED: seal})  # type: ignore[arg-type]
        assert again.is_error


async def test_a_used_seal_is_known_to_every_server_on_the_folder(questions: Questions) -> None:
    from calltriage.server.questions import Wish

    wish = Wish("", "delete_issue", {"issue_id": "T-1"}, "Delete it?")
    seal, other = questions.seal(wish), Questions(questions.folder, questions.seals)
    assert [await one.is_agreed(wish, seal) for one in (other, questions, other)] == [True, False, False]
    changed = Wish("", "delete_issue", {"issue_id": "T-1"}, "Delete it, with 3 flags?")
    assert not await questions.is_agreed(changed, questions.seal(wish))
    assert not await questions.is_agreed(Wish("another caller", *list(vars(wish).values())[1:]), questions.seal(wish))


async def test_no_seal_is_given_or_taken_unless_the_operator_lets_the_panel_ask(
    client: ApiClient, questions: Questions
) -> None:
    async with silent(client, questions, "panel") as agent:
        given = await flagged(agent)
        seal = question_of(await removing(agent, given))["seal"]
    async with silent(client, questions, "ask") as agent:
        refused = await removing(agent, given, seal)
        assert (error_of(refused)["code"], (refused.meta or {}).get(QUESTION)) == ("confirmation_unavailable", None)
    async with silent(client, None, "panel") as agent:
        assert error_of(await removing(agent, given, seal))["code"] == "confirmation_unavailable"


async def test_what_removes_has_the_board_for_a_view_where_the_board_asks(client: ApiClient) -> None:
    removes = {tool.tool_name() for tool in select([ALL]) if tool.effect is Effect.REMOVE}
    for policy, expected in (("panel", removes), ("ask", set[str]())):
        async with silent(client, None, policy) as agent:  # type: ignore[arg-type]
            tools = (await agent.list_tools()).tools
        shown = {tool.name for tool in tools if seen_in(BOARD).items() <= (tool.meta or {}).items()}
        hinted = {tool.name for tool in tools if any(name.startswith("anthropic/") for name in tool.meta or {})}
        assert hinted == {tool.tool_name() for tool in select([ALL])}
        assert shown == expected | {"get_issue", "get_evidence"}


def told(error: dict[str, Any]) -> str:
    """The id under which a question waits, as the agent is told it."""
    return error["message"].split("calltriage board --confirm ")[1][:8]


@pytest.mark.parametrize("policy", ["ask", "panel"])
async def test_a_question_waits_on_the_page_under_the_id_that_the_agent_is_told(
    client: ApiClient, questions: Questions, policy: Policy
) -> None:
    page = BoardPage(questions.seals, SecretStr("token-for-tests-0123456789"), questions, questions.seals.clock)
    async with silent(client, questions, policy) as agent, served(client, HERE, page=page) as http:
        given = await flagged(agent)
        ident = told(error_of(await removing(agent, given)))
        assert told(error_of(await removing(agent, given))) == ident

        async def about(**body: Any) -> Any:
            answer = await http.post("/ui/questions", json=body, headers={"origin": HERE})
            return answer.json() if answer.status_code == 200 else answer.status_code

        assert await about(id=ident) == 401
        await http.post("/ui/session", json={"code": page.new_code()}, headers={"origin": HERE})
        assert await about(id=ident) == {"tool": "remove_flag", "arguments": given}
        assert [await about(id=one) for one in ("aaaaaaaa", "../../x", "", None, 1, "\x00", ident.upper() + "/")] == [
            404
        ] * 7
        assert await about(id=ident, agreed=False) == 204
        assert await about(id=ident) == 404
        assert error_of(await removing(agent, given))["code"] == "confirmation_declined"
        other = await flagged(agent)
        ident = told(error_of(await removing(agent, other)))
        assert (await about(id=ident))["arguments"] == other
        assert await about(id=ident, agreed=True) == 204
        assert await about(id=ident) == 404
        assert error_of(await removing(agent, other))["code"] == "confirmation_unavailable"


async def test_what_waits_is_sealed_for_its_owner_and_ends(client: ApiClient, questions: Questions, time: Time) -> None:
    async with silent(client, questions, "ask") as agent:
        ident = told(error_of(await removing(agent, await flagged(agent))))
        file = questions.folder / ident
        assert file.stat().st_mode & 0o077 == 0
        forged = Questions(questions.folder, Seals(lambda: b"x" * 32, time))
        assert await forged.waiting(ident) is None
        assert await questions.waiting(ident) is not None
        time.now += SECONDS
        assert await questions.waiting(ident) is None


async def test_a_folder_that_cannot_be_used_leaves_the_policy(client: ApiClient, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    async with silent(client, Questions(tmp_path / "data" / "questions", Seals()), "ask") as agent:
        refused = await agent.call_tool("delete_issue", {"issue_id": (await filed(agent))["id"]})
    assert error_of(refused)["code"] == "confirmation_unavailable"
    assert "--confirm=allow" in error_of(refused)["message"]
    assert "calltriage board" not in error_of(refused)["message"]
