"""A host that sends each call twice: equal calls that overlap are one write, over each transport and between processes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from conftest import KEY, Clock, endpoints_to
from e2e.processes import PATIENCE, over_stdio, started
from faults import Gate, Inner, Scripted, over_sockets, passes
from mcp.client import Client as McpClient

from calltriage.client.client import Client, open_client
from calltriage.client.ledger import Entry
from calltriage.client.receipts import Receipt
from calltriage.desk.app import Desk
from calltriage.journal import turns
from calltriage.journal.journal import Journal
from calltriage.journal.unanswered import SWEEP_S, Unanswered
from calltriage.offering import ALL
from calltriage.operations.activity import AddComment
from calltriage.operations.base import Operation
from calltriage.server.app import build_server
from calltriage.server.call.answering import Answer
from calltriage.server.toolsets import select

NEW = {"title": "Ground", "severity": "low", "category": "Bug", "on_duplicate": "create"}


def calls_on(issue_id: str, other_id: str) -> dict[str, dict[str, Any]]:
    """Each tool that adds, with arguments."""
    return {
        "attach_resource": {"issue_id": issue_id, "resource_type": "call", "resource_id": "call-hours"},
        "add_flag": {"issue_id": issue_id, "call_id": "call-card", "type": "silence", "message_index": 1},
        "link_issue": {"issue_id": issue_id, "related_issue_id": other_id, "relation_type": "blocks"},
        "add_comment": {"issue_id": issue_id, "detail": "Carrier was told."},
        "create_agent_session": {"issue_id": issue_id},
        "create_category": {"name": "Hold music"},
        "prompt_norm": {"issue_id": other_id, "detail": "what is it"},
    }


async def called(agent: McpClient, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return (await agent.call_tool(tool, arguments)).structured_content or {}


async def ground(agent: McpClient) -> dict[str, dict[str, Any]]:
    one, two = [(await called(agent, "create_issue", NEW | {"title": title}))["id"] for title in ("One", "Two")]
    call = {"issue_id": one, "resource_type": "call", "resource_id": "call-card"}
    assert (await called(agent, "attach_resource", call))["outcome"] == "committed"
    return calls_on(one, two)


async def at_once(tool: str, arguments: dict[str, Any], *agents: McpClient) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []

    async def call(agent: McpClient) -> None:
        bodies.append(await called(agent, tool, arguments))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for agent in agents:
                tasks.start_soon(call, agent)
    return bodies


def are_one(bodies: list[dict[str, Any]]) -> None:
    outcomes = Counter(body.get("outcome", str(body)) for body in bodies)
    assert outcomes == {"committed": 1, "replayed": len(bodies) - 1}
    assert len({body.get("id", body.get("run_id")) for body in bodies}) == 1


def client_of(desk: Desk, journal: Journal, network: Scripted | None = None) -> AbstractAsyncContextManager[Client]:
    transport = network or httpx2.ASGITransport(desk, raise_app_exceptions=False)
    return open_client(endpoints_to(transport), ledger=journal)


@asynccontextmanager
async def agent_of(desk: Desk, journal: Journal, network: Scripted | None = None) -> AsyncGenerator[McpClient]:
    async with client_of(desk, journal, network) as client:
        server = build_server(client, version="0", tools=select([ALL]), journal=journal, confirm="allow")
        async with McpClient(server) as agent:
            yield agent


@pytest.mark.parametrize("tool", calls_on("", ""))
async def test_equal_calls_that_overlap_are_one_write(the_desk: Desk, clock: Clock, tmp_path: Path, tool: str) -> None:
    journal = Journal(tmp_path / "journal", clock=clock)
    async with agent_of(the_desk, journal) as agent:
        arguments = (await ground(agent))[tool]
        are_one(await at_once(tool, arguments, agent, agent, agent, agent))
    assert (await journal.verify()).broken_at is None
    await journal.close()


@pytest.mark.parametrize("tool", ["add_comment", "create_agent_session"])
async def test_equal_calls_one_after_the_other_are_two_writes(
    the_desk: Desk, clock: Clock, tmp_path: Path, tool: str
) -> None:
    journal = Journal(tmp_path / "journal", clock=clock)
    async with agent_of(the_desk, journal) as agent:
        arguments = (await ground(agent))[tool]
        bodies = [await called(agent, tool, arguments) for _ in range(2)]
    assert [body["outcome"] for body in bodies] == ["committed"] * 2
    assert len({body["id"] for body in bodies}) == 2
    await journal.close()


async def test_an_issue_is_filed_twice_at_once_only_where_that_is_asked_for(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal", clock=clock)
    async with agent_of(the_desk, journal) as agent:
        anyway = await at_once("create_issue", NEW, agent, agent)
        unless_open = await at_once("create_issue", NEW | {"title": "Bill", "on_duplicate": "report"}, agent, agent)
    assert [body["outcome"] for body in anyway] == ["committed"] * 2
    assert sorted(body["outcome"] for body in unless_open) == ["committed", "not_committed"]
    await journal.close()


async def test_an_equal_issue_is_filed_once_by_two_servers_on_one_journal(
    the_desk: Desk, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one looks when the first has filed it. Where that takes too long it sends nothing."""
    gate, tries, done = Gate(), 0, anyio.Event()
    network = Scripted(gate.holds(passes), inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False),
                       only=lambda request: (request.method, request.url.path) == ("POST", "/v1/triage/issues"))  # fmt: skip
    journals = [Journal(tmp_path / "journal", clock=clock) for _ in range(3)]
    new = NEW | {"on_duplicate": "report"}
    bodies: list[dict[str, Any]] = []
    is_free = turns._is_free

    def counted(lock: Any) -> bool:
        nonlocal tries
        tries += 1
        return is_free(lock)

    monkeypatch.setattr(turns, "_is_free", counted)
    async with (
        agent_of(the_desk, journals[0], network) as one,
        agent_of(the_desk, journals[1]) as two,
        agent_of(the_desk, journals[2]) as three,
    ):

        async def call(agent: McpClient) -> None:
            bodies.append(await called(agent, "create_issue", new))
            done.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, one)
                await gate.entered.wait()
                tasks.start_soon(call, two)
                while tries < 4 and not done.is_set():
                    await anyio.lowlevel.checkpoint()
                monkeypatch.setattr(turns, "PATIENCE_S", 0.0)
                late = await called(three, "create_issue", NEW | {"on_duplicate": "link", "title": "Other"})
                assert (late["error"]["code"], late["error"]["outcome"]) == ("in_flight", "not_committed")
                gate.opened.set()
        assert [body["outcome"] for body in bodies] == ["committed", "not_committed"]
        assert bodies[1]["similar"]["items"][0]["id"] == bodies[0]["id"]
        assert (await called(one, "list_issues", {}))["returned"] == 1
    for journal in journals:
        await journal.close()


async def test_calls_of_unequal_content_or_with_other_keys_stay_apart(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal", clock=clock)
    bodies: list[dict[str, Any]] = []
    async with agent_of(the_desk, journal) as agent:
        comment = (await ground(agent))["add_comment"]
        each = [comment, comment | {"detail": "Another."}, *(comment | {"idempotency_key": key} for key in "ab")]

        async def call(arguments: dict[str, Any]) -> None:
            bodies.append(await called(agent, "add_comment", arguments))

        async with anyio.create_task_group() as tasks:
            for arguments in each:
                tasks.start_soon(call, arguments)
    assert [body["outcome"] for body in bodies] == ["committed"] * 4
    assert len({body["id"] for body in bodies}) == 4
    await journal.close()


async def test_the_second_of_two_is_sent_where_the_first_came_to_nothing(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    gate, journal = Gate(), Journal(tmp_path / "journal", clock=clock)

    async def refused(request: httpx2.Request, _: Any) -> httpx2.Response:
        return httpx2.Response(422, json={}, request=request)

    network = Scripted(gate.holds(refused), inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False),
                       only=lambda request: request.url.path.endswith("comments"))  # fmt: skip
    async with agent_of(the_desk, journal, network) as agent:
        comment = (await ground(agent))["add_comment"]
        bodies: list[dict[str, Any]] = []

        async def call() -> None:
            bodies.append(await called(agent, "add_comment", comment))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await gate.entered.wait()
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
    assert [body.get("error", body)["outcome"] for body in bodies] == ["not_committed", "committed"]
    await journal.close()


@pytest.mark.parametrize("tool", ["add_comment", "create_agent_session", "create_category", "prompt_norm"])
@pytest.mark.parametrize("other", ["this process", "another one"])
async def test_an_equal_call_that_comes_before_the_first_one_is_answered_is_its_repeat(
    the_desk: Desk, clock: Clock, tmp_path: Path, tool: str, other: str
) -> None:
    """The first write is settled, and its call still reads what is shown beside it."""
    gate, is_settled = Gate(), anyio.Event()
    one = Journal(tmp_path / "journal", clock=clock)
    two = one if other == "this process" else Journal(tmp_path / "journal", clock=clock)
    end = one.end

    async def ended(entry: Entry, operation: Operation[Any], came: Receipt[Any] | BaseException) -> None:
        await end(entry, operation, came)
        is_settled.set()
        await gate.opened.wait()

    async with agent_of(the_desk, one) as first, agent_of(the_desk, two) as second:
        arguments = (await ground(first))[tool]
        await called(second, "list_recent_writes", {})
        bodies: list[dict[str, Any]] = []

        async def call(agent: McpClient) -> None:
            bodies.append(await called(agent, tool, arguments))

        one.end = ended
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, first)
                await is_settled.wait()
                one.end = end
                bodies.append(await called(second, tool, arguments))
                gate.opened.set()
        are_one(bodies)
        clock.advance(seconds=1)
        assert (await called(second, tool, arguments))["outcome"] == after(tool), "it was answered by then"
    assert list((tmp_path / "journal" / "unanswered").iterdir()) == []
    await two.close()
    await one.close()


def after(tool: str) -> str:
    """What an equal call is answered that comes later: a category is kept once, of the others there may be two."""
    return "replayed" if tool == "create_category" else "committed"


@pytest.mark.parametrize("tool", ["add_comment", "create_agent_session"])
async def test_an_equal_call_that_had_to_open_the_journal_first_is_a_repeat(
    the_desk: Desk, clock: Clock, tmp_path: Path, tool: str
) -> None:
    """It came before the other one was written, and learns of the journal's last row after that."""
    one, two = (Journal(tmp_path / "journal", clock=clock) for _ in range(2))
    opens = two.database.open
    async with agent_of(the_desk, one) as first, agent_of(the_desk, two) as second:
        arguments = (await ground(first))[tool]

        async def open_late() -> Any:
            if two.database._engine is None:
                clock.advance(seconds=1)
                bodies.append(await called(first, tool, arguments))
            return await opens()

        bodies: list[dict[str, Any]] = []
        two.database.open = open_late
        bodies.append(await called(second, tool, arguments))
        are_one(bodies)
        clock.advance(seconds=1)
        assert (await called(second, tool, arguments))["outcome"] == "committed"
    await two.close()
    await one.close()


async def test_a_process_that_is_killed_before_it_answers_leaves_its_write_to_be_repeated_for_a_while(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    killed, next_one = (Journal(tmp_path / "journal", clock=clock) for _ in range(2))
    async with agent_of(the_desk, killed) as first, agent_of(the_desk, next_one) as second:
        arguments = (await ground(first))["add_comment"]
        killed._unanswered.drop = lambda write_ids: None
        bodies = [await called(agent, "add_comment", arguments) for agent in (first, second)]
        are_one(bodies)
        clock.advance(minutes=11)
        assert (await called(second, "add_comment", arguments))["outcome"] == "committed"
    for journal in (killed, next_one):
        await journal.close()


ON_THE_WIRE = ["add_comment", "create_agent_session", "add_flag"]


class Slow:
    """A vendor that answers the first write of a pair once the second call has looked at the list, too."""

    def __init__(self, looks: int) -> None:
        self._looks, self._seen, self._enough = looks, 0, anyio.Event()

    def again(self) -> None:
        self._seen, self._enough = 0, anyio.Event()

    async def step(self, request: httpx2.Request, inner: Inner) -> httpx2.Response:
        if request.method == "GET" and request.url.path.endswith(("/activity", "/flags")):
            self._seen += 1
            if self._seen >= self._looks:
                self._enough.set()
        if request.method == "POST" and request.url.path.endswith(("/comments", "/agent-sessions", "/flags")):
            with anyio.fail_after(PATIENCE):
                await self._enough.wait()
        return await passes(request, inner)


@asynccontextmanager
async def agents_over(folder: Path, how: str, vendor: str) -> AsyncGenerator[list[McpClient]]:
    """Two seats: at one server over stdio or HTTP, or each at its own server on the one folder."""
    settings = {"CALLTRIAGE_WRITES_PER_MINUTE": "0", "CALLTRIAGE_TOOLSETS": "all",
                "CALLTRIAGE_BLAND_BASE_URL": vendor, "CALLTRIAGE_BLAND_API_KEY": KEY}  # fmt: skip
    async with AsyncExitStack() as stack:
        if how == "HTTP":
            address = await stack.enter_async_context(started(folder, "serve", "--http", "--port", "0", **settings))
            yield [await stack.enter_async_context(McpClient(address)) for _ in range(2)]
            return
        servers = 2 if how == "two processes" else 1
        seats = [await stack.enter_async_context(McpClient(over_stdio(folder, **settings))) for _ in range(servers)]
        yield (seats * 2)[:2]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stdio", "HTTP", "two processes"])
async def test_equal_calls_that_overlap_are_one_write_on_real_processes(
    the_desk: Desk, tmp_path: Path, how: str
) -> None:
    """In one process the second call looks only when the first has ended; it was read before the vendor answered that."""
    slow = Slow(looks=2 if how == "two processes" else 1)
    async with (
        over_sockets(slow.step, httpx2.ASGITransport(the_desk, raise_app_exceptions=False)) as vendor,
        agents_over(tmp_path, how, vendor) as (one, two),
    ):
        arguments = await ground(one)
        await called(two, "list_issues", {})  # both are awake
        for tool in ON_THE_WIRE:
            slow.again()
            are_one(await at_once(tool, arguments[tool], one, two))


async def test_an_equal_call_that_came_while_its_process_loaded_is_a_repeat(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    """Nobody read it then, so it may have come before the first was answered. What the process waited for did not."""
    began, one = clock(), Journal(tmp_path / "journal", clock=clock)
    clock.advance(seconds=1)
    async with agent_of(the_desk, one) as agent, client_of(the_desk, one) as client:
        again = AddComment(**(await ground(agent))["add_comment"])
        await called(agent, "add_comment", again.model_dump(exclude_none=True))
        outcomes = list[str | None]()
        for came in (began, None):
            clock.advance(seconds=1)
            async with one.calling("add_comment", "", None, came=came):
                outcomes.append((await client.deliver(again)).outcome)
    assert outcomes == ["replayed", "committed"]
    await one.close()


@pytest.mark.slow
async def test_the_first_write_of_a_server_that_has_waited_for_its_host_is_no_repeat(
    the_desk: Desk, tmp_path: Path
) -> None:
    async with (
        over_sockets(passes, httpx2.ASGITransport(the_desk, raise_app_exceptions=False)) as vendor,
        agents_over(tmp_path, "two processes", vendor) as (one, two),
    ):
        arguments = (await ground(one))["add_comment"]
        await called(two, "list_issues", {})
        bodies = [await called(agent, "add_comment", arguments) for agent in (one, two)]
    assert [body["outcome"] for body in bodies] == ["committed"] * 2


async def test_a_write_that_nobody_waited_for_makes_an_equal_one_of_the_next_minutes_a_repeat(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    """Who was cut off did not hear of it, and asks again."""
    journal = Journal(tmp_path / "journal", clock=clock)
    async with agent_of(the_desk, journal) as agent, client_of(the_desk, journal) as client:
        comment = AddComment(**(await ground(agent))["add_comment"])
        cut_off, outcomes = Answer(), list[str | None]()
        async with journal.calling("add_comment", "", None, when_answered=cut_off.when_gone):
            cut_off.gone()
            outcomes.append((await client.deliver(comment)).outcome)
        for minutes in (1, 10):
            clock.advance(minutes=minutes)
            async with journal.calling("add_comment", "", None):
                outcomes.append((await client.deliver(comment)).outcome)
    assert outcomes == ["committed", "replayed", "committed"]
    assert journal._unanswered._calls == []
    await journal.close()


async def test_what_nobody_was_answered_is_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unanswered = Unanswered(tmp_path / "unanswered")
    with unanswered.call(Answer().when_gone):
        unanswered.add("old")
        unanswered.add("new")
    os.utime(unanswered.folder / "old", (0, 0))
    later = time.monotonic() + SWEEP_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with unanswered.call(Answer().when_gone) as (_, beside, elsewhere):
        assert (beside, elsewhere) == ((), {"new"})


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stdio", "HTTP", "two processes"])
async def test_an_equal_call_is_a_repeat_until_the_first_is_answered_on_real_processes(
    the_desk: Desk, tmp_path: Path, how: str
) -> None:
    """After the write is settled its call reads the issue back; the vendor keeps it waiting until the second has ended."""
    gate, written = Gate(), anyio.Event()
    held = gate.holds(passes)

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        path = request.url.path
        if written.is_set() and not gate.entered.is_set() and request.method == "GET" and path.count("/") == 4:
            return await held(request, inner)
        answer = await passes(request, inner)
        if request.method == "POST" and path.endswith("/comments"):
            written.set()
        return answer

    async with (
        over_sockets(step, httpx2.ASGITransport(the_desk, raise_app_exceptions=False)) as vendor,
        agents_over(tmp_path, how, vendor) as (one, two),
    ):
        calls = await ground(one)
        await called(two, "list_issues", {})  # both are awake
        bodies: list[dict[str, Any]] = []

        async def first() -> None:
            bodies.append(await called(one, "add_comment", calls["add_comment"]))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first)
                await gate.entered.wait()
                bodies.append(await called(two, "add_comment", calls["add_comment"]))
                gate.opened.set()
        are_one(bodies)


@pytest.mark.slow
async def test_equal_issues_filed_by_two_processes_at_once_are_one(the_desk: Desk, tmp_path: Path) -> None:
    async with (
        over_sockets(passes, httpx2.ASGITransport(the_desk, raise_app_exceptions=False)) as vendor,
        agents_over(tmp_path, "two processes", vendor) as (one, two),
    ):
        await called(one, "list_issues", {})
        await called(two, "list_issues", {})  # both are awake
        for title in ("Opening hours are wrong", "The card was declined", "Nobody picked up"):
            new = {"title": title, "severity": "low", "category": "Bug"}
            bodies = await at_once("create_issue", new, one, two, one, two)
            assert Counter(body["outcome"] for body in bodies) == {"committed": 1, "not_committed": 3}
        assert (await called(one, "list_issues", {}))["returned"] == 3
