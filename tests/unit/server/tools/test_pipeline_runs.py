"""Runs of pipelines that an agent asks for by name: of the operator's file as it is, and told whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import httpx2
import mcp_types
import pytest
from conftest import Clock, endpoints_to, load_lines
from mcp.client import Client as McpClient
from pipeline_filing import Bench, spec_of
from pipeline_lines import just_ended
from tool_calls import ok, refused

from calltriage.client.client import open_client
from calltriage.client.home import Home
from calltriage.desk.app import Desk
from calltriage.errors import Unauthenticated
from calltriage.leaves.instants import utc_now, written
from calltriage.pipelines.ledger import Ledger, findings, open_ledger, runs, tables
from calltriage.pipelines.ledger.turns import Turn, held
from calltriage.pipelines.pipeline import Pipeline, Report, Source
from calltriage.pipelines.runners import embedded
from calltriage.server.app import TriageServer, build_server
from calltriage.server.toolsets import select

FILE = 'name = "quiet"\ncalls = { settle = "0s" }\n[[detect]]\nuse = "forbidden"\nphrases = ["nine thirty"]\n'
OWN = 'name = "own"\ncalls = { settle = "0s" }\n[[detect]]\nuse = "beside:says_hours"\n'
BESIDE = """from calltriage.pipelines import Finding, detector

@detector(version=1, kind="hours")
def says_hours(call):
    for turn in call.turns:
        if "nine thirty" in turn.text:
            yield Finding(turn, "nine thirty")
"""


@pytest.fixture
async def seat(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> AsyncGenerator[tuple[McpClient, Bench, Path, TriageServer]]:
    """An agent with the toolset, on a desk with one call; where operators' files are; and the server."""
    home = Home(tmp_path / "data", "desk", None, lambda: b"a secret of the tests, long enough")
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    folder = tmp_path / "files"
    folder.mkdir()
    async with (
        open_client(endpoints_to(transport), home=home) as client,
        open_ledger(home.folder, home.account) as ledger,
    ):
        server = build_server(client, version="0", tools=select(["core", "pipelines"]), sleep=_at_once)
        async with McpClient(server) as agent:
            bench = Bench(the_desk, client, ledger, clock, spec_of(""))
            await bench.say("first")
            yield agent, bench, folder, server


async def _at_once(_seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


async def operated(bench: Bench, folder: Path, text: str = FILE, name: str = "p.toml", call: str = "none") -> Report:
    """The operator writes the file and runs it, on a call that is not there unless `call` says another."""
    (folder / name).write_text(text)
    return await Pipeline.load(folder / name).run(bench.client, call=call)


async def test_a_pipeline_runs_by_its_name_and_dry_unless_asked_otherwise(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    unknown = await refused(agent, "run_pipeline", pipeline="quiet", call_id="first")
    await operated(bench, folder)
    dry = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first")
    after_dry = (await ok(agent, "list_findings", pipeline="quiet"))["total"]
    wet = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    found = await ok(agent, "list_findings", pipeline="quiet")

    assert unknown["field"] == "pipeline"
    assert (dry["dry_run"], dry["outcome"], after_dry) == (True, "not_committed", 0)
    assert [(one["detector"], one["findings"]) for one in dry["detectors"]] == [("forbidden", 1)]
    assert (wet["dry_run"], wet["outcome"], found["total"]) == (False, "committed", 1)
    assert await bench.issues() == []  # its detector waits for a person


async def test_a_run_is_told_with_its_id_its_state_what_was_filed_and_how_its_findings_stand(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder, FILE + 'severity = "high"\n')
    made = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    [row] = (await ok(agent, "list_findings", pipeline="quiet"))["items"]
    dismissed = lambda it: findings.set_state(it, bench.ledger, [row["id"]], "dismissed", "wrong")  # noqa: E731
    await bench.ledger.write(dismissed)
    again = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    shown = await ok(agent, "get_run", run_id=made["run_id"])

    assert (made["state"], shown["state"], shown["calls"]) == ("done", "done", {"done": 1})
    assert made["filed"] == {"findings": 0, "waiting": 1, "issues": 0, "reopened": 0, "filed_before": 0}
    [example] = made["detectors"][0]["examples"]
    assert (example["id"], example["state"]) == (row["id"], "new")
    [example] = again["detectors"][0]["examples"]
    assert (example["id"], example["state"], example["why"]) == (row["id"], "dismissed", "wrong")
    assert again["run_id"] != made["run_id"]


async def test_a_dry_run_gives_its_findings_neither_ids_nor_states(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    made = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first")
    [example] = made["detectors"][0]["examples"]
    assert (example["call_id"], example["quote"]) == ("first", "nine thirty")
    assert not {"id", "state"} & set(example)
    assert "run_id" not in made


async def test_code_beside_the_operators_file_is_found_from_any_working_folder(
    seat: tuple[McpClient, Bench, Path, TriageServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, bench, folder, _ = seat
    (folder / "beside.py").write_text(BESIDE)
    monkeypatch.chdir(folder)
    await operated(bench, Path(), OWN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    dry = await ok(agent, "run_pipeline", pipeline="own", call_id="first")
    wet = await ok(agent, "run_pipeline", pipeline="own", call_id="first", dry_run=False)
    assert [(one["detector"], one["findings"]) for one in dry["detectors"]] == [("says_hours", 1)]
    assert (wet["filed"]["waiting"], wet["state"]) == (1, "done")


async def test_a_dry_run_reads_the_operators_file_as_it_is_now_and_says_that_it_changed(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    ran = await operated(bench, folder)
    before = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first")
    (folder / "p.toml").write_text(FILE.replace("nine thirty", "never said"))
    after = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first")
    wet = await refused(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)

    assert ran.run is not None
    assert (before["changed"], ran.run.spec_hash.startswith(before["spec_hash"])) == (False, True)
    assert (after["changed"], after["spec_hash"] == before["spec_hash"]) == (True, False)
    assert [one["detectors"][0]["findings"] for one in (before, after)] == [1, 0]
    assert (wet["code"], wet["outcome"]) == ("pipeline_changed", "not_committed")
    assert "Its operator runs it first" in wet["message"]
    assert (await ok(agent, "list_findings", pipeline="quiet"))["total"] == 0


async def test_a_detector_whose_code_was_changed_since_its_operator_ran_it_is_run_dry_alone(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    (folder / "beside.py").write_text(BESIDE)
    await operated(bench, folder, OWN)
    before = await ok(agent, "run_pipeline", pipeline="own", call_id="first")
    (folder / "beside.py").write_text(BESIDE.replace("nine thirty", "first"))
    dry = await ok(agent, "run_pipeline", pipeline="own", call_id="first")
    wet = await refused(agent, "run_pipeline", pipeline="own", call_id="first", dry_run=False)
    await operated(bench, folder, OWN)
    after = await ok(agent, "run_pipeline", pipeline="own", call_id="first", dry_run=False)

    assert [one["changed"] for one in (before, dry, after)] == [False, True, False]
    assert before["spec_hash"] == dry["spec_hash"]
    assert (wet["code"], wet["outcome"]) == ("pipeline_changed", "not_committed")
    assert (after["outcome"], after["state"]) == ("committed", "done")


async def test_a_run_of_which_the_detectors_versions_are_not_known_compares_the_file_alone_and_says_so(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    (folder / "p.toml").write_text(FILE)
    loaded, window = Pipeline.load(folder / "p.toml"), {"asked": "", "file": str(folder / "p.toml")}
    ran = partial(runs.begin, bench.ledger, pipeline="quiet", mode="run", window=window)
    await ran(spec_hash=loaded.spec_hash, spec=FILE)
    made = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    assert (made["changed"], made["outcome"]) == (False, "committed")
    assert "its text alone was compared" in made["note"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unknown", "It is not known where the file"),
        ("moved", "p.toml is not where its operator ran it"),
        ("another", "p.toml is the file of another pipeline now"),
        ("broken", "p.toml line 1: bogus is no key"),
    ],
)
async def test_a_file_that_cannot_be_run_says_what_to_do(
    seat: tuple[McpClient, Bench, Path, TriageServer], how: str, message: str
) -> None:
    agent, bench, folder, _ = seat
    if how == "unknown":
        window = {"asked": ""}
        await runs.begin(bench.ledger, pipeline="quiet", spec_hash="h", spec=FILE, mode="run", window=window)
    else:
        await operated(bench, folder)
    if how == "moved":
        (folder / "p.toml").rename(folder / "q.toml")
    elif how == "another":
        (folder / "p.toml").write_text(FILE.replace("quiet", "loud"))
    elif how == "broken":
        (folder / "p.toml").write_text("bogus = 1\n" + FILE)
    error = await refused(agent, "run_pipeline", pipeline="quiet", call_id="first")
    assert error["code"] == "pipeline_error"
    assert error["message"].startswith("This pipeline cannot run: ")
    assert message in error["message"]
    assert str(folder) not in error["message"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_detector_that_cannot_be_made_is_told_as_what_its_operator_has_to_mend(
    seat: tuple[McpClient, Bench, Path, TriageServer], dry_run: bool
) -> None:
    agent, bench, folder, _ = seat
    (folder / "beside.py").write_text(BESIDE)
    await operated(bench, folder, OWN)
    (folder / "beside.py").unlink()
    error = await refused(agent, "run_pipeline", pipeline="own", call_id="first", dry_run=dry_run)
    assert (error["code"], error["outcome"]) == ("pipeline_error", "not_committed")
    assert "beside" in error["message"]


async def test_an_error_of_the_api_is_told_as_it_is(
    seat: tuple[McpClient, Bench, Path, TriageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)

    async def refused_run(*_: object, **__: object) -> Report:
        raise Unauthenticated("The API does not accept the key.")

    monkeypatch.setattr(Pipeline, "run", refused_run)
    error = await refused(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    assert error["code"] == "unauthenticated"


async def test_without_a_time_a_run_examines_what_came_since_the_last_one_ended(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)  # of a single call, so it does not count
    older, newer = (written(utc_now() - timedelta(hours=hours)) for hours in (3, 2))
    await bench.say("older", began=older)
    await bench.say("newer", began=newer)
    first = await ok(agent, "run_pipeline", pipeline="quiet", limit=1, dry_run=False)
    second = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)
    found = {row["call_id"] for row in (await ok(agent, "list_findings", pipeline="quiet"))["items"]}
    third = await ok(agent, "run_pipeline", pipeline="quiet")

    assert (first["since"], second["since"]) == ("24h", older), "from the last call that the first one took"
    assert second["since"] < newer < third["since"], "from the end of the second one"
    assert (first["calls"], second["calls"], third["calls"]) == (1, 1, 0)
    assert found == {"older", "newer"}, "and not the one of months ago"


SETTLING = FILE.replace('"0s"', '"10m"')


def ago(minutes: float) -> str:
    return written(utc_now() - timedelta(minutes=minutes))


async def calls_found(agent: McpClient) -> list[str]:
    return sorted(row["call_id"] for row in (await ok(agent, "list_findings", pipeline="quiet"))["items"])


@pytest.mark.parametrize("limit", [1, 50])
async def test_a_call_that_a_run_left_out_since_it_had_not_settled_is_examined_by_the_next_one(
    seat: tuple[McpClient, Bench, Path, TriageServer], limit: int
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder, SETTLING)
    began = ago(30)
    await bench.say("long", began=began, call_length=25)
    await bench.say("short", began=ago(20), call_length=1)
    first = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)
    found = await calls_found(agent)
    early = await ok(agent, "run_pipeline", pipeline="quiet", limit=limit, dry_run=False)
    await bench.say("long", began=began, call_length=15)  # as if time had passed
    dry = await ok(agent, "run_pipeline", pipeline="quiet", limit=limit)
    late = await ok(agent, "run_pipeline", pipeline="quiet", limit=limit, dry_run=False)
    again = await ok(agent, "run_pipeline", pipeline="quiet", limit=limit, dry_run=False)

    assert (first["calls"], found) == (1, ["short"])
    assert [one["calls"] for one in (early, dry, late, again)] == [0, 1, 1, 0]
    assert await calls_found(agent) == ["long", "short"]


async def test_a_call_that_was_under_way_in_the_last_run_is_examined_once_it_has_ended_and_holds_nothing_up(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    await bench.say("ended", began=ago(50), call_length=1)
    first = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)
    await bench.say("under-way", began=ago(60), call_length=60)
    await bench.say("days-ago", began=ago(26 * 60), call_length=26 * 60)
    await bench.say("unasked", began=ago(60), call_length=1)  # no run was asked for it
    second = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)

    assert (first["calls"], second["calls"]) == (1, 1)
    assert second["since"] > ago(40)
    assert await calls_found(agent) == ["ended", "under-way"]


async def test_runs_with_a_limit_go_on_among_calls_of_one_instant(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    began = ago(90)
    for number in range(5):
        await bench.say(f"call-{number}", began=began)
    made = [await ok(agent, "run_pipeline", pipeline="quiet", limit=3, dry_run=False) for _ in range(3)]

    assert [one["calls"] for one in made] == [3, 2, 0]
    assert await calls_found(agent) == [f"call-{number}" for number in range(5)]


async def test_a_run_over_a_file_of_calls_does_not_count_as_one_over_the_apis(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    await bench.say("taken", began=ago(90))
    await Pipeline.load(folder / "p.toml").run(bench.client, since="24h", calls=Source(bench.client, "F.jsonl"))
    made = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)
    assert (made["since"], made["calls"]) == ("24h", 1)


async def test_a_call_that_an_earlier_version_of_the_file_tried_alone_is_examined_by_the_next_run(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    began = ago(90)
    await bench.say("other", began=began)
    await bench.say("tried", began=began)
    await operated(bench, folder, call="tried")
    await operated(bench, folder, FILE + 'severity = "high"\n')
    made = [await ok(agent, "run_pipeline", pipeline="quiet", limit=1, dry_run=False) for _ in range(3)]
    assert [one["calls"] for one in made] == [1, 1, 0]


async def test_a_run_up_to_a_day_to_come_examined_nothing_after_its_begin(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    await Pipeline.load(folder / "p.toml").run(bench.client, since="24h", until=ago(-60))
    await bench.say("after", began=ago(0))
    made = await ok(agent, "run_pipeline", pipeline="quiet", dry_run=False)
    assert made["calls"] == 1


async def test_a_run_that_the_servers_end_cut_off_is_told_paused_and_any_later_run_of_the_file_takes_it_up(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, server = seat
    slow = OWN + "[limits]\nseconds_per_call = 60\n"
    blocked = BESIDE.replace("    for turn", "    from threading import Event\n    Event().wait()\n    for turn")
    (folder / "beside.py").write_text(blocked)
    await operated(bench, folder, slow)
    told = []

    async def ask() -> None:
        told.append(await ok(agent, "run_pipeline", pipeline="own", since="2026-01-01", limit=7, dry_run=False))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not [one for one in await runs.newest(bench.ledger, 1) if one.window["limit"] == 7 and one.counts]:
            pass
        server.end_streams()
    (folder / "beside.py").write_text(BESIDE)
    report = await Pipeline.load(folder / "p.toml").run(bench.client, call="another")

    [cut_off] = told
    assert (cut_off["outcome"], cut_off["state"], cut_off["calls"]) == ("committed", "paused", 0)
    [taken_up] = report.taken_up
    assert (taken_up.id, taken_up.state, taken_up.counts) == (cut_off["run_id"], "done", {"done": 3})
    assert "first" in {row["call_id"] for row in (await ok(agent, "list_findings", pipeline="own"))["items"]}


async def left_by_an_agent(seat: tuple[McpClient, Bench, Path, TriageServer], **state: object) -> str:
    """The id of an agent's run over three of five calls, as the end of its process left it."""
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    for number in range(5):
        await bench.say(f"call-{number}", began=ago(90 - number))
    run_id: str = (await ok(agent, "run_pipeline", pipeline="quiet", limit=3, dry_run=False))["run_id"]
    change = tables.runs.update().where(tables.runs.c.id == run_id).values(ended_at=None, **state)
    await bench.ledger.write(lambda connection: connection.execute(change) and None)
    return run_id


async def test_an_agents_run_whose_process_died_after_its_last_call_is_ended_by_the_next_run(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    run_id = await left_by_an_agent(seat, state="running")
    report = await operated(seat[1], seat[2], call="another")
    assert [(one.id, one.state, one.counts) for one in report.taken_up] == [(run_id, "done", {"done": 3})]


async def test_an_agents_run_of_which_all_that_is_left_is_due_later_is_left_alone(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    _, bench, folder, _ = seat
    run_id = await left_by_an_agent(seat, state="paused")
    later = tables.items.update().where(tables.items.c.call_id == "call-1").values(state="deferred", due_at=ago(-60))
    await bench.ledger.write(lambda connection: connection.execute(later) and None)
    report = await operated(bench, folder, call="another")
    assert (report.taken_up, (await runs.get(bench.ledger, run_id)).state) == ((), "paused")


async def test_an_agents_run_that_is_taken_up_keeps_its_limit_over_both_processes(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    run_id = await left_by_an_agent(seat, state="running", listed=False)
    report = await operated(seat[1], seat[2], call="another")
    assert [(one.id, one.state, one.counts) for one in report.taken_up] == [(run_id, "done", {"done": 3})]


async def test_a_command_goes_on_without_an_agents_run_that_another_command_took_up_first(
    seat: tuple[McpClient, Bench, Path, TriageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bench, folder, _ = seat
    run_id = await left_by_an_agent(seat, state="running", listed=False)

    @asynccontextmanager
    async def free_a_moment_ago(ledger: Ledger, name: str) -> AsyncGenerator[Turn | None]:
        async with held(ledger, f"not {name}") as turn:
            yield turn

    monkeypatch.setattr("calltriage.pipelines.pipeline.held", free_a_moment_ago)
    monkeypatch.setattr(embedded, "ASKED_S", 0)
    async with held(bench.ledger, run_id):
        report = await operated(bench, folder, call="first")
    assert report.run is not None
    assert (report.taken_up, report.run.state, report.tally.calls) == ((), "done", 1)


async def test_a_detector_that_fails_is_told_with_its_reason(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    (folder / "beside.py").write_text(BESIDE.replace("    for turn", '    {}["a caller said this"]\n    for turn'))
    await operated(bench, folder, OWN)
    dry = await ok(agent, "run_pipeline", pipeline="own", call_id="first")
    wet = await ok(agent, "run_pipeline", pipeline="own", call_id="first", dry_run=False)
    shown = await ok(agent, "get_run", run_id=wet["run_id"])

    for made in (dry, wet):
        [one] = made["detectors"]
        assert (one["trust"], one["failed"], one["why"]) == (
            "untrusted",
            1,
            "Detector says_hours raised KeyError in beside.py line 5.",
        )
    [one] = shown["unexamined"]
    assert shown["trust"] == "untrusted"
    assert (one["detector"], one["verdict"], one["calls"]) == ("says_hours", "failed", 1)
    assert one["why"] == "Detector says_hours raised KeyError in beside.py line 5."


async def test_a_detector_that_a_call_does_not_offer_what_it_needs_is_told_with_its_reason(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    text = FILE + '[[detect]]\nuse = "talk_over"\n'
    await operated(bench, folder, text)
    made = await ok(agent, "run_pipeline", pipeline="quiet", call_id="first", dry_run=False)
    shown = await ok(agent, "get_run", run_id=made["run_id"])
    [one] = [each for each in made["detectors"] if each["not_offered"]]
    [read] = shown["unexamined"]
    assert (read["detector"], read["verdict"], read["why"]) == (one["detector"], "not_offered", one["why"])
    assert one["why"]


async def test_an_unknown_pipeline_is_told_with_the_names_of_those_that_ran(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    none = await refused(agent, "run_pipeline", pipeline="nosuch")
    await operated(bench, folder)
    run, report = [await refused(agent, tool, pipeline="nosuch") for tool in ("run_pipeline", "get_pipeline_report")]
    assert none["message"].endswith("`calltriage pipeline run FILE`. Given: nosuch.")
    for error in (run, report):
        assert (error["code"], error["field"], error["allowed"]) == ("not_found", "pipeline", ["quiet"])
    assert run["outcome"] == "not_committed"


async def test_names_of_pipelines_and_of_detectors_are_completed_from_what_ran(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    ref = mcp_types.PromptReference(name="tune_detector")

    async def values(name: str, value: str) -> list[str]:
        return (await agent.complete(ref, {"name": name, "value": value})).completion.values

    before = await values("pipeline", "")
    await operated(bench, folder, call="first")
    assert before == []
    assert (await values("pipeline", "qu"), await values("detector", "")) == (["quiet"], ["forbidden"])
    assert await values("pipeline", "other") == []


async def test_a_masked_quote_is_shown_beside_the_turns_as_they_were_said(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    number = "4111 1111 1111 1111"
    await bench.say("second", f"nine thirty, and your card is {number}")
    (folder / "beside.py").write_text(BESIDE.replace('(turn, "nine thirty")', "(turn, turn.text)"))
    await operated(bench, folder, 'redact = "builtin"\n' + OWN, call="second")
    [row] = (await ok(agent, "list_findings", call_id="second"))["items"]
    read = await ok(agent, "get_finding", finding_id=row["id"])
    assert row["quote"] == read["finding"]["quote"] == "nine thirty, and your card is [card]"
    assert read["turns"][row["turn"]]["text"] == f"nine thirty, and your card is {number}"


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_call_that_is_not_there_is_told(
    seat: tuple[McpClient, Bench, Path, TriageServer], dry_run: bool
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    error = await refused(agent, "run_pipeline", pipeline="quiet", call_id="nope", dry_run=dry_run)
    assert (error["code"], error["field"], error["outcome"]) == ("not_found", "call_id", "not_committed")


@pytest.mark.parametrize(
    ("field", "name", "near"), [("pipeline", "quite", "quiet"), ("detector", "forbiden", "forbidden")]
)
async def test_a_misspelt_name_to_narrow_by_is_no_empty_list(
    seat: tuple[McpClient, Bench, Path, TriageServer], field: str, name: str, near: str
) -> None:
    agent, bench, folder, _ = seat
    await operated(bench, folder)
    error = await refused(agent, "list_findings", **{field: name})
    assert (error["code"], error["field"]) == ("not_found", field)
    assert f"Did you mean {near}?" in error["message"]


MEASURES = """from calltriage.pipelines import Measure, detector

@detector(version=1, kind="turns")
def counts(call):
    yield Measure("turns", len(call.turns))
"""


async def test_a_run_tells_what_it_measured_and_what_it_left_out(
    seat: tuple[McpClient, Bench, Path, TriageServer],
) -> None:
    agent, bench, folder, _ = seat
    (folder / "counting.py").write_text(MEASURES)
    file = 'name = "turns"\ncalls = { settle = "1h" }\n[[detect]]\nuse = "counting:counts"\n'
    await operated(bench, folder, file)
    await load_lines(bench.desk, just_ended("fresh"))
    await bench.say("settled", began="2026-05-01T10:00:00Z")
    made = await ok(agent, "run_pipeline", pipeline="turns", since="2026-05-01")
    assert made["unsettled"] == 1
    [shown] = made["detectors"]
    assert shown["measures"] == [{"name": "turns", "unit": "", "calls": made["calls"], "mean": 4.25}]
