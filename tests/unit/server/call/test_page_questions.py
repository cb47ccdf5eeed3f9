"""A host that cannot ask but can open a page sends its person there; the call goes on after what they say on the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client as McpClient
from mcp_over_http import NEWEST, ask, newest
from pydantic import SecretStr
from storing import Time
from tool_calls import ok, with_call

from calltriage.client.client import Client
from calltriage.leaves.seals import Seals
from calltriage.offering import ALL, Policy
from calltriage.operations.flags import ListFlags
from calltriage.server.app import build_server
from calltriage.server.call.confirmation import LOOKS, QUESTION
from calltriage.server.call.views import EXTENSION
from calltriage.server.questions import SECONDS, Questions
from calltriage.server.toolsets import select
from calltriage.server.transports.board_page import BoardPage
from calltriage.server.transports.http import build_http_app

HERE = "http://127.0.0.1:8000"
URL_ONLY: dict[str, Any] = {"elicitation": {"url": {}}}
WENT = {"confirm": {"action": "accept"}}


async def nobody() -> None:
    """Nobody answers while the call waits."""


@dataclass
class Host:
    """A host without a form of its own, its person's tab on the page, and flags to remove."""

    client: Client
    http: httpx2.AsyncClient
    agent: McpClient
    questions: Questions
    page: BoardPage
    time: Time
    waited: list[float] = field(default_factory=list[float])
    meanwhile: Callable[[], Awaitable[None]] = nobody

    async def flag(self) -> dict[str, Any]:
        ticket = await with_call(self.agent)
        made = await ok(self.agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=3)
        return {"issue_id": made["issue_id"], "flag_id": made["id"]}

    async def is_there(self, given: dict[str, Any]) -> bool:
        flags = (await self.client.send(ListFlags(issue_id=given["issue_id"]))).items
        return given["flag_id"] in {one.id for one in flags}

    async def remove(self, given: dict[str, Any], able: dict[str, Any] = URL_ONLY, **more: Any) -> dict[str, Any]:
        params = newest(name="remove_flag", arguments=given, **more)
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = able
        headers = {"mcp_protocol_version": NEWEST, "mcp_method": "tools/call", "mcp_name": "remove_flag"}
        return await ask(self.http, "tools/call", params, **headers)

    async def on_page(self, ident: str, **more: Any) -> Any:
        if not self.http.cookies:
            await self.http.post("/ui/session", json={"code": self.page.new_code()}, headers={"origin": HERE})
        answer = await self.http.post("/ui/questions", json={"id": ident, **more}, headers={"origin": HERE})
        return answer.json() if answer.status_code == 200 else answer.status_code


@asynccontextmanager
async def hosted(client: Client, agent: McpClient, folder: Path, confirm: Policy = "ask") -> AsyncGenerator[Host]:
    time = Time()
    seals = Seals(lambda: b"k" * 32, time)
    questions = Questions(folder / "data" / "questions", seals, f"{HERE}/ui")
    page = BoardPage(seals, SecretStr("token-for-tests-0123456789"), questions, time)

    async def sleep(seconds: float) -> None:
        host.waited.append(seconds)
        await host.meanwhile()

    server = build_server(
        client, version="0", tools=select([ALL]), confirm=confirm, questions=questions, seals=seals, duplex=False,
        sleep=sleep,
    )  # fmt: skip
    app = build_http_app(server, host="127.0.0.1", page=page)
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=HERE) as http:
        host = Host(client, http, agent, questions, page, time)
        yield host


@pytest.fixture
async def host(client: Client, full_agent: McpClient, tmp_path: Path) -> AsyncGenerator[Host]:
    async with hosted(client, full_agent, tmp_path) as opened:
        yield opened


def link_of(result: dict[str, Any]) -> tuple[str, str]:
    """The id of the question in the link that the host opens, and the state that goes with it."""
    assert result["resultType"] == "input_required"
    request = result["inputRequests"]["confirm"]
    params = request["params"]
    assert (request["method"], params["mode"]) == ("elicitation/create", "url")
    assert "elicitationId" not in params
    url, _, ident = params["url"].partition("#.")
    assert url == f"{HERE}/ui"
    return ident, result["requestState"]


def error_of(result: dict[str, Any]) -> dict[str, Any]:
    return result["structuredContent"]["error"]


async def test_after_a_yes_on_the_page_the_same_call_goes_on_once(host: Host) -> None:
    given = await host.flag()
    asked = await host.remove(given)
    ident, state = link_of(asked)
    assert given["flag_id"] in asked["inputRequests"]["confirm"]["params"]["message"]
    waits = await host.on_page(ident)
    assert waits == {
        "tool": "remove_flag", "arguments": given, "awaited": asked["inputRequests"]["confirm"]["params"]["message"],
    }  # fmt: skip
    assert await host.on_page(ident, agreed=True) == 204
    assert await host.is_there(given)
    other = await host.flag()
    assert link_of(await host.remove(other))[0] != ident
    done = await host.remove(given, inputResponses=WENT, requestState=state)
    assert done["structuredContent"]["outcome"] == "committed"
    assert (await host.is_there(given), await host.is_there(other)) == (False, True)
    assert await host.on_page(ident) == 404


async def test_after_a_no_on_the_page_nothing_is_removed_or_asked_again(host: Host) -> None:
    given = await host.flag()
    ident, state = link_of(await host.remove(given))
    assert await host.on_page(ident, agreed=False) == 204
    again: dict[str, Any] = {"inputResponses": WENT, "requestState": state}
    for more in (again, dict[str, Any]()):
        assert error_of(await host.remove(given, **more))["code"] == "confirmation_declined"
    assert await host.is_there(given)


@pytest.mark.parametrize(
    ("action", "code"), [("decline", "confirmation_declined"), ("cancel", "confirmation_cancelled")]
)
async def test_who_does_not_go_to_the_page_removes_nothing(host: Host, action: str, code: str) -> None:
    given = await host.flag()
    _, state = link_of(await host.remove(given))
    refused = await host.remove(given, inputResponses={"confirm": {"action": action}}, requestState=state)
    assert error_of(refused)["code"] == code
    assert host.waited == []
    assert await host.is_there(given)


async def test_that_a_person_went_to_the_page_is_no_yes(host: Host) -> None:
    given = await host.flag()
    ident, state = link_of(await host.remove(given))
    again = await host.remove(given, inputResponses=WENT, requestState=state)
    assert link_of(again)[0] == ident
    assert len(host.waited) == LOOKS
    assert await host.is_there(given)


async def test_an_answer_is_waited_for_while_the_person_reads(host: Host) -> None:
    given = await host.flag()
    ident, state = link_of(await host.remove(given))

    async def clicks() -> None:
        if len(host.waited) == 3:
            await host.on_page(ident, agreed=True)

    host.meanwhile = clicks
    done = await host.remove(given, inputResponses=WENT, requestState=state)
    assert done["structuredContent"]["outcome"] == "committed"
    assert len(host.waited) == 3


async def test_a_yes_ends_after_ten_minutes(host: Host) -> None:
    given = await host.flag()
    ident, _ = link_of(await host.remove(given))
    await host.on_page(ident, agreed=True)
    host.time.now += SECONDS
    _, state = link_of(await host.remove(given))
    assert (await host.remove(given, inputResponses=WENT, requestState=state))["resultType"] == "input_required"
    assert await host.is_there(given)


async def test_a_host_is_asked_in_the_first_way_that_it_has(
    client: Client, full_agent: McpClient, tmp_path: Path
) -> None:
    form, views = {"elicitation": {"form": {}, "url": {}}}, {"extensions": {EXTENSION: {}}}
    ways: tuple[tuple[Policy, dict[str, Any], str], ...] = (
        ("ask", form, "form"), ("panel", form | views, "form"), ("ask", URL_ONLY | views, "url"), ("panel", URL_ONLY, "url"),
        ("panel", URL_ONLY | views, "panel"), ("panel", {}, "panel"), ("ask", {}, "page"), ("allow", URL_ONLY, "none"),
        ("deny", form, "denied"),
    )  # fmt: skip
    for confirm, able, way in ways:
        async with hosted(client, full_agent, tmp_path, confirm) as host:
            given = await host.flag()
            result = await host.remove(given, able)
            match way:
                case "form" | "url":
                    params = result["inputRequests"]["confirm"]["params"]
                    assert params.get("mode", "form") == way
                case "panel":
                    assert result["_meta"][QUESTION]["tool"] == "remove_flag"
                case "page":
                    assert "calltriage board --confirm" in error_of(result)["message"]
                    assert QUESTION not in result.get("_meta", {})
                case "denied":
                    assert error_of(result)["code"] == "confirmation_denied"
                case _:
                    assert result["structuredContent"]["outcome"] == "committed"
            assert await host.is_there(given) is (way != "none")
