"""Each fault of an API on each tool that writes: what happened on the desk is what the outcome says, in time, once.

    uv run pytest tests/reliability/test_faults.py -m long -s      every fault on every tool in every way, with figures

On both stores of the desk; the journal is a file. In process on a clock that does not wait; a selection over sockets on a
real one. TRIAGE_TEST_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import pytest
import sqlalchemy as sql
from conftest import CALLS, DESK_URL, KEY, Clock, endpoints_to, load_lines
from faults import FAULTS, Fault, Scripted, fails, over_sockets, passes
from mcp.client import Client as McpClient
from pydantic import SecretStr
from reliability.seeds import seeded
from virtual_time import VirtualLoop

from calltriage.client import attachments
from calltriage.client.client import Client, open_client
from calltriage.client.in_process import InProcess, background
from calltriage.client.limits import Breaker, Rate
from calltriage.client.retries import RetryPolicy
from calltriage.desk.app import Desk
from calltriage.desk.database import tables
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.offering import ALL
from calltriage.operations.base import Effect
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import CreateIssue
from calltriage.operations.norm import CreateAgentSession
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource
from calltriage.server.app import build_server
from calltriage.server.call.write_record import takes_key
from calltriage.server.toolsets import select

DEADLINE = 30.0
GRACE = 0.5
"""Seconds that an answer may come after the deadline."""


class LoopClock(Clock):
    """The desk's wall clock; it moves as the loop's does."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def __call__(self) -> Any:
        return super().__call__() + timedelta(seconds=self._loop.time() - self._began)


@dataclass
class Case:
    """An issue with a call, a flag and a relation, an issue beside it with a session, and a file: to write on."""

    number: int
    issue: str = ""
    other: str = ""
    link: str = ""
    flag: str = ""
    relation: str = ""
    session: str = ""
    file: str = ""
    plan: dict[str, Any] = field(default_factory=dict[str, Any])

    async def prepare(self, client: Client) -> Case:
        new = {"title": f"Issue of case {self.number}", "severity": "high", "category": "Bug"}
        self.issue = (await client.send(CreateIssue.model_validate(new))).id
        self.other = (await client.send(CreateIssue.model_validate(new))).id
        attach = AttachResource(issue_id=self.issue, resource_type="call", resource_id="call-card")
        self.link = (await client.send(attach)).id
        self.flag = (await client.send(AddFlag(issue_id=self.issue, call_id="call-card", type="first"))).id
        relation = LinkIssue(issue_id=self.other, related_issue_id=self.issue, relation_type="blocks")
        self.relation = (await client.send(relation)).id
        self.session = (await client.send(CreateAgentSession(issue_id=self.other))).id
        return self


@dataclass(frozen=True)
class Written:
    """A tool that writes.

    Attributes:
        arguments: what it is called with.
        request: method and path of the request that meets the fault.
        is_write: that request is the write itself, not a step before it.
        halfway: what may stand, and is told, where one of its writes was made and another was not.
    """

    arguments: Callable[[Case], dict[str, Any]]
    request: str
    is_write: bool = True
    halfway: tuple[dict[str, int], ...] = ()

    def sends(self, request: httpx2.Request) -> bool:
        return re.fullmatch(self.request, f"{request.method} {request.url.path}") is not None


UUID, FILES = "[0-9a-f-]{36}", "/attachments/2023-03"
ISSUES = f"/v1/triage/issues/{UUID}"


def _on_issue(**more: Any) -> Callable[[Case], dict[str, Any]]:
    return lambda case: {"issue_id": case.issue, **more}


def _a_file(case: Case) -> dict[str, Any]:
    return {"name": f"report-{case.number}.txt", "text": "what was found"}


PLANNED: dict[str, Callable[[Case], dict[str, Any]]] = {
    "a comment": lambda case: {"tool": "add_comment", "arguments": {"issue_id": case.issue, "detail": "Planned."}},
    "an issue": lambda case: {"tool": "create_issue", "arguments": {
        "title": f"Planned {case.number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}},
    "a change": lambda case: {"tool": "update_issue", "arguments": {"issue_id": case.issue, "status": "done"}},
    "a flag": lambda case: {"tool": "add_flag", "arguments": {
        "issue_id": case.issue, "call_id": "call-card", "type": "planned", "message_index": 1}},
}  # fmt: skip
"""The one write of a plan."""
SEALS = Seals(lambda: b"0" * 32)

TWO_FLAGS = ({"flags": 1, "activity": 1},)
"""A correction whose removal was not made: the old flag and the new one."""
ONE_OF_TWO = ({"flags": 1, "activity": 1}, {"flags": 2, "activity": 2})
"""Two flags of which one was added, or of which it is not known of one."""
FILED = tuple({"issues": 1, "resource_links": 1, "activity": 2 + n} | ({"flags": n} if n else {}) for n in range(3))
"""An issue with its evidence and none, one or both of its flags."""


def _a_case(case: Case) -> dict[str, Any]:
    flags = [{"call_id": "call-card", "type": "x", "quote": "lost my debit card"},
             {"call_id": "call-card", "type": "y", "message_index": 6, "note": "n"}]  # fmt: skip
    return {"title": f"New {case.number}", "severity": "low", "category": "Bug", "on_duplicate": "create", "flags": flags,
            "resource_links": [{"resource_type": "call", "resource_id": "call-card"}]}  # fmt: skip


TOOLS: dict[str, Written] = {
    "create_issue": Written(
        lambda case: {"title": f"New {case.number}", "severity": "low", "category": "Bug", "on_duplicate": "create"},
        "POST /v1/triage/issues"),
    "create_issue: a whole case": Written(_a_case, "POST /v1/triage/issues", halfway=FILED),
    "create_issue: its flags": Written(_a_case, f"POST {ISSUES}/flags", halfway=FILED),
    "add_flag: several": Written(
        _on_issue(call_id="call-card", type="silence", also=[{"quote": "my debit card", "message_index": 5}]),
        f"POST {ISSUES}/flags", halfway=ONE_OF_TWO),
    "update_issue": Written(_on_issue(status="done"), f"PATCH {ISSUES}"),
    "delete_issue": Written(_on_issue(), f"DELETE {ISSUES}"),
    "mark_issue_viewed": Written(_on_issue(), f"PUT {ISSUES}/view"),
    "attach_resource": Written(
        _on_issue(resource_type="call", resource_id="call-hours"), f"POST {ISSUES}/resources"),
    "remove_resource": Written(
        lambda case: {"issue_id": case.issue, "resource_link_id": case.link}, f"DELETE {ISSUES}/resources/{UUID}"),
    "add_flag": Written(_on_issue(call_id="call-card", type="silence", note="n"), f"POST {ISSUES}/flags"),
    "remove_flag": Written(
        lambda case: {"issue_id": case.issue, "flag_id": case.flag}, f"DELETE {ISSUES}/flags/{UUID}"),
    "update_flag": Written(
        lambda case: {"issue_id": case.issue, "flag_id": case.flag, "note": "right"}, f"POST {ISSUES}/flags",
        halfway=TWO_FLAGS),
    "update_flag: its removal": Written(
        lambda case: {"issue_id": case.issue, "flag_id": case.flag, "note": "right"}, f"DELETE {ISSUES}/flags/{UUID}",
        halfway=TWO_FLAGS),
    "link_issue": Written(
        lambda case: {"issue_id": case.issue, "related_issue_id": case.other, "relation_type": "related_to"},
        f"POST {ISSUES}/relations"),
    "remove_relation": Written(
        lambda case: {"issue_id": case.issue, "relation_id": case.relation}, f"DELETE {ISSUES}/relations/{UUID}"),
    "add_comment": Written(_on_issue(detail="Seen again."), f"POST {ISSUES}/comments"),
    "create_category": Written(lambda case: {"name": f"Category {case.number}"}, "POST /v1/triage/categories"),
    "create_agent_session": Written(_on_issue(), f"POST {ISSUES}/agent-sessions"),
    "prompt_norm": Written(
        lambda case: {"issue_id": case.other, "detail": "what is it"}, f"POST {ISSUES}/agent-sessions/{UUID}/prompts"),
    "create_attachment": Written(_a_file, f"POST {FILES}"),
    "create_attachment: its link": Written(_a_file, f"POST {FILES}/upload-link", is_write=False),
    "create_attachment: its bytes": Written(_a_file, "PUT /blobs/.*", is_write=False),
    "delete_attachment": Written(lambda case: {"attachment_id": case.file}, f"DELETE {FILES}/.*"),
    "apply_plan: a comment": Written(lambda case: case.plan, f"POST {ISSUES}/comments"),
    "apply_plan: an issue": Written(lambda case: case.plan, "POST /v1/triage/issues"),
    "apply_plan: a change": Written(lambda case: case.plan, f"PATCH {ISSUES}"),
    "apply_plan: a flag": Written(lambda case: case.plan, f"POST {ISSUES}/flags"),
}  # fmt: skip
EFFECTS = {tool.tool_name(): tool for tool in select([ALL]) if tool.effect is not Effect.READ}

COUNTED = (
    tables.issues, tables.links, tables.flags, tables.relations, tables.sessions, tables.runs, tables.activity,
    tables.categories, tables.attachments,
)  # fmt: skip


async def state(desk: Desk, case: Case) -> dict[str, Any]:
    """All that a write could change: how many rows there are, and what it overwrites on the case's issue."""

    def read(connection: sql.Connection) -> dict[str, Any]:
        counts = {
            table.name: connection.execute(sql.select(sql.func.count()).select_from(table)).scalar_one()
            for table in COUNTED
        }
        status = sql.select(tables.issues.c.status).where(tables.issues.c.id == case.issue)
        viewed = sql.select(tables.views.c.viewed_at).where(tables.views.c.issue_id == case.issue)
        return counts | {"status": connection.execute(status).scalar(), "viewed": connection.execute(viewed).scalar()}

    return await desk.store.read(read)


def change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What became of it: rows more or less, and whether a value is another one."""
    found = {
        name: after[name] - value if isinstance(value, int) else after[name] != value for name, value in before.items()
    }
    return {name: value for name, value in found.items() if value}


Way = Literal["once", "always", "alone"]
"""The fault meets the write's first request; each of its requests; the first, and from then on nobody answers at all."""


@dataclass
class Ground:
    """A desk with its journal, and agents who reach it through a bad network."""

    desk: Desk
    journal: Journal
    calm: Client
    inner: httpx2.AsyncBaseTransport
    deadline: float
    sleep: Callable[[float], Any]
    figures: Counter[str] = field(default_factory=Counter[str])
    worst: float = 0.0
    number: int = 0
    one: dict[str, Any] = field(default_factory=dict[str, Any])
    wrong: list[str] = field(default_factory=list[str])

    def says(self, holds: Any, *complaint: Any) -> None:
        """Go on in any case; what does not hold is gathered."""
        if not holds:
            self.wrong.append(" ".join(map(str, complaint))[:500])

    def holds(self, outcome: str, effect: dict[str, Any], halfway: tuple[dict[str, int], ...] = ()) -> bool:
        """Whether the effect is that of one call or of none, as the outcome says; or half of one, where that was told."""
        half = list(halfway)
        none = [] if half and outcome == "not_committed" else [dict[str, int]()]
        return effect in {"not_committed": none + half, "unknown": [*none, *half, self.one]}.get(outcome, [self.one])

    async def learn(self, tool: str) -> None:
        """What one call does when nothing goes wrong."""
        case = await self.case(tool)
        before = await state(self.desk, case)
        async with self.agent(self.inner) as agent:
            found = await self.called(agent, named(tool), TOOLS[tool].arguments(case))
        self.one = change(before, await state(self.desk, case))
        assert (outcome_of(found), self.one != {}) == ("committed", True)

    async def case(self, tool: str) -> Case:
        self.number += 1
        case = await Case(self.number).prepare(self.calm)
        if named(tool) == "apply_plan":
            async with self.agent(self.inner) as agent:
                write = PLANNED[tool.partition(": ")[2]](case)
                plan = (await agent.call_tool("plan_triage", {"writes": [write]})).structured_content or {}
            case.plan = {"plan_id": plan["plan_id"], "seal": plan["seal"]}
        if tool == "delete_attachment":
            body = b"to be deleted"

            async def pieces() -> AsyncGenerator[bytes]:
                yield body

            uploaded = await attachments.upload(self.calm, attachments.Content("text/plain", len(body), pieces))
            case.file = (await attachments.create(self.calm, f"old-{self.number}.txt", uploaded)).result.id
        await self.sleep(60)  # so that nothing of this can be taken for what comes
        return case

    @asynccontextmanager
    async def agent(
        self, transport: httpx2.AsyncBaseTransport | None, url: str = DESK_URL
    ) -> AsyncGenerator[McpClient]:
        """With the limits that a vendor gets."""
        limits: dict[str, Any] = {
            "retry": RetryPolicy(1.0, 30.0, sleep=self.sleep),
            "rate": Rate(),
            "breaker": Breaker(),
        }
        endpoints = {
            api: replace(endpoint, transport=transport, **limits)
            for api, endpoint in endpoints_to(self.inner, url).items()
        }
        async with open_client(endpoints, deadline_s=self.deadline, ledger=self.journal) as client:
            server = build_server(
                client, version="0", tools=select([ALL]), journal=self.journal, confirm="allow", seals=SEALS
            )
            async with McpClient(server) as agent:
                yield agent

    async def called(self, agent: McpClient, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The body of the answer, which came in time and shows nothing that it must not."""
        began = anyio.current_time()
        result = await agent.call_tool(tool, arguments)
        self.worst = max(self.worst, anyio.current_time() - began - self.deadline)
        said = json.dumps(result.structured_content) + str(result.content)
        self.says(not re.search("canary|Traceback|Error executing|pydantic|internal_error", said), said)
        body = result.structured_content or {}
        if error := body.get("error"):
            self.says(result.is_error and {"code", "message", "retryable", "outcome"} <= set(error), said)
            self.says(error["outcome"] != "unknown" or ("try_next" in error and not error["retryable"]), said)
        return body


@asynccontextmanager
async def ground(
    folder: Path,
    database_url: SecretStr | None,
    clock: Clock,
    deadline: float = DEADLINE,
    sleep: Callable[[float], Any] = anyio.sleep,
) -> AsyncGenerator[Ground]:
    """Where it happens. At the end the journal is whole, and says of each write what became of it."""
    desk = Desk(folder, SecretStr(KEY), DESK_URL, clock=clock, database_url=database_url)
    journal = Journal(folder, clock=clock)
    await load_lines(desk, *CALLS)
    async with background() as tasks:
        inner = InProcess(desk, tasks)
        async with open_client(endpoints_to(inner)) as calm:
            yield Ground(desk, journal, calm, inner, deadline, sleep)
        rows, found = await journal.every(), await journal.verify()
    await desk.close()
    await journal.close()
    asked = {row.write_id for row in rows if row.kind == "asked"}
    assert (found.broken_at, asked - {row.write_id for row in rows if row.kind == "outcome"}) == (None, set())


def outcome_of(body: dict[str, Any]) -> str:
    return body.get("error", body)["outcome"]


def weather(way: Way, fault: Fault, written: Written, inner: httpx2.AsyncBaseTransport) -> Scripted:
    network = Scripted(
        inner=inner, only=lambda request: bool(way == "alone" and network.requests) or written.sends(request)
    )
    nobody = [fails(httpx2.ConnectError)] * 200
    network.script(*{"once": [fault.step], "always": [fault.step] * 50, "alone": [fault.step, *nobody]}[way])
    return network


@asynccontextmanager
async def in_process(here: Ground, network: Scripted) -> AsyncGenerator[McpClient]:
    async with here.agent(network) as agent:
        yield agent


@asynccontextmanager
async def on_the_wire(here: Ground, network: Scripted) -> AsyncGenerator[McpClient]:
    async def step(request: httpx2.Request, _: Any) -> httpx2.Response:
        return await network.handle_async_request(request)

    async with over_sockets(step, here.inner) as url, here.agent(None, url) as agent:
        yield agent


async def tried(
    here: Ground, tool: str, fault_name: str, way: Way, key: str | None, through: Callable[..., Any] = in_process
) -> None:
    """One cell of the matrix; what does not hold is gathered in `here.wrong`."""
    written, fault, name = TOOLS[tool], FAULTS[fault_name], named(tool)
    case = await here.case(tool)
    arguments = written.arguments(case) | ({"idempotency_key": key} if key else {})
    before = await state(here.desk, case)
    network = weather(way, fault, written, here.inner)
    async with through(here, network) as agent:
        first = await here.called(agent, name, arguments)
        outcome = outcome_of(first)
        here.figures[outcome] += 1
        here.says(network.requests, "the fault met nothing")
        is_partly = "added" in first.get("error", {}) or any("error" in one for one in first.get("also", ()))
        halfway = written.halfway if is_partly or outcome == "unknown" else ()  # the first of several may be in doubt
        effect = change(before, await state(here.desk, case))
        here.says(here.holds(outcome, effect, halfway), "another effect", outcome, effect)
        if outcome == "unknown":
            here.says(way == "alone" or fault.late or name == SHOWS_NOWHERE, "looking would have told")
        elif way == "once" and written.is_write and fault.done and not is_partly:
            here.says(outcome == "committed", "it was carried out and could be seen", outcome)
        if not (key or EFFECTS[name].effect is not Effect.ADD or name in KNOWN_AGAIN) or name.startswith(
            ("remove", "delete")
        ):
            return
        await here.sleep(60)
        network.script(passes)
        again = await here.called(agent, name, arguments)
        if key is not None and outcome in {"committed", "replayed"}:
            here.says(again == {**first, "outcome": "replayed"}, "a key's answer differs", first, again)
        here.says(outcome_of(again) in {"committed", "replayed"}, "the repeat failed", first, again)
        effect = change(before, await state(here.desk, case))
        here.says(here.holds("committed", effect), "another effect of two", effect)


SHOWS_NOWHERE = "mark_issue_viewed"
"""What no read shows; it leaves nothing twice."""
KNOWN_AGAIN = {"add_flag", "link_issue", "create_attachment"}
"""Tools that add, and whose repeats are recognised without a key."""


ON_THE_LEDGER = {"run_pipeline", "review_finding", "report_missed"}
"""Tools that write to the pipelines' ledger; `test_pipeline_crashes.py` tries what the ledger files with the vendor."""


def named(tool: str) -> str:
    """The tool of a row."""
    return tool.partition(":")[0]


def test_every_tool_that_writes_is_here() -> None:
    assert {named(tool) for tool in TOOLS} | ON_THE_LEDGER == set(EFFECTS)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


SOME, SOME_ON_POSTGRES = 12, 4
"""Faults a tool in a run that is not long, by the desk's store. A case takes longer on PostgreSQL."""


@pytest.mark.slow
@pytest.mark.parametrize("extent", ["some", pytest.param("all", marks=pytest.mark.long)])
@pytest.mark.parametrize("tool", TOOLS)
async def test_whatever_befalls_a_write_its_effects_are_what_its_outcome_says(
    tmp_path: Path, database_url: SecretStr | None, tool: str, extent: str
) -> None:
    chance = seeded()
    ways: list[Way] = ["once", "always", "alone"]
    keys = ["k", None] if takes_key(EFFECTS[tool.partition(":")[0]]) else [None]
    cells: list[tuple[str, Way, str | None]] = [*product(FAULTS, ways, keys)]
    if extent == "some":
        few = SOME if database_url is None else SOME_ON_POSTGRES
        cells = [(fault, chance.choice(ways), chance.choice(keys)) for fault in chance.sample([*FAULTS], few)]
    wrong: list[str] = []
    async with ground(tmp_path, database_url, LoopClock()) as here:
        await here.learn(tool)
        for number, (fault, way, key) in enumerate(cells):
            await tried(here, tool, fault, way, key and f"{key}{number}")
            wrong += [f"{fault}, {way}, {'with' if key else 'without'} a key: {one}" for one in here.wrong]
            here.wrong.clear()
    print(f"{tool}: {len(cells)} cases, {dict(here.figures)}, at most {max(here.worst, 0):.3f} s after the deadline")
    assert not wrong, "\n".join(wrong)
    assert here.worst <= GRACE


ON_ISSUES = ("add_flag", "attach_resource", "update_issue", "create_issue")
QUICK = ["reset", "reset before the header", "reset after the header", "closed after", "502 after", "the body is cut short",
         "a flood of headers", "a gzip bomb", "429, no Retry-After", "no answer after"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("tool", "faults"),
    [("add_flag", QUICK), *(pytest.param(tool, [*FAULTS], marks=pytest.mark.long) for tool in ON_ISSUES)],
)
async def test_over_sockets_too_effects_are_what_outcomes_say(
    tmp_path: Path, database_url: SecretStr | None, tool: str, faults: list[str]
) -> None:
    """On a real clock, of which no more is asked than is generous."""
    seeded()

    async def hurries(seconds: float) -> None:
        clock.advance(seconds=seconds)
        await anyio.sleep(seconds / 1000)

    clock, wrong = Clock(), list[str]()
    async with ground(tmp_path, database_url, clock, deadline=5, sleep=hurries) as here:
        await here.learn(tool)
        for fault in faults:
            if fault not in {"refused", "connecting hangs"}:  # who has accepted a connection can do neither
                await tried(here, tool, fault, "once", None, on_the_wire)
                wrong += [f"{fault}: {one}" for one in here.wrong]
                here.wrong.clear()
    print(f"{tool} over sockets: {here.figures.total()} cases, {dict(here.figures)}, "
          f"at most {max(here.worst, 0):.3f} s after the deadline")  # fmt: skip
    assert not wrong, "\n".join(wrong)
    assert here.worst <= 20
