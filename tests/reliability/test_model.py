"""Two organisations on one desk, worked on through tools and through raw HTTP, against a model of a few sets.

uv run pytest tests/reliability/test_model.py -m long -s      5,000 steps; hypothesis prints how to repeat a failure
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import CALLS, DESK_URL, KEY, load_lines
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage.client.client import open_client
from calltriage.client.dialects import ApiKey, Endpoint
from calltriage.desk.app import Desk
from calltriage.operations.base import Api
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

STEPS = Counter[str]()
UNKNOWN = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
VERDICTS = {201: "made", 200: "there", 404: "not found", 409: "not attached"}
OUTCOMES = {"committed": "made", "replayed": "there"}
CODES = {"not_found": "not found", "call_not_attached": "not attached"}

organisations = st.sampled_from([0, 1])
ways = st.sampled_from(["tools", "http"])
places = st.integers(0, 5)
calls = st.sampled_from(["call-card", "call-hours", "call-nowhere"])
relation_types = st.sampled_from(["related_to", "blocks", "duplicate_of"])


@dataclass
class Known:
    """What the model knows of an issue."""

    status: str = "todo"
    links: set[str] = field(default_factory=set[str])
    flags: int = 0
    outgoing: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    incoming: int = 0


class Triage(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.model: tuple[dict[str, Known], dict[str, Known]] = ({}, {})
        self.desk = Desk(folder, SecretStr(KEY), DESK_URL)
        self.portal.call(load_lines, self.desk, *CALLS)  # calls of the first organisation
        keys = [KEY, self.portal.call(self.desk.access.add_organisation, "Other").key]
        self.http: list[httpx2.AsyncClient] = []
        self.agents: list[McpClient] = []
        for key in keys:
            transport = httpx2.ASGITransport(self.desk, raise_app_exceptions=False)
            raw = httpx2.AsyncClient(
                transport=transport, base_url=f"{DESK_URL}/v1/triage", headers={"authorization": key}
            )
            self.http.append(self.entered(raw))
            client = self.entered(open_client({Api.TRIAGE: Endpoint(DESK_URL, ApiKey(SecretStr(key)), transport)}))
            self.agents.append(self.entered(McpClient(build_server(client, version="0", tools=select(("all",))))))

    def entered(self, manager: Any) -> Any:
        return self.stack.enter_context(self.portal.wrap_async_context_manager(manager))

    def teardown(self) -> None:
        self.portal.call(self.desk.close)
        self.stack.close()

    # The two ways

    def ask(self, org: int, way: str, tool: str, arguments: dict[str, Any], method: str, path: str,
            body: dict[str, Any]) -> tuple[str, dict[str, Any]]:  # fmt: skip
        """Do one thing one way; the verdict in words that both share, and the answer."""
        STEPS[way] += 1
        if way == "tools":
            found = self.portal.call(self.agents[org].call_tool, tool, arguments).structured_content or {}
            if error := found.get("error"):
                return CODES[error["code"]], {}
            return OUTCOMES[found["outcome"]], found

        async def send() -> httpx2.Response:
            return await self.http[org].request(method, path, json=body)

        answer = self.portal.call(send)
        return VERDICTS[answer.status_code], answer.json()["data"] or {}

    def issue(self, org: int, place: int) -> str:
        """One of the organisation's issues, of the other's, or none."""
        mine, theirs = list(self.model[org]), list(self.model[1 - org])
        if place == 5:
            return UNKNOWN
        if place == 4 and theirs:
            return theirs[0]
        return mine[place % len(mine)] if mine else UNKNOWN

    # What may happen

    @initialize()
    def begin(self) -> None:
        for org in (0, 1):
            self.file(org, "http")

    @rule(org=organisations, way=ways)
    def file(self, org: int, way: str) -> None:
        new = {"title": f"Issue {len(self.model[org])}", "severity": "low", "category": "Bug"}
        verdict, found = self.ask(org, way, "create_issue", new | {"on_duplicate": "create"}, "POST", "/issues", new)
        assert verdict == "made"
        assert found["triage_id"] == f"T-{1001 + len(self.model[org])}"
        self.model[org][found["id"]] = Known()

    @rule(org=organisations, way=ways, place=places, call=calls)
    def attach(self, org: int, way: str, place: int, call: str) -> None:
        issue = self.issue(org, place)
        body = {"resource_type": "call", "resource_id": call}
        verdict, _ = self.ask(org, way, "attach_resource", {"issue_id": issue, **body}, "POST",
                              f"/issues/{issue}/resources", body)  # fmt: skip
        known = self.model[org].get(issue)
        if known is None or (call not in known.links and (org == 1 or call == "call-nowhere")):
            assert verdict == "not found"
            return
        assert verdict == ("there" if call in known.links else "made")
        known.links.add(call)

    @rule(org=organisations, way=ways, place=places, call=calls)
    def flag(self, org: int, way: str, place: int, call: str) -> None:
        issue = self.issue(org, place)
        body = {"call_id": call, "type": "silence", "note": "n"}
        verdict, _ = self.ask(org, way, "add_flag", {"issue_id": issue, **body}, "POST", f"/issues/{issue}/flags", body)
        known = self.model[org].get(issue)
        expected = "not found" if known is None else "made" if call in known.links else "not attached"
        assert verdict == expected
        if known is not None and verdict == "made":
            known.flags += 1

    @rule(org=organisations, way=ways, place=places, other=places, kind=relation_types)
    def link(self, org: int, way: str, place: int, other: int, kind: str) -> None:
        issue, target = self.issue(org, place), self.issue(org, other)
        if issue == target:
            return
        body = {"related_issue_id": target, "relation_type": kind}
        verdict, _ = self.ask(org, way, "link_issue", {"issue_id": issue, **body}, "POST",
                              f"/issues/{issue}/relations", body)  # fmt: skip
        source, end = self.model[org].get(issue), self.model[org].get(target)
        if source is None or end is None:
            assert verdict == "not found"
            return
        assert verdict == ("there" if (target, kind) in source.outgoing else "made")
        if verdict == "made":
            source.outgoing.add((target, kind))
            end.incoming += 1

    @rule(org=organisations, way=ways, place=places, status=st.sampled_from(["todo", "done", "closed"]))
    def update(self, org: int, way: str, place: int, status: str) -> None:
        issue = self.issue(org, place)
        verdict, _ = self.ask(org, way, "update_issue", {"issue_id": issue, "status": status}, "PATCH",
                              f"/issues/{issue}", {"status": status})  # fmt: skip
        known = self.model[org].get(issue)
        assert (verdict == "not found") is (known is None)
        if known is not None:
            known.status = status

    # What always holds

    @invariant()
    def both_ways_show_what_the_model_says(self) -> None:
        for org, issues in enumerate(self.model):
            if not issues:
                continue
            issue, known = list(issues.items())[-1]
            shown = (
                self.portal.call(self.agents[org].call_tool, "get_issue", {"issue_id": issue}).structured_content or {}
            )
            raw = self.portal.call(self.http[org].get, f"/issues/{issue}").json()["data"]
            wanted = (known.status, len(known.links), known.flags, len(known.outgoing) + known.incoming)
            for found in (shown, raw):
                counts = (found["status"], found["resource_count"], found["flag_count"], found["relation_count"])
                assert counts == wanted
            other = self.portal.call(self.http[1 - org].get, f"/issues/{issue}")
            assert other.status_code == 404


@pytest.mark.parametrize(
    ("examples", "steps"), [pytest.param(3, 15, id="few"), pytest.param(160, 40, id="many", marks=pytest.mark.long)]
)
def test_tools_and_raw_http_answer_as_the_model_does(examples: int, steps: int) -> None:
    STEPS.clear()
    run_state_machine_as_test(
        Triage,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], database=None,
        ),
    )  # fmt: skip
    print(f"{STEPS.total()} steps: {dict(STEPS)}")
    assert min(STEPS["tools"], STEPS["http"]) > 0
