"""What pipelines found, in an agent's seat: read with its turns, judged apart from people, run by name."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from conftest import Clock, endpoints_to
from mcp.client import Client as McpClient
from mcp.shared.exceptions import MCPError
from pipeline_filing import ALONE, Bench, spec_of
from sqlalchemy import update
from tool_calls import ok, refused

from calltriage.client.client import open_client
from calltriage.client.home import Home
from calltriage.desk.app import Desk
from calltriage.errors import Conflict
from calltriage.leaves.strict_json import JsonObject
from calltriage.offering import ALL
from calltriage.pipelines import reviewing
from calltriage.pipelines.ledger import items, open_ledger, runs, tables
from calltriage.pipelines.ledger.items import Listed, Standing
from calltriage.pipelines.parts import Parts
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

ALL_NAMES = {tool.tool_name() for tool in select([ALL])}
FILE = 'name = "quiet"\ncalls = { settle = "0s" }\n[[detect]]\nuse = "forbidden"\nphrases = ["nine thirty"]\n'


@pytest.fixture
async def seat(the_desk: Desk, clock: Clock, tmp_path: Path) -> AsyncGenerator[tuple[McpClient, Bench]]:
    """An agent with the toolset, on a desk with one examined call."""
    home = Home(tmp_path / "data", "desk", None, lambda: b"a secret of the tests, long enough")
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport), home=home) as client,
        open_ledger(home.folder, home.account) as ledger,
        McpClient(build_server(client, version="0", tools=select(["core", "pipelines"]))) as agent,
    ):
        bench = Bench(the_desk, client, ledger, clock, spec_of(""))
        await bench.say("first")
        await bench.examine("first")
        yield agent, bench


async def test_findings_are_listed_and_read_with_the_turns_around_them(seat: tuple[McpClient, Bench]) -> None:
    agent, _ = seat
    listed = await ok(agent, "list_findings", state="new")
    [row] = listed["items"]
    read = await ok(agent, "get_finding", finding_id=row["id"][:10])

    assert (listed["trust"], listed["total"], listed["complete"]) == ("untrusted", 1, True)
    assert (row["call_id"], row["turn"], row["quote"]) == ("first", 2, "nine thirty")
    assert row["pipeline"] == read["finding"]["pipeline"] == "hours"
    assert [turn["message_index"] for turn in read["turns"]] == [0, 1, 2]
    assert (read["trust"], read["finding"]["id"]) == ("untrusted", row["id"])


async def test_an_agents_verdict_is_kept_apart_and_changes_no_state(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    [row] = (await ok(agent, "list_findings"))["items"]
    said = await ok(agent, "review_finding", finding_id=row["id"], verdict="right", reason="It opens at ten.")
    read = await ok(agent, "get_finding", finding_id=row["id"])

    assert (said["outcome"], said["state"]) == ("committed", "new")
    assert [(one["verdict"], one["role"]) for one in read["reviews"]] == [("right", "agent")]
    assert await bench.issues() == []


@pytest.mark.parametrize("redact", [None, "builtin"])
async def test_reasons_of_verdicts_are_read_back_and_the_one_that_counts_is_marked(
    seat: tuple[McpClient, Bench], redact: str | None
) -> None:
    agent, bench = seat
    line = "" if redact is None else f'redact = "{redact}"\n'
    begun = partial(runs.begin, bench.ledger, pipeline="hours", spec_hash="h", mode="run", window={"asked": ""})
    run = await begun(spec=line + FILE)
    [row] = (await ok(agent, "list_findings"))["items"]
    change = update(tables.findings).values(run_id=run.id)
    await bench.ledger.write(lambda it: it.execute(change) and None)
    review = partial(ok, agent, "review_finding", finding_id=row["id"])
    await review(verdict="wrong", reason="They gave 4111 1111 1111 1111")
    bench.clock.advance(seconds=1)
    await review(verdict="right", reason="It opens at ten.")
    said = (await ok(agent, "get_finding", finding_id=row["id"]))["reviews"]
    number = "4111 1111 1111 1111" if redact is None else "[card]"
    assert [one["reason"] for one in said] == [f"They gave {number}", "It opens at ten."]
    assert [one.get("counts") for one in said] == [None, True]


async def test_the_same_verdict_by_the_same_reviewer_in_a_row_is_on_record_once(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    [row] = (await ok(agent, "list_findings"))["items"]
    outcomes = []
    for verdict, reason in (
        ("right", "It opens at ten."), ("right", "It opens at ten."), ("right", None), ("right", "Other words."),
        ("wrong", None), ("right", None),
    ):  # fmt: skip
        bench.clock.advance(seconds=1)
        more = {} if reason is None else {"reason": reason}
        outcomes.append((await ok(agent, "review_finding", finding_id=row["id"], verdict=verdict, **more))["outcome"])
    read = await ok(agent, "get_finding", finding_id=row["id"])
    assert outcomes == ["committed", "replayed", "replayed", "committed", "committed", "committed"]
    assert [one["verdict"] for one in read["reviews"]] == ["right", "right", "wrong", "right"]


async def test_a_missed_moment_needs_words_of_one_turn_and_a_detector_that_exists(
    seat: tuple[McpClient, Bench],
) -> None:
    agent, _ = seat
    said = await ok(agent, "report_missed", call_id="first", detector="agent_silence", quote="when do you open")
    words = await refused(agent, "report_missed", call_id="first", detector="agent_silence", quote="never said")
    name = await refused(agent, "report_missed", call_id="first", detector="agent_silense", quote="when do you open")

    assert (said["call_id"], said["turn"]) == ("first", 1)
    assert words["field"] == "quote"
    assert "Did you mean agent_silence?" in name["message"]


async def test_a_moment_that_the_detector_did_find_is_reviewed_and_not_reported_missed(
    seat: tuple[McpClient, Bench],
) -> None:
    agent, bench = seat
    [row] = (await ok(agent, "list_findings"))["items"]
    parts, detector = Parts(bench.client, bench.ledger), row["detector"]
    result = {
        "account": bench.ledger.account, "call_id": "first", "content_hash": "x", "detector": detector,
        "version_hash": "x", "verdict": "found", "at": bench.ledger.now(),
    }  # fmt: skip
    await bench.ledger.write(lambda it: it.execute(tables.results.insert().values(**result)) and None)
    report = {"call_id": "first", "detector": detector}
    error = await refused(agent, "report_missed", **report, quote="nine thirty")
    other = await ok(agent, "report_missed", **report, quote="when do you open")
    with pytest.raises(Conflict, match=row["id"]):
        await reviewing.nothing(parts, "first", detector, reviewing.Reviewer("a person"))
    await reviewing.review(bench.ledger, bench_row := (await bench.rows())[0], reviewing.Reviewer("a person"), "wrong")
    said = await reviewing.nothing(parts, "first", detector, reviewing.Reviewer("a person"))

    assert (error["code"], error["outcome"]) == ("found_already", "not_committed")
    assert error["try_next"] == {"tool": "get_finding", "arguments": {"finding_id": row["id"]}}
    assert row["id"] in error["message"]
    assert (other["outcome"], said["call_id"], bench_row["id"]) == ("committed", "first", row["id"])


async def test_without_a_data_folder_the_tools_say_what_is_missing(the_desk: Desk) -> None:
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport)) as client,
        McpClient(build_server(client, version="0", tools=select(["pipelines"]))) as agent,
    ):
        error = await refused(agent, "list_findings")
    assert error["code"] == "pipeline_error"


async def test_an_id_of_nothing_is_not_found(seat: tuple[McpClient, Bench]) -> None:
    agent, _ = seat
    for tool, more in (("get_finding", {}), ("review_finding", {"verdict": "right"})):
        error = await refused(agent, tool, finding_id="ffffff", **more)
        assert (error["code"], error["message"]) == ("not_found", "No finding has this id. Given: ffffff.")
        assert error["try_next"] == {"tool": "list_findings", "arguments": {}}
    assert (await refused(agent, "get_run", run_id="run_nothing"))["code"] == "not_found"


async def test_a_run_shows_why_calls_failed(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    begun = await runs.begin(bench.ledger, pipeline="hours", spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
    await bench.ledger.write(items.added(bench.ledger, begun.id, [Listed("first"), Listed("second")]))
    before = await ok(agent, "get_run", run_id=begun.id)
    failed = [Standing(call_id, "failed", "forbidden failed") for call_id in ("first", "second")]
    await bench.ledger.write(partial(items.stand, ledger=bench.ledger, run_id=begun.id, standings=failed))
    after = await ok(agent, "get_run", run_id=begun.id)

    assert "errors" not in before
    assert (after["calls"], after["errors"]) == ({"failed": 2}, {"forbidden failed": 2})


async def test_findings_runs_and_reports_are_resources_with_marked_words(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    begun = await runs.begin(bench.ledger, pipeline="hours", spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
    [row] = (await ok(agent, "list_findings"))["items"]
    templates = {one.uri_template for one in (await agent.list_resource_templates()).resource_templates}
    finding = await read(agent, f"triage://findings/{row['id']}")
    run = await read(agent, f"triage://runs/{begun.id}")
    report = await read(agent, "triage://pipelines/hours/report")
    told = await ok(agent, "get_pipeline_report", pipeline="hours")

    of_pipelines = {"triage://findings/{finding_id}", "triage://runs/{run_id}", "triage://pipelines/{pipeline}/report"}
    assert of_pipelines <= templates
    assert finding == await ok(agent, "get_finding", finding_id=row["id"])
    assert run == await ok(agent, "get_run", run_id=begun.id)
    assert report["trust"] == "untrusted"
    assert _without_time(report) == _without_time(told)


def _without_time(report: JsonObject) -> JsonObject:
    """A report but for its time, which goes on between two of them."""
    return {name: value for name, value in report.items() if name not in {"since", "until"}}


async def test_a_report_tells_what_each_detector_found_and_which_findings_wait(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    await bench.say("second", began="2026-05-02T09:00:00Z")
    await bench.examine("second")
    report = await ok(agent, "get_pipeline_report")

    [detector] = report["detectors"]
    assert (detector["detector"], detector["findings"], detector["states"]) == ("wrong_hours", 2, {"new": 2})
    assert (detector["seen"], detector["reviewed"]) == (0, 0)
    assert "precision" not in detector, "no person gave a verdict"
    assert {one["call_id"]: one["quote"] for one in report["waiting"]} == {
        "first": "nine thirty",
        "second": "nine thirty",
    }
    assert report["days"] == {"2026-05-02": 1, "2026-05-06": 1}
    assert report["usd"] == 0


async def test_the_precision_of_a_report_is_of_peoples_verdicts_alone(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    await bench.trust(right=3, wrong=1)
    [row] = (await ok(agent, "list_findings", call_id="first"))["items"]
    await ok(agent, "review_finding", finding_id=row["id"], verdict="wrong")
    [detector] = (await ok(agent, "get_pipeline_report"))["detectors"]

    assert (detector["reviewed"], detector["seen"], detector["precision"]) == (4, 4, 0.75)
    assert 0 < detector["low"] < 0.75 < detector["high"] < 1


async def test_a_report_names_the_issue_of_an_incident(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    await bench.trust()
    bench.spec = spec_of(more=ALONE + "\n[issues]\nfile_after = { calls = 1 }")
    await bench.run("first")
    [issue] = await bench.issues()
    [filed] = [one for one in (await ok(agent, "get_pipeline_report"))["incidents"] if "issue_id" in one]

    assert (filed["issue_id"], filed["ticket"], filed["state"]) == (issue.id, issue.triage_id, "filed")
    assert (filed["detector"], filed["kind"]) == ("wrong_hours", "wrong_hours")
    assert "muted" not in filed


async def test_a_report_narrows_to_a_pipeline_and_to_a_time(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    for name in ("hours", "quiet"):
        await runs.begin(bench.ledger, pipeline=name, spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
    hours = await ok(agent, "get_pipeline_report", pipeline="hours")
    quiet = await ok(agent, "get_pipeline_report", pipeline="quiet")
    later = await refused(agent, "get_pipeline_report", since="2999-01-01")
    unknown = await refused(agent, "get_pipeline_report", pipeline="no-such")

    assert ([one["call_id"] for one in hours["waiting"]], quiet["waiting"]) == (["first"], [])
    assert hours["pipelines"] == quiet["pipelines"] == ["hours", "quiet"]
    assert (later["code"], later["field"]) == ("invalid_arguments", "since")
    assert (unknown["code"], unknown["field"]) == ("not_found", "pipeline")


@pytest.mark.parametrize(
    "uri",
    ["triage://findings/ffffff", "triage://runs/run_x", "triage://pipelines/no-such/report", "triage://findings/x"],
)
async def test_a_resource_of_nothing_is_a_protocol_error(seat: tuple[McpClient, Bench], uri: str) -> None:
    agent, _ = seat
    with pytest.raises(MCPError, match="Resource not found"):
        await agent.read_resource(uri)


async def test_prompts_bring_the_report_and_name_tools_that_are_there(seat: tuple[McpClient, Bench]) -> None:
    agent, bench = seat
    await runs.begin(bench.ledger, pipeline="hours", spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
    tools = {one.name for one in (await agent.list_tools()).tools}
    for prompt in ("review_findings", "tune_detector"):
        got = await agent.get_prompt(prompt, {"pipeline": "hours", "detector": "wrong_hours"})
        first, resource, holder = [message.content for message in got.messages]
        steps = getattr(first, "text", "")
        held = json.loads(getattr(getattr(resource, "resource", None), "text", "{}"))
        assert held["waiting"][0]["quote"] == "nine thirty"
        assert "wrong_hours" not in steps
        assert json.loads(getattr(holder, "text", "{}"))["trust"] == "untrusted"
        named = set(re.findall(r"[a-z]+(?:_[a-z]+)+", steps)) & ALL_NAMES
        assert "list_findings" in named
        assert named <= tools
    with pytest.raises(MCPError, match="No pipeline of this name"):
        await agent.get_prompt("review_findings", {"pipeline": "no-such"})


async def test_without_the_toolset_none_of_this_is_offered(the_desk: Desk) -> None:
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport)) as client,
        McpClient(build_server(client, version="0", tools=select(["core"]))) as agent,
    ):
        uris = [one.uri_template for one in (await agent.list_resource_templates()).resource_templates]
        prompts = [one.name for one in (await agent.list_prompts()).prompts]
    assert not [uri for uri in uris if "findings" in uri or "runs" in uri or "pipelines" in uri]
    assert not {"review_findings", "tune_detector"} & set(prompts)


async def read(agent: McpClient, uri: str) -> JsonObject:
    [contents] = (await agent.read_resource(uri)).contents
    return json.loads(getattr(contents, "text", ""))
