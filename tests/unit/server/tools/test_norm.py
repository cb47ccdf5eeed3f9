"""Asking Norm without letting it write by accident, and waiting for it without waiting in vain."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to, no_sleep
from faults import Scripted
from mcp.client import Client
from tokens import real_tokens
from tool_calls import UNKNOWN, filed, ok, read_on, refused

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.leaves.gate import compact
from calltriage.offering import ALL
from calltriage.operations.activity import ListActivity
from calltriage.server.app import build_server
from calltriage.server.tools import norm as norm_module
from calltriage.server.toolsets import select

Sleep = Callable[[float], Awaitable[None]]


@asynccontextmanager
async def waiting(client: ApiClient, sleep: Sleep) -> AsyncGenerator[Client]:
    """An agent whose server waits so."""
    async with Client(build_server(client, version="0", tools=select([ALL]), sleep=sleep)) as agent:
        yield agent


async def prompts(client: ApiClient, issue_id: str) -> list[tuple[str | None, str]]:
    """Prompts that the desk ran, oldest first: text and intent."""
    page = await client.send(ListActivity(issue_id=issue_id, limit=100))
    return [(one.detail, (one.metadata or {})["intent"]) for one in page.items[::-1] if one.type == "prompt"]


@pytest.mark.parametrize(
    ("arguments", "text", "intent"),
    [
        ({"detail": "What is known?"}, "What is known?", "status"),
        ({"detail": "verify the greeting"}, "the greeting", "verify"),
        ({"detail": "/Status of it"}, "of it", "status"),
        ({"detail": "verify it", "intent": "verify"}, "it", "verify"),
        ({"detail": "verify it", "intent": "status"}, "verify it", "status"),
        ({"detail": "prefix the fix"}, "prefix the fix", "status"),
        ({"detail": "fix it", "allow_agent_run": True}, "it", "fix"),
        ({"detail": "Debug it", "allow_agent_run": True}, "it", "fix"),
        ({"detail": "fix it", "intent": "verify", "allow_agent_run": True}, "fix it", "verify"),
        ({"detail": "the greeting", "intent": "fix", "allow_agent_run": True}, "the greeting", "fix"),
    ],
)
async def test_a_prompt_always_says_its_intent(
    full_agent: Client, client: ApiClient, arguments: dict[str, Any], text: str, intent: str
) -> None:
    issue = await filed(full_agent)
    run = await ok(full_agent, "prompt_norm", issue_id=issue["triage_id"], **arguments)
    assert (run["intent"], run["outcome"]) == (intent, "committed")
    assert await prompts(client, issue["id"]) == [(text, intent)]
    assert run["try_next"]["tool"] == "wait_for_norm"
    given = run["try_next"]["arguments"]
    assert given == {"issue_id": issue["id"], "run_id": run["run_id"], "after": given["after"]}


FIXES = [
    {"detail": "x", "intent": "fix"}, {"detail": "fix it"}, {"detail": " /FIX it"}, {"detail": "Debug: it"},
    {"detail": "ｆｉｘ it"}, {"detail": "f\u200bix it"}, {"detail": "**fix** it"}, {"detail": "\u202efix it"},
    {"detail": "“fix” it", "intent": "status"}, {"detail": "_debug_ it", "intent": "verify"}, {"detail": "f&#105;x it"},
]  # fmt: skip


@pytest.mark.parametrize("arguments", FIXES)
async def test_a_fix_is_refused_however_it_is_spelt(
    full_agent: Client, client: ApiClient, arguments: dict[str, Any]
) -> None:
    issue = await filed(full_agent)
    before = await client.send(ListActivity(issue_id=issue["id"]))
    error = await refused(full_agent, "prompt_norm", issue_id=issue["id"], **arguments)
    assert (error["code"], error["outcome"]) == ("agent_run_not_allowed", "not_committed")
    assert error["field"] == ("intent" if arguments.get("intent") == "fix" else "detail")
    assert await client.send(ListActivity(issue_id=issue["id"])) == before


async def test_an_open_session_is_used_again_and_a_busy_one_sends_to_waiting(full_agent: Client, clock: Clock) -> None:
    issue = {"issue_id": (await filed(full_agent))["id"]}
    first = await ok(full_agent, "prompt_norm", **issue, detail="One?")
    error = await refused(full_agent, "prompt_norm", **issue, detail="Two?")
    assert (error["code"], error["outcome"]) == ("session_busy", "not_committed")
    assert error["try_next"] == {"tool": "wait_for_norm", "arguments": issue}
    clock.advance(minutes=1)
    assert (await ok(full_agent, "prompt_norm", **issue, detail="Two?"))["session_id"] == first["session_id"]
    clock.advance(minutes=1)
    given = {**issue, "session_id": UNKNOWN}
    assert (await refused(full_agent, "prompt_norm", **given, detail="Three?"))["code"] == "not_found"


class Closing(httpx2.AsyncBaseTransport):
    """A wire on which the session ends before its second prompt. The desk's sessions never end; the vendor's do."""

    def __init__(self, desk: Desk) -> None:
        self._inner = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
        if self.sent[-1] == "POST prompts" and self.sent.count("POST prompts") == 2:
            error = {"error": "session_closed", "message": "Session is closed"}
            return httpx2.Response(409, json={"data": None, "errors": [error]})
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("names_it", [True, False])
async def test_a_session_that_has_ended_gives_way_to_a_new_one_unless_it_was_asked_for(
    the_desk: Desk, clock: Clock, names_it: bool
) -> None:
    wire = Closing(the_desk)
    async with open_client(endpoints_to(wire)) as client, waiting(client, anyio.sleep) as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        first = await ok(agent, "prompt_norm", **issue, detail="One?")
        clock.advance(minutes=1)
        if names_it:
            error = await refused(agent, "prompt_norm", **issue, detail="Two?", session_id=first["session_id"])
            assert (error["code"], error["outcome"]) == ("session_closed", "not_committed")
        else:
            second = await ok(agent, "prompt_norm", **issue, detail="Two?")
            assert second["session_id"] != first["session_id"]
        assert wire.sent.count("POST agent-sessions") == (1 if names_it else 2)


async def test_a_new_session_whose_id_cannot_be_is_no_crash_and_prompts_nothing(the_desk: Desk) -> None:
    desk = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)

    async def odd(request: httpx2.Request, _: Any) -> httpx2.Response:
        answer = await desk.handle_async_request(request)
        body = json.loads(await answer.aread())
        body["data"]["id"] = "session/7"
        return httpx2.Response(answer.status_code, json=body)

    network = Scripted(odd, inner=desk, only=lambda request: request.url.path.endswith("/agent-sessions"))
    async with open_client(endpoints_to(network)) as client, waiting(client, anyio.sleep) as agent:
        issue = await filed(agent)
        error = await refused(agent, "prompt_norm", issue_id=issue["id"], detail="One?")
        assert (error["code"], error["outcome"]) == ("unreadable_answer", "not_committed")
        assert await prompts(client, issue["id"]) == []


async def test_a_prompt_opens_no_session_where_opening_them_is_excluded(client: ApiClient, clock: Clock) -> None:
    without = ["create_agent_session"]
    async with waiting(client, anyio.sleep) as free:
        issue = {"issue_id": (await filed(free))["id"]}
        server = build_server(client, version="0", tools=select([ALL], without), excluded=without)
        async with Client(server) as agent:
            error = await refused(agent, "prompt_norm", **issue, detail="One?")
            assert (error["code"], error["field"], error["outcome"]) == ("tool_excluded", "session_id", "not_committed")
            session = await ok(free, "create_agent_session", **issue)
            run = await ok(agent, "prompt_norm", **issue, detail="One?")
            assert run["session_id"] == session["id"]


async def test_waiting_ends_with_the_answer_marked_as_anothers_words(client: ApiClient, clock: Clock) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(milliseconds=150)

    heard: list[tuple[float, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with waiting(client, sleep) as agent:
        links = [{"resource_type": "call", "resource_id": "call-card"}]
        issue = {"issue_id": (await filed(agent, resource_links=links))["id"]}
        run = await ok(agent, "prompt_norm", **issue, detail="What is known?")
        result = await agent.call_tool("wait_for_norm", run["try_next"]["arguments"], progress_callback=listen)
    body = result.structured_content or {}
    assert (body["state"], body["complete"]) == ("answered", True)
    assert body["entries"]["trust"] == "untrusted"
    assert [entry["type"] for entry in body["entries"]["items"]] == ["prompt", "action", "artifact", "response"]
    assert slept[:2] == [2, 4]
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard})
    assert heard[0][1] == "Norm: running, 1 entries"


async def test_waiting_doubles_to_a_quarter_minute_and_stops_when_time_is_up(client: ApiClient) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with waiting(client, sleep) as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        links = [{"resource_type": "call", "resource_id": f"call-{name}"} for name in ("card", "hours")]
        for link in links:
            await ok(agent, "attach_resource", **issue, **link)
        await ok(agent, "prompt_norm", **issue, detail="What is known?")
        body = await ok(agent, "wait_for_norm", **issue, timeout_s=50)
    assert slept == [2, 4, 8, 15, 15, 6]
    assert (body["state"], body["waited_s"], body["complete"]) == ("running", 50, False)
    assert body["try_next"] == {"tool": "wait_for_norm", "arguments": issue}


async def test_waiting_for_nothing_ends_at_once_and_for_a_run_that_never_shows_soon(client: ApiClient) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with waiting(client, sleep) as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        assert (await ok(agent, "wait_for_norm", **issue))["state"] == "idle"
        assert slept == []
        assert (await ok(agent, "wait_for_norm", **issue, run_id="no-such-run"))["state"] == "idle"
        assert slept == [2, 4]
        assert (await refused(agent, "wait_for_norm", issue_id=UNKNOWN))["code"] == "not_found"


async def test_waiting_that_is_cancelled_leaves_nothing_behind(client: ApiClient) -> None:
    asleep, ended = anyio.Event(), anyio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with waiting(client, sleep) as agent:
        issue = {"issue_id": (await filed(agent))["id"]}
        await ok(agent, "prompt_norm", **issue, detail="What is known?")
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(agent.call_tool, "wait_for_norm", issue)
                await asleep.wait()
                group.cancel_scope.cancel()
            await ended.wait()
            assert (await ok(agent, "get_issue", **issue))["id"] == issue["issue_id"]


def entry(kind: str, run_id: str | None, detail: str = "said") -> dict[str, Any]:
    return {
        "entry_kind": "agent", "id": f"{kind}-{run_id}-{detail.replace(' ', '-')[:40]}", "issue_id": UNKNOWN,
        "type": kind, "detail": detail, "metadata": {"run_id": run_id} if run_id else None,
        "created_at": "2026-05-01T10:00:00.000Z",
    }  # fmt: skip


ISSUE = {
    "id": UNKNOWN, "triage_id": "T-1001", "title": "T", "status": "todo", "severity": "low", "category": "Bug",
    "created_at": "", "updated_at": "", "last_activity_at": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("busy", "entries", "state", "kinds"),
    [
        (False, [entry("response", None), entry("prompt", None), entry("error", None)], "unproven", ["prompt", "response"]),
        (False, [entry("error", None), entry("prompt", None)], "unproven", ["prompt", "error"]),
        (False, [entry("response", None), entry("prompt", "run-1")], "answered", ["prompt", "response"]),
        (False, [entry("error", None), entry("prompt", "run-1")], "failed", ["prompt", "error"]),
        (True, [entry("response", None), entry("prompt", None)], "running", ["prompt", "response"]),
        (True, [entry("response", "run-1"), entry("prompt", "run-1")], "answered", ["prompt", "response"]),
        (True, [entry("prompt", "run-2"), entry("response", "run-1"), entry("prompt", "run-1")], "answered",
         ["prompt", "response"]),
        (True, [entry("response", "run-2"), entry("prompt", "run-2")], "running", []),
    ],
)  # fmt: skip
async def test_a_run_is_told_from_others_as_far_as_the_feed_says(
    busy: bool, entries: list[dict[str, Any]], state: str, kinds: list[str]
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        found: Any = {"items": entries, "next_cursor": None}
        body = found if request.url.path.endswith("/activity") else ISSUE | {"is_processing": busy}
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    async def sleep(_: float) -> None:
        """Time passes."""

    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as client, waiting(client, sleep) as agent:
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-1", timeout_s=3)
    assert body["state"] == state
    assert [one["type"] for one in body["entries"]["items"]] == kinds


@pytest.mark.parametrize("begins", [True, False])
async def test_an_older_runs_answer_is_not_taken_for_this_ones_where_the_feed_names_no_runs(begins: bool) -> None:
    """Its own answer arrives after the third look; until then the feed ends with an older one."""
    looks = 0
    old = [entry("response", None, "old answer"), entry("prompt", None, "old question")]
    new = [entry("response", None, "new answer"), entry("prompt", None, "new question")]

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal looks
        if request.url.path.endswith("/activity"):
            body: Any = {"items": new + old if looks > 2 else old, "next_cursor": None}
        else:
            looks += 1
            body = ISSUE | {"is_processing": begins and looks == 2}
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as vendor, waiting(vendor, no_sleep) as agent:
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-1")
        assert body["state"] == "answered"
        assert [one["detail"] for one in body["entries"]["items"]] == ["new question", "new answer"]


class Queue:
    """A vendor whose feed names no runs. It takes a prompt, and begins with it after so many looks at the issue."""

    def __init__(self, looks: int, *, intent: str = "status", feed_is_broken: bool = False) -> None:
        self.looks, self.intent, self.feed_is_broken = looks, intent, feed_is_broken
        self.feed = [entry("response", None, "old answer"), entry("prompt", None, "old question")]
        self.prompted, self.seen = 0, 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        kind, data = request.url.path.rpartition("/")[2], ISSUE | {"is_processing": False}
        if kind == "activity":
            new = [entry("response", None, "new answer"), entry("prompt", None, "new question")]
            rows: Any = (new if self.prompted and self.seen > self.looks else []) + self.feed
            data = {"items": "odd" if self.feed_is_broken else rows, "next_cursor": None}
        elif kind == "prompts":
            self.prompted += 1
            data = {"session_id": UNKNOWN, "run_id": "run-9", "intent": self.intent}
        elif self.prompted:
            self.seen += 1
        return httpx2.Response(202 if kind == "prompts" else 200, json={"data": data, "errors": None})


@asynccontextmanager
async def queueing(vendor: Queue) -> AsyncGenerator[Client]:
    async with open_client(endpoints_to(httpx2.MockTransport(vendor))) as client, waiting(client, no_sleep) as agent:
        yield agent


ASKED = {"issue_id": UNKNOWN, "session_id": UNKNOWN, "detail": "Look."}


async def test_what_was_there_when_the_prompt_was_sent_is_no_answer_to_it() -> None:
    async with queueing(Queue(looks=6)) as agent:
        run = await ok(agent, "prompt_norm", **ASKED)
        given = run["try_next"]["arguments"]
        assert given == {"issue_id": UNKNOWN, "run_id": "run-9", "after": "response-None-old-answer"}
        early = await ok(agent, "wait_for_norm", **given, timeout_s=2)
        assert (early["state"], early["complete"], early["entries"]["items"]) == ("queued", False, [])
        assert early["try_next"] == {"tool": "wait_for_norm", "arguments": given}
        body = await ok(agent, "wait_for_norm", **given, timeout_s=600)
        assert (body["state"], body["complete"]) == ("answered", True)
        assert [one["detail"] for one in body["entries"]["items"]] == ["new question", "new answer"]


async def test_without_the_mark_an_older_answer_is_called_what_it_is() -> None:
    async with queueing(Queue(looks=100)) as agent:
        await ok(agent, "prompt_norm", **ASKED)
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-9")
    assert (body["state"], body["complete"]) == ("unproven", False)
    assert "after" in body["note"]


async def test_a_feed_that_cannot_be_read_keeps_nobody_from_asking() -> None:
    async with queueing(Queue(looks=0, feed_is_broken=True)) as agent:
        run = await ok(agent, "prompt_norm", **ASKED)
    assert run["try_next"]["arguments"] == {"issue_id": UNKNOWN, "run_id": "run-9"}


@pytest.mark.parametrize("intent", ["fix", "Debug"])
async def test_a_prompt_that_the_vendor_takes_as_a_fix_says_so_first_and_is_not_waited_for(intent: str) -> None:
    async with queueing(Queue(looks=0, intent=intent)) as agent:
        result = await agent.call_tool("prompt_norm", {**ASKED, "intent": "verify"})
        body = json.loads(getattr(result.content[0], "text", ""))
        assert next(iter(body)) == "warning"
        assert "may write" in body["warning"]
        assert (body["outcome"], body["intent"]) == ("committed", intent)
        assert body["try_next"]["tool"] == "get_evidence"
        wanted = await ok(agent, "prompt_norm", **ASKED, intent="fix", allow_agent_run=True)
        assert "warning" not in wanted


async def test_the_time_that_looking_takes_counts_as_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    time = 0.0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal time
        time += 10
        found: Any = {"items": [], "next_cursor": None}
        body = found if request.url.path.endswith("/activity") else ISSUE | {"is_processing": True}
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    monkeypatch.setattr(norm_module, "current_time", lambda: time)
    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as vendor, waiting(vendor, no_sleep) as agent:
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-1", timeout_s=40)
    assert (body["state"], body["waited_s"], time) == ("running", 40, 40)


async def test_a_long_answer_keeps_its_budget_and_its_end(client: ApiClient) -> None:
    entries = [
        entry("response", "run-1", "the end"),
        *[entry("thought", "run-1", "and so on " * 300)] * 40,
        entry("prompt", "run-1"),
    ]

    def answer(request: httpx2.Request) -> httpx2.Response:
        found: Any = {"items": entries, "next_cursor": None}
        body = found if request.url.path.endswith("/activity") else ISSUE
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as vendor, waiting(vendor, anyio.sleep) as agent:
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-1")
    assert body["entries"]["items"][-1]["detail"] == "the end"
    assert body["omitted"][0]["try_next"]["tool"] == "get_evidence"
    assert len(json.dumps(body)) < 40_000


@pytest.mark.parametrize("intent", ["status", "verify", "fix"])
async def test_what_a_run_made_reaches_the_agent_in_each_tool_that_shows_it(
    client: ApiClient, clock: Clock, intent: str
) -> None:
    kinds = {"status": "snippet", "verify": "verification_report", "fix": "draft_pathway_version"}

    async def sleep(_: float) -> None:
        clock.advance(seconds=1)

    async with waiting(client, sleep) as agent:
        links = [{"resource_type": "call", "resource_id": "call-card"}]
        issue = {"issue_id": (await filed(agent, resource_links=links))["id"]}
        run = await ok(agent, "prompt_norm", **issue, detail="Look.", intent=intent, allow_agent_run=True)
        bodies = [
            (await ok(agent, "wait_for_norm", **run["try_next"]["arguments"]))["entries"],
            await ok(agent, "list_activity", **issue),
            (await ok(agent, "get_evidence", **issue))["activity"],
        ]
    for body in bodies:
        assert body["trust"] == "untrusted"
        (made,) = [entry for entry in body["items"] if "artifact" in entry]
        artifact = made["artifact"]
        assert (made["type"], artifact["type"]) == ("artifact", kinds[intent])
        assert artifact["status"] == ("error" if intent == "fix" else "ready")
        assert "call call-card" in json.dumps(artifact["payload"])
        session = made["agent_session"]
        assert (session["id"], session["agent_name"]) == (run["session_id"], "Norm")


PAYLOADS: dict[str, Any] = {
    "text": "and so on " * 9_000,
    "object": {"text": "and so on " * 9_000},
    "many": {"rows": [{"call": f"c-{n}", "why": "no answer"} for n in range(4_000)]},
    "deep": {"a": {"b": [{"c": "and so on " * 9_000}]}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAYLOADS)
async def test_a_long_artifact_is_within_every_budget_and_read_on_to_its_end(name: str) -> None:
    payload, links = PAYLOADS[name], [{"label": "Draft", "url": f"https://x.example/{n}"} for n in range(900)]
    made = {
        "id": "a-1",
        "type": "snippet",
        "title": "Long",
        "status": "ready",
        "payload": payload,
        "external_urls": links,
    }
    entries = [entry("response", "run-1", "the end") | {"artifact": made}, entry("prompt", "run-1")]

    def answer(request: httpx2.Request) -> httpx2.Response:
        kind = request.url.path.rpartition("/")[2]
        rows = entries if kind == "activity" else []
        body = {"items": rows, "next_cursor": None} if kind != UNKNOWN else ISSUE
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as vendor, waiting(vendor, anyio.sleep) as agent:
        waited = await ok(agent, "wait_for_norm", issue_id=UNKNOWN, run_id="run-1")
        listed = await ok(agent, "list_activity", issue_id=UNKNOWN)
        assert (waited["state"], waited["complete"]) == ("answered", False)
        assert any(one.get("artifact.title") == "Long" for one in waited["entries"]["items"])
        for body in (waited, listed):
            assert real_tokens(compact(body)) <= 6_000
            hint = body["omitted"][0]["try_next"]
            assert (hint["tool"], hint["arguments"]["section"]) == ("get_evidence", "activity")
            bodies = await read_on(agent, **hint["arguments"])
            parts = [one for page in bodies for one in page["activity"]["items"] if one["type"] == "response"]
            for field, whole in (("payload", payload), ("external_urls", links)):
                told = "".join(one.get(f"artifact.{field}", "") for one in parts)
                assert told == (whole if isinstance(whole, str) else compact(whole))


async def test_a_page_of_artifacts_that_is_longer_than_asked_for_shows_the_rows_that_fit() -> None:
    made = {"type": "snippet", "title": "Made", "status": "ready", "payload": {f"k{n}": n for n in range(80)}}
    entries = [entry("artifact", "run-1", f"made {n}") | {"artifact": made} for n in range(60)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = {"items": entries, "next_cursor": None} if request.url.path.endswith("/activity") else ISSUE
        return httpx2.Response(200, content=json.dumps({"data": body, "errors": None}).encode())

    async with open_client(endpoints_to(httpx2.MockTransport(answer))) as vendor, waiting(vendor, anyio.sleep) as agent:
        listed = await ok(agent, "list_activity", issue_id=UNKNOWN)
        (gap,) = listed["omitted"]
        bodies = await read_on(agent, **gap["try_next"]["arguments"])
    rest = [one["detail"] for body in bodies for one in body["activity"]["items"]]
    assert [one["detail"] for one in listed["items"]] + rest == [f"made {n}" for n in range(60)]
    assert (listed["returned"], gap["left_out"], listed["complete"]) == (60 - len(rest), len(rest), False)


async def test_a_wait_for_no_named_run_says_that_a_newer_one_may_not_show_yet() -> None:
    async with queueing(Queue(looks=100)) as agent:
        body = await ok(agent, "wait_for_norm", issue_id=UNKNOWN)
    assert (body["state"], body["entries"]["items"][-1]["detail"]) == ("answered", "old answer")
    assert "run_id" in body["note"]
