"""A person is asked before a removal on every transport that can ask, in both generations of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mcp_types
import pytest
from e2e.processes import over_stdio, started
from mcp.client import Client

pytestmark = pytest.mark.slow


class Person:
    """Answers each question so, and keeps what was asked."""

    def __init__(self, *, agrees: bool) -> None:
        self.agrees = agrees
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        self.asked.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"confirm": self.agrees})


async def removal(client: Client) -> dict[str, Any]:
    """What comes of deleting an issue that was just filed, and whether it is still there."""
    new = {"title": "To be removed", "severity": "low", "category": "Bug", "on_duplicate": "create"}
    issue = {"issue_id": ((await client.call_tool("create_issue", new)).structured_content or {})["id"]}
    answer = (await client.call_tool("delete_issue", issue)).structured_content or {}
    return {**answer, "is_there": not (await client.call_tool("get_issue", issue)).is_error}


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_over_stdio_a_person_is_asked(tmp_path: Path, mode: str) -> None:
    for agrees in (True, False):
        person = Person(agrees=agrees)
        server = over_stdio(tmp_path, CALLTRIAGE_TOOLSETS="core,cleanup")
        async with Client(server, elicitation_callback=person, mode=mode) as client:
            answer = await removal(client)
        assert (len(person.asked), answer["is_there"]) == (1, not agrees)


async def test_over_stateless_http_only_the_newer_protocol_can_ask_and_the_older_is_refused(tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--http", "--port", "0", "--toolsets", "core,cleanup") as address:
        for mode, agrees in (("2026-07-28", True), ("2026-07-28", False), ("legacy", True)):
            person = Person(agrees=agrees)
            async with Client(address, elicitation_callback=person, mode=mode) as client:
                answer = await removal(client)
            if mode == "legacy":
                assert answer["error"]["code"] == "confirmation_unavailable"
                assert "stateless transport" in answer["error"]["message"]
                assert "version 2026-07-28 can be asked" in answer["error"]["message"]
                assert (person.asked, answer["is_there"]) == ([], True)
            else:
                assert (len(person.asked), answer["is_there"]) == (1, not agrees)


async def test_the_operator_can_allow_what_nobody_can_be_asked_about(tmp_path: Path) -> None:
    command = ("serve", "--http", "--port", "0", "--toolsets", "core,cleanup", "--confirm", "allow")
    async with started(tmp_path, *command) as address, Client(address, mode="legacy") as client:
        answer = await removal(client)
    assert (answer["outcome"], answer["is_there"]) == ("committed", False)
