"""The evaluation against a scripted endpoint: the whole command, and the faults that endpoints and models have."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from agent import seats
from agent.chat import EndpointError
from agent.evaluate import Evaluation, endpoint
from agent.ports import served
from agent.scripted_endpoint import ScriptedEndpoint, calls, says
from agent.seat import Seat
from agent.task import Policy, Task
from agent.tasks import TASKS
from conftest import no_sleep
from e2e.processes import PATIENCE, environment
from starlette.responses import JSONResponse, Response

from calltriage.errors import SettingsError
from calltriage.serving import listen

BY_NAME = {task.name(): task for task in TASKS}
KEY = "sk-key-of-the-endpoint"


async def evaluated(
    model: ScriptedEndpoint, folder: Path, *tasks: str, surfaces: tuple[str, ...] = ("calltriage",), **more: Any
) -> tuple[Evaluation, str]:
    """An evaluation that has run, and what it printed."""
    out = io.StringIO()
    transport = httpx2.ASGITransport(model)
    async with httpx2.AsyncClient(transport=transport, base_url="http://model.test/v1") as http:
        how: dict[str, Any] = {"sleep": no_sleep} | more
        evaluation = Evaluation(http, "scripted", out, **how)
        await evaluation.run([BY_NAME[name] for name in tasks], surfaces, folder)
        evaluation.print_totals()
    return evaluation, out.getvalue()


async def test_a_model_that_does_the_task_holds_every_check_and_its_cost_is_counted(tmp_path: Path) -> None:
    model = ScriptedEndpoint()
    evaluation, printed = await evaluated(model, tmp_path, "guarded_comment", "beyond_the_tools")
    (first, second) = evaluation.attempts
    assert (first.ended, first.called, first.checks) == (
        "answered",
        ["update_issue", "add_comment"],
        dict.fromkeys(first.checks, True),
    )
    assert second.held == len(second.checks), "the toolset that the instructions name came back as the answer"
    assert (first.tokens_in, first.tokens_out, first.errors, first.misspelt) == (3000, 30, 0, 0)
    results = [one["content"] for one in model.asked[2]["messages"] if one["role"] == "tool"]
    assert first.bytes_read == sum(len(text.encode()) for text in results) > 0
    read = f"{first.bytes_read / 1000:.1f}"
    assert printed.splitlines()[-1].split() == ["calltriage", "2/2", "6/6", "2", "0", "0", read, "4000", "40"]


async def test_a_check_that_fails_is_named(tmp_path: Path) -> None:
    evaluation, printed = await evaluated(ScriptedEndpoint(says("Done.")), tmp_path, "block_several")
    assert evaluation.attempts[0].checks["T-1001 blocks each of the three"] is False
    assert "failed: T-1001 blocks each of the three" in printed
    assert "called no tool at all" in printed


async def plain_links(seat: Seat, _: str) -> str:
    """Link through the plain API."""
    await seat.call("api_document", {"operation_id": "link_issue"})
    listed = await seat.ok("request", method="GET", path="/v1/triage/issues?limit=50")
    ids = {issue["triage_id"]: issue["id"] for issue in listed["body"]["data"]["items"]}
    for other in ("T-1002", "T-1003", "T-1005"):
        body = {"related_issue_id": ids[other], "relation_type": "blocks"}
        await seat.ok("request", method="POST", path=f"/v1/triage/issues/{ids['T-1001']}/relations", body=body)
    return "Recorded."


async def plain_report(seat: Seat, _: str) -> str:
    """Store a report through the plain API: reserve, put, create, attach."""
    link = (await seat.ok("request", method="POST", path="/attachments/2023-03/upload-link", body={}))["body"]
    text = (
        "Cards are sent to an address that is out of date: call-old, 'your new card is on its way to your old address'"
    )
    await seat.ok("request", method="PUT", path=link["url"], body=text)
    new = {"name": "t-1001-report.md", "request_id": link["request_id"]}
    made = (await seat.ok("request", method="POST", path="/attachments/2023-03", body=new))["body"]
    listed = await seat.ok("request", method="GET", path="/v1/triage/issues")
    issue_id = listed["body"]["data"]["items"][0]["id"]
    body = {"resource_type": "file", "resource_id": made["id"]}
    await seat.ok("request", method="POST", path=f"/v1/triage/issues/{issue_id}/resources", body=body)
    return "Stored."


PLAIN: Mapping[str, Policy] = {"block_several": plain_links, "attach_a_report": plain_report}


async def generated_links(seat: Seat, _: str) -> str:
    """Link through the tools that are generated from the API's document."""
    ids = {issue["triage_id"]: issue["id"] for issue in (await seat.ok("list_issues"))["data"]["items"]}
    for other in ("T-1002", "T-1003", "T-1005"):
        ends = {"issue_id": ids["T-1001"], "related_issue_id": ids[other]}
        await seat.ok("link_issue", **ends, relation_type="blocks")
    return "Recorded."


def by_surface(task: Task, tools: set[str]) -> Policy:
    if "request" in tools:
        return PLAIN[task.name()]
    return task.script if "find_calls" in tools else generated_links


async def test_the_plain_api_can_do_the_same_tasks_on_the_same_desk(tmp_path: Path) -> None:
    evaluation, printed = await evaluated(
        ScriptedEndpoint(choose=by_surface), tmp_path, *PLAIN, surfaces=("calltriage", "passthrough")
    )
    assert [(one.surface, one.held == len(one.checks)) for one in evaluation.attempts] == [
        ("calltriage", True),
        ("passthrough", True),
    ] * 2, printed


@pytest.mark.slow
async def test_what_fastmcp_generates_can_be_measured_too(tmp_path: Path) -> None:
    try:
        await anyio.to_thread.run_sync(seats.check_fastmcp)
    except seats.OutOfReach:
        pytest.skip("PyPI is out of reach, and FastMCP comes from there")
    model = ScriptedEndpoint(choose=by_surface)
    evaluation, printed = await evaluated(model, tmp_path, "block_several", surfaces=("from_openapi",))
    (attempt,) = evaluation.attempts
    assert (attempt.called[0], len(attempt.called), attempt.held) == ("list_issues", 4, len(attempt.checks)), printed


async def test_a_surface_that_cannot_be_installed_is_left_out_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # where uv is
    seats.check_fastmcp.cache_clear()
    model = ScriptedEndpoint()
    tasks = ("block_several", "stale_write")
    evaluation, printed = await evaluated(model, tmp_path, *tasks, surfaces=("from_openapi", "calltriage"))
    assert [one.surface for one in evaluation.attempts] == ["calltriage", "calltriage"]
    assert printed.count("left out, FastMCP could not be installed: uv could not be run") == 1


def test_an_index_that_is_out_of_reach_is_told_from_one_without_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(seats.OutOfReach):
        seats.check_fastmcp.__wrapped__()


# Faults of endpoints.


async def test_a_busy_endpoint_is_asked_again_after_the_time_that_it_names(tmp_path: Path) -> None:
    waits = list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    busy = JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after": "7"})
    endless = JSONResponse({}, 429, headers={"retry-after": "100000"})
    inside = JSONResponse({"error": {"message": "overloaded", "code": 502}})
    model = ScriptedEndpoint(busy, Response("<html>", 500), endless, inside)
    evaluation, _ = await evaluated(model, tmp_path, "stale_write", sleep=sleep)
    assert waits == [7.0, 2.0, 60.0, 8.0]
    assert evaluation.attempts[0].held == len(evaluation.attempts[0].checks)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([Response("", 500)] * 5, "After 5 tries: the endpoint answers with status 500"),
        ([Response("<html>a page", 200)] * 5, "no reply that can be read"),
        ([JSONResponse({"error": {"message": f"Incorrect key {KEY}"}}, 401)], "check TRIAGE_EVAL_KEY"),
        ([JSONResponse({"error": {"message": "model not found"}}, 404)], "check TRIAGE_EVAL_BASE_URL"),
        ([JSONResponse({"error": "gemma:2b does not support tools"}, 400)], "seems to take no tools"),
    ],
)
async def test_an_endpoint_that_cannot_be_used_ends_the_evaluation_with_a_reason(
    tmp_path: Path, answers: list[Response], said: str
) -> None:
    with pytest.raises(EndpointError, match=said) as caught:
        await evaluated(ScriptedEndpoint(*answers), tmp_path, "stale_write")
    assert KEY not in str(caught.value)


async def test_an_endpoint_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1") as http:
        evaluation = Evaluation(http, "m", io.StringIO(), sleep=no_sleep)
        with pytest.raises(EndpointError, match="cannot be reached"):
            await evaluation.run([BY_NAME["stale_write"]], ["calltriage"], tmp_path)


async def test_a_conversation_that_became_too_long_ends_its_task_alone(tmp_path: Path) -> None:
    too_long = JSONResponse({"error": {"message": "maximum context length is 8192 tokens"}}, 400)
    model = ScriptedEndpoint(calls(("a", "list_issues", "{}")), too_long)
    evaluation, _ = await evaluated(model, tmp_path, "block_several", "stale_write")
    assert [attempt.ended for attempt in evaluation.attempts] == ["refused", "answered"]


# Faults of models.


async def test_calls_that_cannot_be_made_are_answered_and_counted(tmp_path: Path) -> None:
    wrong = calls(("a", "list_issues", '{"search": '), ("b", "make_coffee", "{}"), ("c", "get_issue", '["T-1001"]'))
    model = ScriptedEndpoint(wrong)
    evaluation, _ = await evaluated(model, tmp_path, "block_several")
    told = {one["tool_call_id"]: one["content"] for one in model.asked[1]["messages"] if one["role"] == "tool"}
    assert "not a JSON object" in told["a"]
    assert "no such tool" in told["b"]
    assert "not a JSON object" in told["c"]
    (attempt,) = evaluation.attempts
    assert (attempt.misspelt, attempt.called, attempt.held) == (3, ["link_issue"], len(attempt.checks))


async def test_several_calls_in_one_reply_are_made_in_order(tmp_path: Path) -> None:
    pair = calls(("a", "get_issue", '{"issue_id": "T-1001"}'), ("b", "get_issue", '{"issue_id": "T-1002"}'))
    model = ScriptedEndpoint(pair, says("Done."))
    await evaluated(model, tmp_path, "block_several")
    answers = [one for one in model.asked[1]["messages"] if one["role"] == "tool"]
    assert [one["tool_call_id"] for one in answers] == ["a", "b"]
    assert [json.loads(one["content"])["triage_id"] for one in answers] == ["T-1001", "T-1002"]


async def test_a_model_that_never_ends_is_stopped(tmp_path: Path) -> None:
    async def circling(seat: Seat, _: str) -> str:
        while True:
            await seat.call("list_issues", {})

    model = ScriptedEndpoint(choose=lambda *_: circling)
    evaluation, printed = await evaluated(model, tmp_path, "block_several", steps=6)
    assert (evaluation.attempts[0].ended, len(evaluation.attempts[0].called)) == ("out of steps", 6)
    assert "out of steps" in printed


async def test_a_model_that_answers_in_parts_is_understood(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "It is in the toolset "}, {"type": "text", "text": "cleanup."}]
    body = {"choices": [{"message": {"role": "assistant", "content": parts}}]}
    evaluation, printed = await evaluated(ScriptedEndpoint(JSONResponse(body)), tmp_path, "beyond_the_tools")
    assert evaluation.attempts[0].answer == "It is in the toolset cleanup."
    assert printed.splitlines()[-2].split()[-2:] == ["-", "-"], "it does not say what it costs"


# The command.


@pytest.mark.slow
async def test_the_command_does_all_tasks_against_an_endpoint_on_a_port(tmp_path: Path) -> None:
    model = ScriptedEndpoint()
    script = str(Path(__file__).with_name("evaluate.py"))
    log = tmp_path / "attempts.jsonl"
    async with served(model, listen("127.0.0.1", 0)) as address:
        named = {"TRIAGE_EVAL_BASE_URL": f"{address}/v1", "TRIAGE_EVAL_MODEL": "scripted", "TRIAGE_EVAL_KEY": KEY}
        command = [sys.executable, script, "--surface", "calltriage", "--log", str(log)]
        with anyio.fail_after(5 * PATIENCE):
            done = await anyio.run_process(command, env=environment(**named), cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines()[-1].split()[:2] == ["calltriage", "20/20"]
    assert {one["authorization"] for one in model.headers} == {f"Bearer {KEY}"}
    assert [json.loads(line)["task"] for line in log.read_text().splitlines()] == list(BY_NAME)
    assert KEY not in log.read_text() + done.stdout.decode() + done.stderr.decode()


def test_the_endpoint_is_named_by_the_environment() -> None:
    def named(**values: str) -> tuple[str, str, dict[str, str]]:
        return endpoint(lambda name: values.get(name.removeprefix("TRIAGE_EVAL_")))

    assert named(BASE_URL="http://lan-host:11434/v1", MODEL="m") == ("http://lan-host:11434/v1", "m", {})
    assert named(BASE_URL="https://a.example/v1", MODEL="m", KEY="k")[2] == {"authorization": "Bearer k"}
    with pytest.raises(SettingsError, match="TRIAGE_EVAL_MODEL"):
        named(BASE_URL="https://a.example/v1")
    with pytest.raises(SettingsError, match="https"):
        named(BASE_URL="http://lan-host/v1", MODEL="m", KEY="k")
