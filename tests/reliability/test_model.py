"""Two organisations on one desk, worked on through tools and through raw HTTP, against a model of a few sets.

uv run pytest tests/reliability/test_model.py -m long -s      5,000 steps on each store

TRIAGE_TEST_SEED repeats a run; hypothesis besides prints the steps that failed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import CALLS, DESK_URL, KEY, load_lines
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from mcp.client import Client as McpClient
from postgres import PostgresServer
from pydantic import SecretStr
from reliability.seeds import seeded

from calltriage.client.client import open_client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint
from calltriage.client.http import Http
from calltriage.desk.app import Desk
from calltriage.desk.http.access import CLIENT_ID, SCOPES
from calltriage.operations.base import Api
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

pytestmark = pytest.mark.slow

STEPS = Counter[str]()
FILES = "/attachments/2023-03"
UNKNOWN = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
VERDICTS = {201: "made", 200: "there", 204: "made", 404: "not found"}
CONFLICTS = {"call_not_attached": "not attached", "2320004": "taken"}
OUTCOMES = {"committed": "made", "replayed": "there"}
CODES = {
    "not_found": "not found", "call_not_attached": "not attached", "name_conflict": "taken",
    "circle_of_duplicates": "a circle",
}  # fmt: skip

organisations = st.sampled_from([0, 1])
ways = st.sampled_from(["tools", "http"])
places = st.integers(0, 5)
names = st.sampled_from(["report.txt", "other.txt"])
texts = st.sampled_from(["one", "two"])
calls = st.sampled_from(["call-card", "call-hours", "call-nowhere"])
relation_types = st.sampled_from(["related_to", "blocks", "duplicate_of"])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Known:
    """What the model knows of an issue."""

    status: str = "todo"
    links: dict[str, str] = field(default_factory=dict[str, str])
    """Link ids by call."""
    flags: dict[str, str] = field(default_factory=dict[str, str])
    """Calls by flag id."""
    outgoing: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    incoming: int = 0


class Triage(RuleBasedStateMachine):
    place: ClassVar[list[Callable[[], AbstractContextManager[str | None]]]] = []
    """Makes an empty desk's database; None stands for the desk's own file."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.model: tuple[dict[str, Known], dict[str, Known]] = ({}, {})
        self.files: tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]] = ({}, {})
        """By organisation and name: a file's text and id."""
        url = self.stack.enter_context(self.place[0]())
        self.desk = Desk(folder, SecretStr(KEY), DESK_URL, database_url=SecretStr(url) if url else None)
        self.portal.call(load_lines, self.desk, *CALLS)  # calls of the first organisation
        keys = [KEY, self.portal.call(self.desk.tenants.add_organisation, "Other").key]
        self.http: list[httpx2.AsyncClient] = []
        self.agents: list[McpClient] = []
        self.tokens: list[str] = []
        for key in keys:
            transport = httpx2.ASGITransport(self.desk, raise_app_exceptions=False)
            secret = SecretStr(key)
            raw = httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": key})
            self.http.append(self.entered(raw))
            oauth = ClientCredentials(f"{DESK_URL}/oauth/token", CLIENT_ID, secret, SCOPES)
            endpoints = {
                Api.TRIAGE: Endpoint(DESK_URL, ApiKey(secret), transport),
                Api.ATTACHMENTS: Endpoint(DESK_URL, oauth, transport),
            }
            client = self.entered(open_client(endpoints))
            server = build_server(client, version="0", tools=select(("all",)), confirm="allow")
            self.agents.append(self.entered(McpClient(server)))
            self.tokens.append(self.portal.call(self.desk_token, oauth, Http(transport, DESK_URL)))

    async def desk_token(self, oauth: ClientCredentials, http: Http) -> str:
        return await oauth.header(http)

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

        return self.sent(org, method, f"/v1/triage{path}", body)

    def sent(self, org: int, method: str, path: str, body: dict[str, Any] | None = None,
             **headers: str) -> tuple[str, dict[str, Any]]:  # fmt: skip
        async def send() -> httpx2.Response:
            return await self.http[org].request(method, path, json=body, headers=headers)

        answer = self.portal.call(send)
        found: dict[str, Any] = answer.json() if answer.content else {}
        if answer.status_code == 409:
            error = (found.get("errors") or [found])[0]
            return CONFLICTS[str(error.get("error", error.get("code")))], {}
        return VERDICTS[answer.status_code], found.get("data", found) or {}

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
        verdict, found = self.ask(org, way, "attach_resource", {"issue_id": issue, **body}, "POST",
                                  f"/issues/{issue}/resources", body)  # fmt: skip
        known = self.model[org].get(issue)
        if known is None or (call not in known.links and (org == 1 or call == "call-nowhere")):
            assert verdict == "not found"
            return
        assert verdict == ("there" if call in known.links else "made")
        assert known.links.setdefault(call, found["id"]) == found["id"]

    @rule(org=organisations, way=ways, place=places, call=calls)
    def detach(self, org: int, way: str, place: int, call: str) -> None:
        """The flags of a call go with it (bland-triage, section 5)."""
        issue = self.issue(org, place)
        known = self.model[org].get(issue, Known())
        link = known.links.pop(call, UNKNOWN)
        verdict, _ = self.ask(org, way, "remove_resource", {"issue_id": issue, "resource_link_id": link}, "DELETE",
                              f"/issues/{issue}/resources/{link}", {})  # fmt: skip
        assert verdict == ("not found" if link == UNKNOWN else "made")
        known.flags = {flag: of for flag, of in known.flags.items() if link == UNKNOWN or of != call}

    @rule(org=organisations, way=ways, place=places, call=calls)
    def flag(self, org: int, way: str, place: int, call: str) -> None:
        issue = self.issue(org, place)
        body = {"call_id": call, "type": "silence", "note": "n"}
        verdict, found = self.ask(
            org, way, "add_flag", {"issue_id": issue, **body}, "POST", f"/issues/{issue}/flags", body
        )
        known = self.model[org].get(issue)
        expected = "not found" if known is None else "made" if call in known.links else "not attached"
        assert verdict == expected
        if known is not None and verdict == "made":
            known.flags[found["id"]] = call

    @rule(org=organisations, way=ways, place=places, which=places)
    def unflag(self, org: int, way: str, place: int, which: int) -> None:
        issue = self.issue(org, place)
        known = self.model[org].get(issue, Known())
        flag = [*known.flags, UNKNOWN][which % (len(known.flags) + 1)]
        verdict, _ = self.ask(org, way, "remove_flag", {"issue_id": issue, "flag_id": flag}, "DELETE",
                              f"/issues/{issue}/flags/{flag}", {})  # fmt: skip
        assert verdict == ("not found" if known.flags.pop(flag, None) is None else "made")

    @rule(org=organisations, way=ways, name=names, text=texts)
    def store(self, org: int, way: str, name: str, text: str) -> None:
        """A name is taken once; to a tool an equal file under it is there already."""
        there = self.files[org].get(name)
        if way == "tools":
            STEPS[way] += 1
            answer = self.portal.call(self.agents[org].call_tool, "create_attachment", {"name": name, "text": text})
            found = answer.structured_content or {}
            verdict = CODES[found["error"]["code"]] if "error" in found else OUTCOMES[found["outcome"]]
            expected = "made" if there is None else "there" if there[0] == text else "taken"
        else:
            token = {"authorization": self.tokens[org]}
            _, link = self.sent(org, "POST", f"{FILES}/upload-link", {}, **token)
            self.portal.call(self.put, link["url"], text)
            STEPS[way] += 1
            new = {"name": name, "request_id": link["request_id"], "metadata": {"sha256": sha256(text)}}
            verdict, found = self.sent(org, "POST", FILES, new, **token)
            verdict = "made" if verdict == "there" else verdict  # 200 is this API's word for it
            expected = "made" if there is None else "taken"
        assert verdict == expected
        if verdict == "made":
            self.files[org][name] = text, found["id"]
        elif verdict == "there":
            assert there is not None
            assert found["id"] == there[1]

    async def put(self, url: str, text: str) -> None:
        request = self.http[0].build_request("PUT", url, content=text.encode(), headers={"content-type": "text/plain"})
        del request.headers["authorization"]
        assert (await self.http[0].send(request)).status_code == 200

    @rule(org=organisations, way=ways, name=names, theirs=st.booleans())
    def discard(self, org: int, way: str, name: str, theirs: bool) -> None:
        """One's own file; another organisation's is not there."""
        file = self.files[1 - org].get(name) if theirs else self.files[org].pop(name, None)
        file_id = file[1] if file else "no-such-file"
        if way == "tools":
            verdict, _ = self.ask(org, way, "delete_attachment", {"attachment_id": file_id}, "", "", {})
        else:
            STEPS[way] += 1
            verdict, _ = self.sent(org, "DELETE", f"{FILES}/{file_id}", authorization=self.tokens[org])
        assert verdict == ("made" if file and not theirs else "not found")

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
        is_there = (target, kind) in source.outgoing
        if way == "tools":  # the tool knows what a link says; the API does not
            is_there |= kind == "related_to" and (issue, kind) in end.outgoing
            if kind == "duplicate_of" and issue in self.originals(org, target):
                assert verdict == "a circle"
                return
        assert verdict == ("there" if is_there else "made")
        if verdict == "made":
            source.outgoing.add((target, kind))
            end.incoming += 1

    def originals(self, org: int, issue: str) -> set[str]:
        """The issues that an issue is a duplicate of, directly or over others."""
        found, waiting = set[str](), [issue]
        while waiting:
            near = {other for other, kind in self.model[org][waiting.pop()].outgoing if kind == "duplicate_of"}
            waiting += near - found
            found |= near
        return found

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
            raw = self.portal.call(self.http[org].get, f"/v1/triage/issues/{issue}").json()["data"]
            wanted = (known.status, len(known.links), len(known.flags), len(known.outgoing) + known.incoming)
            for found in (shown, raw):
                counts = (found["status"], found["resource_count"], found["flag_count"], found["relation_count"])
                assert counts == wanted
            other = self.portal.call(self.http[1 - org].get, f"/v1/triage/issues/{issue}")
            assert other.status_code == 404
            listed = self.portal.call(self.agents[org].call_tool, "list_attachments", {}).structured_content or {}
            assert {item["name"] for item in listed["items"]} == set(self.files[org])


@pytest.mark.parametrize("wanted", [pytest.param(60, id="few"), pytest.param(5000, id="many", marks=pytest.mark.long)])
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_tools_and_raw_http_answer_as_the_model_does(store: str, wanted: int, request: pytest.FixtureRequest) -> None:
    number = seeded().randrange(2**32)
    server: PostgresServer | None = request.getfixturevalue("postgres") if store == "postgres" else None
    Triage.place[:] = [nullcontext if server is None else server.emptied_desk]
    STEPS.clear()
    few = wanted < 100
    while STEPS.total() < wanted:
        number += 1
        run_state_machine_as_test(
            seed(number)(Triage),
            settings=settings(
                max_examples=5 if few else 40, stateful_step_count=15 if few else 40, deadline=None, print_blob=True,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], database=None,
            ),
        )  # fmt: skip
    print(f"{store}: {STEPS.total()} steps, {dict(STEPS)}, of two organisations, as the model has it")
    assert min(STEPS["tools"], STEPS["http"]) > 0
