"""From findings to an issue with its evidence: once, and alone only where people's verdicts allow it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from faults import Scripted, answers, fails, loses_the_answer
from ledgers import opened_ledger
from pipeline_filing import ALONE, Bench, settle, spec_of
from sqlalchemy import Connection, select

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.desk.database.tables import flags
from calltriage.desk.operating.deletion import delete_record
from calltriage.errors import CallError, ServerFailure
from calltriage.journal.journal import Journal
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import AddComment
from calltriage.operations.flags import AddFlag, RemoveFlag
from calltriage.operations.issues import CreateIssue, DeleteIssue, GetIssue, Issue, UpdateIssue
from calltriage.operations.relations import ListRelations
from calltriage.operations.resource_links import ListResources
from calltriage.pipelines.coming_back import BEFORE_CLOSING, IN_GRACE, SAME_AGENT
from calltriage.pipelines.eligibility import Eligibility
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.findings import Verified
from calltriage.pipelines.ledger import Ledger, candidates, effects, findings, incidents, reviews, tables
from calltriage.pipelines.ledger.effects import Effect
from calltriage.pipelines.ledger.findings import Wanted
from calltriage.pipelines.ledger.reviews import Review
from calltriage.pipelines.ledger.turns import alone
from calltriage.pipelines.patience import may_be_repeated
from calltriage.pipelines.reviewing import Reviewer, review
from calltriage.pipelines.spec import parse_spec

T = TypeVar("T")


@pytest.fixture
async def journal(tmp_path: Path, clock: Clock) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path / "data", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def bench(the_desk: Desk, journal: Journal, clock: Clock, tmp_path: Path) -> AsyncGenerator[Bench]:
    """A pipeline whose rule may file alone, with the journal behind its client."""
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        opened_ledger(tmp_path / "data") as ledger,
        open_client(endpoints_to(transport), ledger=journal) as client,
    ):
        ledger.clock = clock
        yield Bench(the_desk, client, ledger, clock, spec_of(more=f"[issues]\n{ALONE}"), journal=journal)


async def test_a_detector_files_alone_once_the_lower_bound_of_its_precision_reaches_the_bar(bench: Bench) -> None:
    await bench.trust(right=15)  # all of 15 right: the lower 95 % bound is 0.796
    await bench.say("first")
    await bench.run("first")
    before = await bench.issues()
    await bench.trust(right=16)  # of 16: 0.806
    await bench.run("first")

    [issue] = await bench.issues()
    assert before == []
    assert issue.source == "automated"
    assert issue.title == "Wrong hours"
    assert await bench.states() == {"first": "filed"}


async def test_an_agents_verdicts_count_only_where_the_file_says_so(bench: Bench) -> None:
    await bench.trust()
    await bench.ledger.write(lambda it: it.execute(tables.reviews.update().values(role="agent")))
    await bench.say("first")
    await bench.run("first")
    alone = await bench.states()
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nagent_verdicts = true")
    await bench.run("first")

    assert (alone, await bench.states()) == ({"first": "new"}, {"first": "filed"})


async def test_an_agents_later_verdict_does_not_outweigh_a_persons(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nagent_verdicts = true")
    await bench.trust(right=0, wrong=18)
    for row in await bench.rows():
        said = Review(row["call_id"], row["detector"], "right", "an agent", "agent", finding_id=row["id"])
        await bench.ledger.write(partial(reviews.add, ledger=bench.ledger, review=said))
    await bench.say("first")
    await bench.run("first")

    [tally] = (await bench.ledger.read(partial(reviews.tallies, ledger=bench.ledger, with_agents=True))).values()
    assert (tally.right, tally.wrong) == (0, 18)
    assert await bench.states() == {"first": "new"}


RENAMED = 'file = "auto"\nname = "hours_wrong"\nwas = "wrong_hours"'


@pytest.mark.parametrize("found_as", ["wrong_hours", "hours_wrong"], ids=["found before", "found afterwards"])
async def test_a_renamed_detector_keeps_its_verdicts_and_files_alone_what_it_finds_under_either_name(
    bench: Bench, found_as: str
) -> None:
    await bench.trust()
    await bench.say("first")
    renamed = spec_of(RENAMED, f"[issues]\n{ALONE}")
    bench.rule = replace(bench.rule, name=found_as)
    bench.spec = renamed if found_as == "hours_wrong" else bench.spec
    await bench.examine("first")
    bench.spec = renamed
    bench.rule = replace(bench.rule, name="hours_wrong")
    bench.clock.advance(minutes=1)

    left = await Eligibility(bench.ledger, bench.spec).alone()
    await bench.run("first")

    assert [(one.detector, one.hashes) for one in left] == [
        (name, (bench.rule.version_hash,)) for name in ("hours_wrong", "wrong_hours")
    ]
    assert await bench.states() == {"first": "filed"}


async def test_verdicts_on_another_version_of_a_detector_do_not_count(bench: Bench) -> None:
    await bench.trust()
    bench.rule = replace(bench.rule, version_hash="another")
    await bench.say("first")
    await bench.run("first")

    assert await bench.states() == {"first": "new"}


async def test_a_version_does_not_inherit_the_verdicts_on_what_another_found_too(bench: Bench) -> None:
    await bench.trust()
    bench.rule = replace(bench.rule, version_hash="another")
    for number in range(18):
        await bench.examine(f"labelled-{number}")
    await bench.say("first")
    await bench.run("first")

    assert await bench.states() == {"first": "new"}


async def test_a_finding_without_a_verdict_is_of_the_version_that_found_it_last(bench: Bench) -> None:
    await bench.say("first")
    await bench.run("first")
    bench.rule = replace(bench.rule, version_hash="another")
    await bench.trust()
    await bench.run("first")

    assert await bench.states() == {"first": "filed"}


async def test_a_pipeline_does_not_judge_what_another_found_by_a_detector_of_that_name(bench: Bench) -> None:
    await bench.say("first")
    await bench.examine("first")
    await bench.say("first", "we open at ten")  # what the other one looks for is not said
    ours = bench.spec
    bench.spec = parse_spec('name = "other"\n[[detect]]\nuse = "wrong_hours"\n')
    await bench.examine("first")
    of_others = await bench.states()
    bench.spec = ours
    await bench.examine("first")

    assert (of_others, await bench.states()) == ({"first": "new"}, {"first": "stale"})


async def test_a_pipeline_files_alone_what_it_found_itself(bench: Bench) -> None:
    await bench.trust()
    await bench.say("first", began="2026-04-30T10:00:00Z")
    await bench.examine("first")
    bench.spec = parse_spec(f'name = "other"\n[[detect]]\nuse = "wrong_hours"\nfile = "auto"\n[issues]\n{ALONE}')
    await bench.say("second")
    await bench.run("second")

    assert await bench.states() == {"first": "new", "second": "filed"}


async def test_what_a_person_accepted_stays_accepted_until_the_api_has_its_call(bench: Bench) -> None:
    await bench.say("later")
    _, [found] = await bench.examine("later")
    [row] = await bench.rows()
    await review(bench.ledger, row, Reviewer("a person"), "right")
    await delete_record(bench.desk, "call", "later")
    await bench.filer.settle(found.fingerprint)
    before = await bench.states()
    await bench.say("later")
    await bench.run("later")

    assert (before, await bench.states()) == ({"later": "counted"}, {"later": "filed"})


@pytest.mark.parametrize("has_issue", [False, True])
async def test_a_finding_in_a_call_that_the_api_does_not_have_yet_is_filed_once_it_does(
    bench: Bench, has_issue: bool
) -> None:
    await bench.trust()
    if has_issue:
        await bench.say("first")
        await bench.run("first")
    await bench.say("later")
    _, [found] = await bench.examine("later")
    await delete_record(bench.desk, "call", "later")
    await bench.filer.settle(found.fingerprint)
    before = (await bench.states())["later"]
    await bench.say("later")
    await bench.run("later")

    [issue] = await bench.issues()
    assert (before, (await bench.states())["later"]) == ("counted", "filed")
    assert (await bench.flags(issue))[-1].call_id == "later"


async def test_a_finding_becomes_a_flag_with_the_words_of_its_turn_on_the_attached_call(bench: Bench) -> None:
    await bench.trust()
    await bench.say("first", "we open at NINE thirty, or nine thirtyish")
    await bench.run("first")

    [issue] = await bench.issues()
    [flag] = await bench.flags(issue)
    links = (await bench.client.send(ListResources(issue_id=issue.id))).items
    assert [(link.resource_type, link.resource_id) for link in links] == [("call", "first")]
    assert (flag.call_id, flag.type, flag.message_index, flag.message_text) == (
        "first",
        "wrong_hours",
        2,
        "NINE thirty,",
    )
    assert flag.note.startswith("It opens at ten. [finding ")


async def test_filing_again_and_under_another_version_changes_nothing(bench: Bench) -> None:
    await bench.trust()
    await bench.say("first")
    await bench.run("first")
    await bench.run("first")
    bench.rule = replace(bench.rule, version_hash="another")
    await bench.run("first")

    [issue] = await bench.issues()
    assert len(await bench.flags(issue)) == 1


async def test_findings_of_one_incident_gather_on_one_issue_and_those_of_another_do_not(bench: Bench) -> None:
    await bench.trust()
    for number, branch in enumerate(("north", "north", "south")):
        await bench.say(f"call-{number}", metadata={"branch": branch})
    await bench.run("call-0", "call-1", "call-2")

    north, south = await bench.issues()
    assert (north.title, south.title) == ("Wrong hours (north)", "Wrong hours (south)")
    assert [flag.call_id for flag in await bench.flags(north)] == ["call-0", "call-1"]
    assert [flag.call_id for flag in await bench.flags(south)] == ["call-2"]


async def test_many_that_file_at_once_file_one_issue(bench: Bench) -> None:
    await bench.trust()
    for number in range(6):
        await bench.say(f"call-{number}")
    recorded = [await bench.examine(f"call-{number}") for number in range(6)]
    async with anyio.create_task_group() as group:
        for call, found in [*recorded, *recorded]:
            group.start_soon(settle, bench.filer, call, found)

    [issue] = await bench.issues()
    assert len(await bench.flags(issue)) == 6


async def test_nothing_is_filed_before_enough_calls_have_the_fault_and_then_all_of_them_are(bench: Bench) -> None:
    bench.spec = spec_of(more=f'[issues]\nfile_after = {{ calls = 3, within = "24h" }}\n{ALONE}')
    await bench.trust()
    for number, began in enumerate(("2026-05-01T10:00:00Z", "2026-05-05T10:00:00Z", "2026-05-06T09:00:00Z")):
        await bench.say(f"call-{number}", began=began)
    await bench.run("call-0", "call-1", "call-2")
    before = await bench.issues()
    await bench.say("call-3", began="2026-05-06T08:00:00Z")
    await bench.run("call-3")

    [issue] = await bench.issues()
    assert before == []
    assert len(await bench.flags(issue)) == 4


async def test_one_call_with_a_severe_fault_is_enough(bench: Bench) -> None:
    detect, more = (
        'file = "auto"\nseverity = "high"',
        f'[issues]\nfile_after = {{ calls = 3, within = "24h" }}\n{ALONE}',
    )
    bench.spec = spec_of(detect, more)
    await bench.trust()
    await bench.say("first")
    await bench.run("first")

    assert [issue.severity for issue in await bench.issues()] == ["high"]


async def test_what_a_person_accepted_is_filed_whatever_the_detector_may_do(bench: Bench) -> None:
    bench.spec = spec_of("", '[issues]\nfile_after = { calls = 3, within = "24h" }')
    await bench.say("first")
    call, [found] = await bench.examine("first")
    await settle(bench.filer, call, [found])
    before = await bench.issues()
    accept = partial(findings.set_state, ledger=bench.ledger, ids=[found.finding_id], state="accepted", why=None)
    await bench.ledger.write(accept)
    await bench.filer.settle(found.fingerprint)

    assert (before, len(await bench.issues()), await bench.states()) == ([], 1, {"first": "filed"})


async def test_a_share_of_what_needs_no_person_is_held_back_for_one(bench: Bench) -> None:
    bench.spec = spec_of(more="[issues]\nreview_share = 0.5")
    await bench.trust()
    for number in range(20):
        await bench.say(f"call-{number}")
    await bench.run(*(f"call-{number}" for number in range(20)))
    first = await bench.states()
    await bench.run(*(f"call-{number}" for number in range(20)))

    assert set(first.values()) == {"new", "filed"}
    assert await bench.states() == first


@pytest.mark.parametrize(
    "held", [{"why": "sampled for review"}, {"why": "review only"}, {"version_hash": "an older one"}, {"pipeline": "b"}]
)
async def test_what_cannot_be_filed_takes_no_place_of_what_can_however_much_it_is(
    bench: Bench, held: dict[str, str]
) -> None:
    await bench.trust()
    await bench.say("older", began="2026-05-01T10:00:00Z")
    await bench.examine("older")
    [row] = [one for one in await bench.rows() if one["call_id"] == "older"]
    copies = [{**row, **held, "id": f"{number:032x}", "call_id": f"held-{number}"} for number in range(2000)]
    gone = tables.findings.delete().where(tables.findings.c.id == row["id"])
    await bench.ledger.write(lambda it: it.execute(gone) and None)
    await bench.ledger.write(lambda it: it.execute(tables.findings.insert(), copies) and None)
    await bench.say("fresh")
    await bench.run("fresh")

    [fresh] = await bench.ledger.read(lambda it: findings.listed(it, bench.ledger, Wanted(call_id="fresh")))
    assert fresh["state"] == "filed"


async def test_all_that_waits_for_a_person_is_counted_once_its_incident_is_muted(bench: Bench) -> None:
    bench.spec = spec_of(detect="")
    await bench.say("first")
    _, [found] = await bench.examine("first")
    await bench.ledger.write(
        partial(incidents.mute, ledger=bench.ledger, fingerprint=found.fingerprint, how="always", why="known")
    )
    await bench.run("first")

    assert await bench.states() == {"first": "counted"}


async def test_an_open_issue_that_is_very_alike_is_joined_and_says_why(bench: Bench) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("first")
    await bench.run("first")

    assert [issue.id for issue in await bench.issues()] == [theirs.id]
    assert [flag.call_id for flag in await bench.flags(theirs)] == ["first"]
    assert "very alike" in (await bench.comments(theirs))[0]


async def test_the_comment_on_an_issue_that_is_joined_is_made_although_the_api_fails_at_first(bench: Bench) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("first")
    await settle_at_the_second_try(bench, "first")

    assert len(await bench.comments(theirs)) == 1
    assert [flag.call_id for flag in await bench.flags(theirs)] == ["first"]


async def test_a_comment_that_is_refused_keeps_no_incident_from_joining(bench: Bench) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("first")
    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    async with open_client(endpoints_to(Scripted(answers(400, {}), inner=transport, only=is_comment))) as client:
        await replace(bench, client=client, journal=None).run("first")

    assert [flag.call_id for flag in await bench.flags(theirs)] == ["first"]


def is_comment(request: httpx2.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/comments")


async def settle_at_the_second_try(bench: Bench, call_id: str) -> None:
    """The API is away when the first try makes a comment."""
    call, found = await bench.examine(call_id)
    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    away = [answers(503, {})] * 10
    async with open_client(endpoints_to(Scripted(*away, inner=transport, only=is_comment))) as client:
        with pytest.raises(ServerFailure) as failed:
            await settle(replace(bench, client=client, journal=None).filer, call, found)
    assert may_be_repeated(failed.value)
    await settle(bench.filer, call, found)


async def test_an_issue_that_is_only_alike_is_linked(bench: Bench) -> None:
    title = "Wrong opening hours and days told to callers"
    theirs = await bench.client.send(CreateIssue(title=title, severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("first")
    await bench.run("first")

    ours = (await bench.issues())[1]
    [link] = (await bench.client.send(ListRelations(issue_id=ours.id))).items
    assert (link.related_issue_id, link.relation_type) == (theirs.id, "related_to")


async def test_beyond_the_limit_of_new_issues_findings_stay_new(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 2")
    await bench.trust()
    for number in range(4):
        await bench.say(f"call-{number}", metadata={"branch": f"number {number}"})
    await bench.run(*(f"call-{number}" for number in range(4)))
    first = sorted((await bench.states()).values())
    bench.run_id = "run-2"
    await bench.run("call-2", "call-3")

    assert first == ["filed", "filed", "new", "new"]
    assert len(await bench.issues()) == 4


async def test_beyond_the_limit_what_has_an_issue_and_what_is_accepted_is_filed(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    for number, branch in enumerate(["north", "south", "west", "north"]):
        await bench.say(f"call-{number}", metadata={"branch": branch})
    await bench.run("call-0")
    found = [one for name in ("call-1", "call-2", "call-3") for one in (await bench.examine(name))[1]]
    await accept_all(bench.ledger, "call-2")
    filer = bench.filer
    due = await filer.waiting([one.fingerprint for one in found])
    for fingerprint in due:
        await filer.settle(fingerprint)
    await filer.finish()

    assert due == [one.fingerprint for one in found[1:]]
    assert await bench.states() == {"call-0": "filed", "call-1": "new", "call-2": "filed", "call-3": "filed"}
    assert "1 incident without an issue" in (filer.waits or "")


async def test_in_a_watch_a_new_issue_has_room_again_once_24_hours_are_over(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    filer = replace(bench.filer, is_watching=True)
    found = dict[str, Any]()
    for branch in ("north", "south"):
        await bench.say(branch, metadata={"branch": branch})
        found[branch] = await bench.examine(branch)
        await settle(filer, *found[branch])
    before = await bench.states()
    bench.clock.advance(hours=25)
    await settle(filer, *found["south"])

    assert before == {"north": "filed", "south": "new"}
    assert await bench.states() == {"north": "filed", "south": "filed"}


async def test_what_was_accepted_while_the_api_failed_is_filed_by_the_next_run_whatever_its_calls(bench: Bench) -> None:
    bench.spec = spec_of('file = "review"')
    for number in range(2):
        await bench.say(f"call-{number}")
        await bench.examine(f"call-{number}")
    await accept_all(bench.ledger, "call-1")
    await bench.filer.finish()

    assert await bench.states() == {"call-0": "new", "call-1": "filed"}


async def test_what_waits_at_the_limit_of_new_issues_is_filed_by_a_watch_as_soon_as_there_is_room(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    watch = replace(bench.filer, is_watching=True)
    for branch in ("north", "south", "west"):
        bench.clock.advance(minutes=1)
        await bench.say(branch, metadata={"branch": branch})
        await settle(watch, *await bench.examine(branch))
    await watch.file_left()
    full = await bench.states()
    bench.clock.advance(hours=25)
    await bench.filer.finish()  # a run's own end
    run = await bench.states()
    await watch.file_left()

    assert full == run == {"north": "filed", "south": "new", "west": "new"}
    assert await bench.states() == {"north": "filed", "south": "new", "west": "filed"}  # the newest comes first


async def test_findings_that_wait_for_a_person_do_not_keep_a_watch_from_those_that_do_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "MOST_WAITING", 1)
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    ours = bench.rule
    watch = replace(bench.filer, is_watching=True)
    for branch in ("north", "south", "west"):
        bench.clock.advance(minutes=1)
        if branch == "west":  # the newest finding is of a version without verdicts
            bench.rule = replace(ours, version_hash="another")
        await bench.say(branch, metadata={"branch": branch})
        await settle(watch, *await bench.examine(branch))
    run = bench.filer
    await run.finish()
    bench.clock.advance(hours=25)
    await watch.file_left()

    assert "1 incident without an issue" in (run.waits or "")
    assert await bench.states() == {"north": "filed", "south": "filed", "west": "new"}


async def test_an_incident_waits_whose_merged_one_waits_or_which_another_pipeline_found_first(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    ours, found = bench.spec, dict[str, Verified]()
    for branch in ("north", "south", "west", "east"):
        await bench.say(branch, metadata={"branch": branch})
    await bench.run("west")
    bench.spec = parse_spec('name = "other"\n[[detect]]\nuse = "wrong_hours"\n')
    await bench.examine("east")
    bench.spec = ours
    await bench.say("later", metadata={"branch": "east"})
    for call_id in ("north", "south", "later"):
        _, [found[call_id]] = await bench.examine(call_id)
    merged, owner = found["north"], found["south"]
    merge = partial(incidents.merge, ledger=bench.ledger, fingerprint=merged.fingerprint, into=owner.fingerprint)
    await bench.ledger.write(partial(merge, why="one fault"))
    dismissed = partial(findings.set_state, ids=[owner.finding_id], state="dismissed", why="wrong")
    await bench.ledger.write(partial(dismissed, ledger=bench.ledger))
    filer = bench.filer
    await filer.finish()

    assert "2 incidents without an issue" in (filer.waits or "")


async def test_a_finding_left_over_that_is_refused_holds_up_no_other(bench: Bench) -> None:
    bench.spec = spec_of('file = "review"')
    for branch in ("north", "south"):
        await bench.say(branch, metadata={"branch": branch})
        await bench.examine(branch)
    await accept_all(bench.ledger, "north")
    await accept_all(bench.ledger, "south")

    def is_first(request: httpx2.Request) -> bool:
        return request.method == "POST" and b"north" in request.content and request.url.path.endswith("/issues")

    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    way = Scripted(answers(400, {"error": "no"}), inner=transport, only=is_first)
    async with open_client(endpoints_to(way)) as refused:
        await replace(bench, client=refused, journal=None).filer.finish()

    assert way.writes
    assert await bench.states() == {"north": "accepted", "south": "filed"}


async def test_beyond_the_evidence_that_an_issue_may_hold_calls_are_counted_and_told_once_a_day(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 2")
    await bench.trust()
    for number in range(5):
        await bench.say(f"call-{number}")
    filer = bench.filer
    for number in range(5):
        await settle(filer, *await bench.examine(f"call-{number}"))
    [issue] = await bench.issues()
    during = await bench.comments(issue)
    await filer.finish()
    await filer.finish()
    bench.clock.advance(days=1)
    await bench.say("call-5")
    await bench.run("call-5")

    assert len(await bench.flags(issue)) == 2
    assert during == []
    told = await bench.comments(issue)
    assert [text.split(" since")[0] for text in told] == ["Found in 3 more calls", "Found in 1 more call"]


async def test_calls_that_another_process_counted_and_did_not_tell_are_told_by_a_run_on_a_later_day(
    bench: Bench,
) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 2")
    await bench.trust()
    for number in range(5):
        await bench.say(f"call-{number}")
    await bench.run(*(f"call-{number}" for number in range(5)))  # each by a filer that does not finish
    [issue] = await bench.issues()
    await bench.filer.finish()
    same_day = await bench.comments(issue)
    bench.clock.advance(hours=25)
    await bench.filer.finish()
    await bench.filer.finish()

    assert same_day == []
    [told] = await bench.comments(issue)
    assert told.startswith("Found in 3 more calls since ")


async def test_calls_attached_after_an_issue_came_back_or_was_followed_are_not_told_as_further_ones(
    bench: Bench,
) -> None:
    bench.spec = spec_of(more=f'[issues]\n{ALONE}\nmax_evidence = 2\nreopen_within = "30d"')
    await bench.trust()

    async def two_more(name: str) -> None:
        filer = bench.filer
        for number in range(2):
            await bench.say(f"{name}-{number}")
            await settle(filer, *await bench.examine(f"{name}-{number}"))
        await filer.finish()

    await two_more("first")
    for name, days in (("again", 2), ("followed", 60)):
        [*_, issue] = await bench.issues()
        bench.clock.advance(hours=1)
        await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))
        bench.clock.advance(days=days)
        await two_more(name)

    first, second = await bench.issues()
    told = [*await bench.comments(first), *await bench.comments(second)]
    assert set((await bench.states()).values()) == {"filed"}
    assert [text for text in told if text.startswith("Found in")] == []
    await bench.say("further")
    filer = bench.filer
    await settle(filer, *await bench.examine("further"))
    await filer.finish()
    assert [text.split(" since")[0] for text in await bench.comments(second)] == ["Found in 1 more call"]


async def test_what_is_attached_to_the_issue_of_a_merged_incident_is_not_told_as_further_calls(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 2")
    await bench.trust()
    found = dict[str, str]()
    for branch in ("north", "south"):
        filer = bench.filer
        for number in range(3):
            await bench.say(f"{branch}-{number}", metadata={"branch": branch})
            call, [one] = await bench.examine(f"{branch}-{number}")
            found[branch] = one.fingerprint
            await settle(filer, call, [one])
        await filer.finish()
    bench.clock.advance(days=1)
    north, south = found["north"], found["south"]
    await bench.ledger.write(lambda it: incidents.merge(it, bench.ledger, south, north, "one fault"))
    filer = bench.filer
    await bench.say("south-3", metadata={"branch": "south"})
    await settle(filer, *await bench.examine("south-3"))
    await filer.finish()

    first, second = await bench.issues()
    assert [text.split(" since")[0] for text in await bench.comments(first)] == ["Found in 1 more call"] * 2
    assert [text.split(" since")[0] for text in await bench.comments(second)] == ["Found in 1 more call"]


async def one_attached_and_one_counted(bench: Bench, calls: int) -> None:
    """So many calls with the fault, of which two were examined: their issue may hold one."""
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for number in range(calls):
        await bench.say(f"call-{number}")
    await bench.run("call-0", "call-1")


async def test_each_name_of_a_merged_incident_is_filed_so_that_each_of_its_calls_hears_of_a_failure(
    bench: Bench,
) -> None:
    await bench.trust()
    names = list[str]()
    for branch in ("north", "south"):
        await bench.say(branch, metadata={"branch": branch})
        _, [found] = await bench.examine(branch)
        names.append(found.fingerprint)
    await bench.ledger.write(lambda it: incidents.merge(it, bench.ledger, names[0], names[1], "one fault"))

    filer = bench.filer
    assert await filer.waiting(names) == names
    for name in names:
        await filer.settle(name)
    assert await filer.waiting(names) == []
    [issue] = await bench.issues()
    assert len(await bench.flags(issue)) == 2


async def test_numbers_that_an_earlier_version_noted_are_not_told_from(bench: Bench) -> None:
    await one_attached_and_one_counted(bench, calls=3)
    counted = tables.findings.c.state == "counted"
    await bench.ledger.write(lambda it: it.execute(tables.findings.update().where(counted).values(issue_id=None)))
    was = {"commented_on": "- 2026-05-06 1"}
    await bench.ledger.write(lambda it: it.execute(tables.incidents.update().values(**was)))
    filer = bench.filer
    await settle(filer, *await bench.examine("call-2"))
    await filer.finish()

    [issue] = await bench.issues()
    assert [text.split(" since")[0] for text in await bench.comments(issue)] == ["Found in 1 more call"]


async def test_a_comment_on_further_calls_with_unknown_outcome_tells_each_call_once(bench: Bench) -> None:
    await one_attached_and_one_counted(bench, calls=4)

    def is_of_comments(request: httpx2.Request) -> bool:
        return b"Found in" in request.content or ("/activity" in request.url.path and bool(way.requests))

    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    away = [fails(httpx2.ConnectError)] * 50
    way = Scripted(loses_the_answer(), *away, inner=transport, only=is_of_comments)
    async with open_client(endpoints_to(way)) as cut:
        filer = replace(bench, client=cut, journal=None).filer
        await settle(filer, *await bench.examine("call-2"))
        await filer.finish()
    assert way.writes
    filer = bench.filer
    await settle(filer, *await bench.examine("call-3"))
    await filer.finish()
    bench.clock.advance(days=1)
    await bench.filer.finish()

    [issue] = await bench.issues()
    told = [text.split(" since")[0] for text in await bench.comments(issue)]
    assert told == ["Found in 2 more calls", "Found in 1 more call"]


async def test_quiet_issues_are_told_however_many_others_are_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "MOST_LEFT", 1)
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for name in ("quiet", "told"):
        filer = bench.filer
        for number in range(2):
            await bench.say(f"{name}-{number}", metadata={"branch": name})
            await settle(filer, *await bench.examine(f"{name}-{number}"))
        if name == "told":
            await filer.finish()
    bench.clock.advance(days=2)
    await bench.filer.tell_left()
    await bench.filer.tell_left()

    for issue in await bench.issues():
        assert [text.split(" since")[0] for text in await bench.comments(issue)] == ["Found in 1 more call"]


async def test_issues_with_nothing_to_tell_do_not_keep_others_from_being_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "MOST_LEFT", 1)
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for name in ("nothing", "quiet"):
        for number in range(2):
            await bench.say(f"{name}-{number}", metadata={"branch": name})
            await settle(bench.filer, *await bench.examine(f"{name}-{number}"))
        bench.clock.advance(hours=1)
    nothing, quiet = await bench.issues()
    is_its = tables.incidents.c.issue_id == nothing.id
    told = f"{bench.clock() - timedelta(days=1):%Y-%m-%d} - 1 1 {nothing.id}"  # its one counted call was told
    change = tables.incidents.update().where(is_its).values(commented_on=told)
    await bench.ledger.write(lambda it: it.execute(change) and None)
    bench.clock.advance(days=2)
    await bench.filer.tell_left()
    await bench.filer.tell_left()

    assert await bench.comments(nothing) == []
    assert len(await bench.comments(quiet)) == 1


async def test_the_comment_on_an_incident_that_was_merged_meanwhile_waits_for_the_turn_of_the_other(
    bench: Bench,
) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    filers, found = dict[str, Filer](), dict[str, str]()
    for branch in ("north", "south"):
        for number in range(2):
            await bench.say(f"{branch}-{number}", metadata={"branch": branch})
            call, [one] = await bench.examine(f"{branch}-{number}")
            found[branch], filer = one.fingerprint, filers.setdefault(branch, bench.filer)
            await settle(filer, call, [one])
    north, south = found["north"], found["south"]
    await bench.ledger.write(lambda it: incidents.merge(it, bench.ledger, north, south, "one fault"))
    (_, issue), during = await bench.issues(), list[str]()
    held, told = anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with alone(bench.ledger, f"incident {south}"):
            held.set()
            await told.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await held.wait()
        with anyio.move_on_after(1.0):
            await filers["north"].tell_counts()
        during += await bench.comments(issue)
        told.set()
    await filers["north"].tell_counts()

    assert during == []
    assert [text.split(" since")[0] for text in await bench.comments(issue)] == ["Found in 1 more call"]


async def test_an_issue_that_a_person_deleted_holds_up_no_comment_on_others(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for branch in ("north", "south"):
        for number in range(2):
            await bench.say(f"{branch}-{number}", metadata={"branch": branch})
            await bench.run(f"{branch}-{number}")
    north, south = await bench.issues()
    await bench.client.send(DeleteIssue(issue_id=south.id))
    bench.clock.advance(hours=25)
    await bench.filer.finish()

    [told] = await bench.comments(north)
    assert told.startswith("Found in 1 more call since ")


async def test_findings_that_wait_for_a_person_are_not_told_as_counted(bench: Bench) -> None:
    bench.spec = spec_of('file = "review"', "[issues]\nmax_evidence = 2")
    for number in range(6):
        await bench.say(f"call-{number}")
    await accept(bench, "call-0", "call-1", "call-2", "call-3")
    await bench.examine("call-4")
    await bench.examine("call-5")
    [issue] = await bench.issues()
    filer = bench.filer
    call, found = await bench.examine("call-3")
    await accept_all(bench.ledger, "call-3")
    await settle(filer, call, found)
    await filer.tell_counts()

    [told] = await bench.comments(issue)
    assert told.startswith("Found in 2 more calls since ")
    assert "; 4 calls in all" in told


async def test_a_muted_incident_only_counts_until_it_escalates(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0")
    call, [found] = await bench.examine("call-0")
    await bench.ledger.write(
        lambda it: incidents.mute(it, bench.ledger, found.fingerprint, "until_escalating", "known")
    )
    await settle(bench.filer, call, [found])
    quiet = await bench.states()
    for number in range(1, 5):
        await bench.say(f"call-{number}")
    await bench.run(*(f"call-{number}" for number in range(1, 5)))

    assert quiet == {"call-0": "counted"}
    [issue] = await bench.issues()
    assert len(await bench.flags(issue)) == 5


async def test_an_incident_that_is_unmuted_since_it_escalates_is_told_by_one_event(bench: Bench) -> None:
    await bench.trust()
    for number in range(5):
        await bench.say(f"call-{number}")
    examined = [await bench.examine(f"call-{number}") for number in range(5)]
    name = examined[0][1][0].fingerprint
    await bench.ledger.write(lambda it: incidents.mute(it, bench.ledger, name, "until_escalating", "known"))
    bench.alerts = heard = Heard()
    await bench.filer.settle(name)
    await bench.filer.spikes.tell([name])

    assert heard.named == [("escalating", f"escalating {name}"), ("spike", f"escalating {name}")]


class Unread(Ledger):
    """A ledger that nobody may read."""

    async def read(self, query: Callable[[Connection], T]) -> T:
        raise AssertionError(query)


async def test_without_alerts_nothing_is_counted_to_tell_of_spikes(bench: Bench, tmp_path: Path) -> None:
    bench.ledger = Unread(tmp_path / "unread", "account", clock=bench.clock)
    await bench.filer.spikes.tell(["v1:abc"])


async def test_an_issue_that_a_person_deleted_is_not_filed_again(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    [issue] = await bench.issues()
    await bench.client.send(DeleteIssue(issue_id=issue.id))
    await bench.say("call-1")
    await bench.run("call-1", "call-0")

    assert await bench.issues() == []
    [row] = await bench.ledger.read(lambda it: incidents.listed(it, bench.ledger, muted=True))
    assert row["muted_why"] == "its issue was deleted"


async def test_a_finding_that_a_person_accepts_gets_a_new_issue_where_the_first_was_deleted(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    for number in (1, 2):
        [issue] = await bench.issues()
        await bench.client.send(DeleteIssue(issue_id=issue.id))
        await bench.say(f"call-{number}")
        await accept(bench, f"call-{number}")

    [issue] = await bench.issues()
    assert [flag.call_id for flag in await bench.flags(issue)] == ["call-2"]
    assert await bench.states() == {"call-0": "filed", "call-1": "filed", "call-2": "filed"}


async def test_an_incident_whose_issue_was_deleted_is_filed_anew_once_it_is_unmuted(bench: Bench) -> None:
    await deleted_issue(bench)
    await bench.run("call-2")

    [issue] = await bench.issues()
    assert [flag.call_id for flag in await bench.flags(issue)] == ["call-2"]


async def unmute(bench: Bench, found: Verified) -> None:
    await bench.ledger.write(partial(incidents.unmute, ledger=bench.ledger, fingerprint=found.fingerprint))


async def lose_issue(bench: Bench, found: Verified) -> None:
    """A process ended after it created the incident's issue and before the incident had it."""
    lose = partial(incidents.change, ledger=bench.ledger, fingerprint=found.fingerprint, **incidents.NO_ISSUE)
    await bench.ledger.write(lose)


async def cut_off(bench: Bench, found: Sequence[Verified], follows: Issue) -> None:
    """A process was killed while it created the issue after a deleted one."""
    fingerprint = found[0].fingerprint
    request = {"title": "Wrong hours", "source": "automated", "category": "Dialogue", "severity": "medium"}
    begun = Effect(
        f"{fingerprint}:create_issue:{follows.id}", "create_issue", fingerprint, request, run_id=bench.run_id
    )
    await bench.ledger.write(partial(effects.begin, ledger=bench.ledger, several=[begun]))


async def deleted_issue(bench: Bench, more: str = "") -> Issue:
    """An issue with one call, which a person deleted; its incident is filed anew from now on."""
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n{more}")
    await bench.trust()
    for number in range(3):
        await bench.say(f"call-{number}")
    await bench.run("call-0")
    [issue] = await bench.issues()
    await bench.client.send(DeleteIssue(issue_id=issue.id))
    _, [found] = await bench.examine("call-1")
    await bench.run("call-1")
    await unmute(bench, found)
    return issue


async def test_an_attempt_to_create_an_issue_after_a_deleted_one_is_completed_and_joins_no_other(bench: Bench) -> None:
    deleted = await deleted_issue(bench)
    call, found = await bench.examine("call-2")
    await cut_off(bench, found, deleted)
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await settle(bench.filer, call, found)

    [ours] = [issue for issue in await bench.issues() if issue.id != theirs.id]
    assert ours.source == "automated"
    assert [flag.call_id for flag in await bench.flags(ours)] == ["call-2"]
    assert await bench.comments(theirs) == []


@pytest.mark.parametrize("is_begun", [False, True])
async def test_at_the_limit_the_issue_after_a_deleted_one_waits_unless_it_is_begun(
    bench: Bench, *, is_begun: bool
) -> None:
    deleted = await deleted_issue(bench, "[limits]\nnew_issues = 1")
    call, found = await bench.examine("call-2")
    if is_begun:
        await cut_off(bench, found, deleted)
    filer = bench.filer
    await settle(filer, call, found)
    await filer.finish()

    assert (await bench.states())["call-2"] == ("filed" if is_begun else "new")
    assert (filer.waits is None) is is_begun


async def test_a_process_that_ended_once_it_created_an_issue_leaves_it_to_the_next_which_looks_for_no_other(
    bench: Bench,
) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    await bench.say("call-0")
    call, found = await bench.examine("call-0")
    await settle(bench.filer, call, found)
    await lose_issue(bench, found[0])
    await bench.say("call-1")
    await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    asked = Scripted(inner=httpx2.ASGITransport(bench.desk, raise_app_exceptions=False))
    async with open_client(endpoints_to(asked)) as client:
        await replace(bench, client=client).run("call-1")

    ours = (await bench.issues())[0]
    assert {flag.call_id for flag in await bench.flags(ours)} == {"call-0", "call-1"}
    assert [one for one in asked.requests if "search" in one.url.query.decode()] == []


async def test_an_issue_that_was_left_behind_and_closed_meanwhile_stays_closed(bench: Bench) -> None:
    issue = await closed_issue(bench)
    _, [found] = await bench.examine("call-0")
    await lose_issue(bench, found)
    await bench.say("before", began="2026-05-06T21:30:00Z")
    await bench.run("before")

    assert [(one.id, one.status) for one in await bench.issues()] == [(issue.id, "done")]
    assert (await bench.states())["before"] == "counted"


async def test_issues_that_were_deleted_one_after_another_are_known_by_their_order_and_not_by_clocks(
    bench: Bench,
) -> None:
    await bench.trust()
    for number in range(5):
        await bench.say(f"call-{number}")
    _, [found] = await bench.examine("call-0")
    bench.clock.advance(minutes=10)  # the first one's machine has a clock that is ahead
    await bench.run("call-0")
    bench.clock.advance(minutes=-10)
    for number in (1, 3):
        [issue] = await bench.issues()
        await bench.client.send(DeleteIssue(issue_id=issue.id))
        await bench.run(f"call-{number}")
        await unmute(bench, found)
        await bench.run(f"call-{number + 1}")

    assert len(await bench.issues()) == 1
    assert (await bench.states())["call-4"] == "filed"


async def test_a_deleted_issue_that_followed_a_closed_one_is_followed_by_another_one(bench: Bench) -> None:
    first = await closed_issue(bench)
    _, [found] = await bench.examine("call-0")
    bench.clock.advance(days=40)
    await bench.say("call-1")
    await bench.run("call-1")
    [second] = [one for one in await bench.issues() if one.id != first.id]
    await bench.client.send(DeleteIssue(issue_id=second.id))
    await bench.say("call-2")
    await bench.run("call-2")
    await unmute(bench, found)
    for number in (3, 4):
        await bench.say(f"call-{number}")
        await bench.run(f"call-{number}")

    [third] = [one for one in await bench.issues() if one.id != first.id]
    assert {flag.call_id for flag in await bench.flags(third)} == {"call-3", "call-4"}
    assert [flag.call_id for flag in await bench.flags(first)] == ["call-0"]


async def test_a_joined_issue_that_was_closed_long_ago_is_followed_by_one_that_is_there(bench: Bench) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    _, [found] = await bench.examine("call-0")

    async def close_and_wait() -> None:
        bench.clock.advance(hours=1)
        await bench.client.send(UpdateIssue(issue_id=theirs.id, status="done"))
        bench.clock.advance(days=40)

    async def later(name: str) -> None:
        await bench.say(name)
        await bench.run(name)

    await close_and_wait()
    await later("call-1")
    [second] = [one for one in await bench.issues() if one.id != theirs.id]
    await bench.client.send(DeleteIssue(issue_id=second.id))
    await later("call-2")
    await unmute(bench, found)
    await bench.client.send(UpdateIssue(issue_id=theirs.id, status="todo"))
    await later("call-3")
    await close_and_wait()
    await later("call-4")

    [third] = [one for one in await bench.issues() if one.id != theirs.id]
    assert [flag.call_id for flag in await bench.flags(third)] == ["call-4"]


async def test_an_incident_whose_issue_was_refused_joins_one_that_a_person_files_for_it(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0")
    _, [found] = await bench.examine("call-0")
    refused = Effect(f"{found.fingerprint}:create_issue", "create_issue", found.fingerprint, {"title": "Wrong hours"})
    await bench.ledger.write(partial(effects.begin, ledger=bench.ledger, several=[refused]))
    await bench.ledger.write(partial(effects.end, ledger=bench.ledger, key=refused.key, state="refused"))
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.say("other", metadata={"branch": "south"})
    await bench.run("other")
    filer = bench.filer
    await filer.finish()
    assert filer.waits is None  # to raise the limit would file nothing
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.run("call-0")

    assert [flag.call_id for flag in await bench.flags(theirs)] == ["call-0"]


async def test_an_incident_whose_last_issue_cannot_be_read_holds_up_no_other(bench: Bench) -> None:
    deleted = await deleted_issue(bench, "[limits]\nnew_issues = 1")
    _, [lost] = await bench.examine("call-2")
    await bench.say("north", metadata={"branch": "north"})
    _, [accepted] = await bench.examine("north")
    await accept_all(bench.ledger, "north")
    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    way = Scripted(answers(410, {"error": "gone"}), inner=transport, only=lambda it: it.url.path.endswith(deleted.id))
    async with open_client(endpoints_to(way)) as client:
        filer = replace(bench, client=client, journal=None).filer
        due = await filer.waiting([lost.fingerprint, accepted.fingerprint])
        await filer.finish()

    assert accepted.fingerprint in due
    assert await bench.states() == {"call-0": "filed", "call-1": "counted", "call-2": "new", "north": "filed"}


async def test_an_incident_that_joined_an_issue_which_was_deleted_joins_no_longer(bench: Bench) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    for number in range(2):
        await bench.say(f"call-{number}")
    await bench.run("call-0")
    await bench.client.send(DeleteIssue(issue_id=theirs.id))
    await accept(bench, "call-1")

    [row] = await bench.ledger.read(lambda it: incidents.listed(it, bench.ledger, muted=True))
    assert (row["state"], row["joined_because"]) == ("filed", None)


# A fault that comes back


async def closed_issue(bench: Bench) -> Any:
    """An issue with one call that a person has closed."""
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    [issue] = await bench.issues()
    bench.clock.advance(hours=1)
    return await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))


async def test_a_call_that_began_before_the_issue_was_closed_or_soon_after_does_not_reopen_it(bench: Bench) -> None:
    closed = await closed_issue(bench)
    await bench.say("before", began="2026-05-06T21:30:00Z")
    bench.clock.advance(minutes=30)
    await bench.say("soon-after")
    await bench.run("before", "soon-after")

    [issue] = await bench.issues()
    assert (issue.id, issue.status) == (closed.id, "done")
    assert await bench.states() == {"call-0": "filed", "before": "counted", "soon-after": "counted"}


async def closed_twice(bench: Bench) -> Issue:
    """A closed issue whose fault was found within the grace hour, which a person opened, worked on and closed again. The
    call `before` began two hours before that."""
    issue = await closed_issue(bench)
    bench.clock.advance(minutes=30)
    await bench.say("in-grace")
    await bench.run("in-grace")
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="todo"))
    bench.clock.advance(days=2)
    await bench.say("before")
    bench.clock.advance(hours=2)
    return await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))


async def test_a_call_from_before_the_latest_closing_does_not_reopen_an_issue_that_was_closed_before(
    bench: Bench,
) -> None:
    await closed_twice(bench)
    await bench.run("before")
    bench.clock.advance(minutes=30)
    await bench.say("in-grace-again")
    await bench.run("in-grace-again")

    assert [issue.status for issue in await bench.issues()] == ["done"]
    whys = {row["call_id"]: row["why"] for row in await bench.rows()}
    assert (whys["before"], whys["in-grace-again"]) == (BEFORE_CLOSING, IN_GRACE)


async def test_a_call_from_after_the_latest_closing_reopens_the_issue_and_tells_of_that_closing(bench: Bench) -> None:
    issue = await closed_twice(bench)
    bench.clock.advance(hours=3)
    await bench.say("later")
    await bench.run("before", "later")

    assert [one.status for one in await bench.issues()] == ["todo"]
    assert issue.updated_at[:16] in (await bench.comments(issue))[-1]


async def test_the_history_of_a_closed_issue_is_read_again_only_where_it_changed(bench: Bench) -> None:
    transport = Scripted(inner=httpx2.ASGITransport(bench.desk, raise_app_exceptions=False))
    await closed_twice(bench)
    names = [f"grace-{number}" for number in range(6)]
    for name in names:
        await bench.say(name)
    read = list[int]()
    async with open_client(endpoints_to(transport)) as client:
        one = replace(bench, client=client, journal=None)
        filer = one.filer
        for name in names:
            await settle(filer, *await one.examine(name))
            read.append(len([1 for asked in transport.requests if asked.url.path.endswith("/activity")]))
            if name == "grace-3":
                await bench.client.send(AddComment(issue_id=(await bench.issues())[0].id, detail="Is it gone?"))

    assert read == [1, 1, 1, 1, 2, 2]


async def accept(bench: Bench, *call_ids: str) -> None:
    """A person accepts what was found in these calls."""
    for call_id in call_ids:
        call, found = await bench.examine(call_id)
        ids = [one.finding_id for one in found]
        await bench.ledger.write(partial(findings.set_state, ledger=bench.ledger, ids=ids, state="accepted", why=None))
        await settle(bench.filer, call, found)


async def test_an_accepted_finding_from_before_becomes_evidence_of_the_issue_which_stays_closed(bench: Bench) -> None:
    closed = await closed_issue(bench)
    await bench.say("before", began="2026-05-06T21:30:00Z")
    bench.clock.advance(minutes=30)
    await bench.say("soon-after")
    await accept(bench, "before", "soon-after")

    [issue] = await bench.issues()
    assert (issue.id, issue.status) == (closed.id, "done")
    assert await bench.states() == {"call-0": "filed", "before": "filed", "soon-after": "filed"}
    assert {flag.call_id for flag in await bench.flags(issue)} == {"call-0", "before", "soon-after"}
    assert await bench.comments(issue) == []


async def test_of_findings_from_before_and_after_the_comment_counts_those_from_after(bench: Bench) -> None:
    await closed_issue(bench)
    await bench.say("before", began="2026-05-06T21:30:00Z")
    bench.clock.advance(hours=2)
    await bench.say("later")
    await bench.examine("before")
    before = [row["id"] for row in await bench.rows() if row["call_id"] == "before"]
    await bench.ledger.write(partial(findings.set_state, ledger=bench.ledger, ids=before, state="accepted", why=None))
    await bench.run("later")

    [issue] = await bench.issues()
    [told] = await bench.comments(issue)
    assert (issue.status, await bench.states()) == ("todo", {"call-0": "filed", "before": "filed", "later": "filed"})
    assert "in 1 call begun after" in told
    assert "the first at 2026-05-07T00:" in told


async def test_what_does_not_reopen_an_issue_says_why(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0", metadata={"agent_version": "1.9"})
    await bench.run("call-0")
    [issue] = await bench.issues()
    bench.clock.advance(hours=1)
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))
    await bench.say("before", began="2026-05-06T21:30:00Z")
    bench.clock.advance(minutes=30)
    await bench.say("soon-after")
    bench.clock.advance(hours=2)
    await bench.say("same-agent", metadata={"agent_version": "1.9"})
    await bench.run("before", "soon-after", "same-agent")

    why = {row["call_id"]: row["why"] for row in await bench.rows() if row["state"] == "counted"}
    assert why == {"before": BEFORE_CLOSING, "soon-after": IN_GRACE, "same-agent": SAME_AGENT}


async def test_a_call_that_began_later_reopens_it_once_and_says_so(bench: Bench) -> None:
    await closed_issue(bench)
    bench.clock.advance(hours=2)
    for name in ("later", "later-still"):
        await bench.say(name)
    await bench.run("later", "later-still")

    [issue] = await bench.issues()
    assert issue.status == "todo"
    assert len(await bench.flags(issue)) == 3
    assert ["This came back" in text for text in await bench.comments(issue)] == [True]


async def test_the_comment_on_an_issue_that_came_back_is_made_although_the_api_fails_at_first(bench: Bench) -> None:
    issue = await closed_issue(bench)
    bench.clock.advance(hours=5)
    await bench.say("later")
    await settle_at_the_second_try(bench, "later")

    assert [one.status for one in await bench.issues()] == ["todo"]
    assert len(await bench.comments(issue)) == 1


async def test_an_issue_that_came_back_gathers_evidence_and_is_told_although_the_answer_was_lost(bench: Bench) -> None:
    bench.alerts = heard = Heard()
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await closed_issue(bench)
    bench.clock.advance(hours=5)
    await bench.say("later")
    call, found = await bench.examine("later")
    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    lost = [loses_the_answer(), *[answers(503, {})] * 20]
    is_after = False

    def from_the_change_on(request: httpx2.Request) -> bool:
        nonlocal is_after
        is_after |= request.method == "PATCH"
        return is_after

    async with open_client(endpoints_to(Scripted(*lost, inner=transport, only=from_the_change_on))) as client:
        with pytest.raises(CallError) as failed:
            await settle(replace(bench, client=client, journal=None).filer, call, found)
    assert may_be_repeated(failed.value)
    await settle(bench.filer, call, found)

    assert heard.events == ["filed", "reopened"]
    assert await bench.states() == {"call-0": "filed", "later": "filed"}


async def test_an_issue_left_behind_tells_of_no_limit(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    _, [found] = await bench.examine("call-0")
    await lose_issue(bench, found)
    await bench.say("call-1")
    await bench.examine("call-1")
    bench.alerts = heard = Heard()
    filer = bench.filer
    for name in await filer.waiting([found.fingerprint]):
        await filer.settle(name)
    await filer.finish()

    assert (heard.events, filer.waits) == (["filed"], None)
    assert await bench.states() == {"call-0": "filed", "call-1": "filed"}


@dataclass
class Heard:
    """Hears of events."""

    events: list[str] = field(default_factory=list[str])
    named: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def tell(self, what: str, event: str, incident: JsonObject, *, lasts: bool = False) -> None:
        self.events.append(what)
        self.named += [(what, event)] if what in ("escalating", "spike") else []


async def test_an_old_version_of_the_agent_does_not_reopen_it_and_a_newer_one_does(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0", metadata={"agent_version": "1.9"})
    await bench.run("call-0")
    [issue] = await bench.issues()
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))
    bench.clock.advance(hours=2)
    await bench.say("old", metadata={"agent_version": "1.9"})
    await bench.run("old")
    [after_old] = await bench.issues()
    await bench.say("new", metadata={"agent_version": "1.10"})
    await bench.run("new")

    [after_new] = await bench.issues()
    assert (after_old.status, after_new.status) == ("done", "todo")


async def test_the_first_later_call_reopens_it_where_the_agent_is_newer(bench: Bench) -> None:
    await bench.trust()
    await bench.say("call-0", metadata={"agent_version": "1.9"})
    await bench.run("call-0")
    [issue] = await bench.issues()
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))
    bench.clock.advance(hours=2)
    await bench.say("new", metadata={"agent_version": "1.10"})
    await bench.run("new")

    assert [one.status for one in await bench.issues()] == ["todo"]


async def test_an_issue_that_was_closed_long_ago_is_followed_by_a_new_one(bench: Bench) -> None:
    closed = await closed_issue(bench)
    bench.clock.advance(days=40)
    await bench.say("later")
    await bench.run("later")
    await bench.run("later")

    old, new = await bench.issues()
    [link] = (await bench.client.send(ListRelations(issue_id=new.id))).items
    assert (old.id, old.status, link.related_issue_id) == (closed.id, "done", closed.id)
    assert f"Follows {closed.triage_id}, which was closed at 2026-05-0" in new.description
    assert "the first at 2026-06-1" in new.description
    assert "First call" not in new.description


async def test_an_issue_that_was_closed_as_expected_stays_closed(bench: Bench) -> None:
    await bench.trust()
    for name in ("call-0", "call-1"):
        await bench.say(name)
    await bench.run("call-0", "call-1")
    [row, *_] = await bench.ledger.read(lambda it: findings.listed(it, bench.ledger, findings.Wanted(call_id="call-1")))
    dismiss = partial(findings.set_state, ledger=bench.ledger, ids=[row["id"]], state="dismissed", why="expected")
    await bench.ledger.write(dismiss)
    [issue] = await bench.issues()
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="closed"))
    bench.clock.advance(hours=2)
    await bench.say("later")
    await bench.run("later")

    assert [one.status for one in await bench.issues()] == ["closed"]
    assert (await bench.states())["later"] == "counted"
    await accept(bench, "later")
    assert [one.status for one in await bench.issues()] == ["todo"]
    assert (await bench.states())["later"] == "filed"


# A crash at any moment, a database that is lost


async def test_a_closed_issue_that_the_line_leads_back_to_is_reopened_before_it_gets_evidence(
    bench: Bench, tmp_path: Path
) -> None:
    issue = await closed_issue(bench)
    bench.clock.advance(days=1)
    async with opened_ledger(tmp_path / "empty") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.say("later")
        await bench.run("later")

    assert [(one.id, one.status) for one in await bench.issues()] == [(issue.id, "todo")]
    assert {flag.call_id for flag in await bench.flags(issue)} == {"call-0", "later"}


async def test_of_several_issues_of_an_incident_the_line_leads_back_to_the_open_one(
    bench: Bench, tmp_path: Path
) -> None:
    closed = await closed_issue(bench)
    bench.clock.advance(days=40)
    await bench.say("call-1")
    await bench.run("call-1")
    async with opened_ledger(tmp_path / "empty") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.say("call-2")
        await bench.run("call-2")

    [follows] = [one for one in await bench.issues() if one.id != closed.id]
    assert {flag.call_id for flag in await bench.flags(follows)} == {"call-1", "call-2"}


async def test_the_line_in_the_description_leads_back_to_the_issue_when_the_ledger_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    [issue] = await bench.issues()
    copied = CreateIssue(title="Copied", severity="low", category="Bug", description=issue.description)
    await bench.client.send(copied)  # not automated: its line counts for nothing
    async with opened_ledger(tmp_path / "another") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.say("call-1")
        await bench.run("call-1", "call-0")

        states = await bench.states()

    assert [one.title for one in await bench.issues()] == ["Wrong hours", "Copied"]
    assert [flag.call_id for flag in await bench.flags(issue)] == ["call-0", "call-1"]
    assert states == {"call-0": "filed", "call-1": "filed"}


async def test_a_note_of_somebody_else_that_names_a_finding_hides_no_flag(bench: Bench, tmp_path: Path) -> None:
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    [issue] = await bench.issues()
    await bench.say("call-1")
    _, [found] = await bench.examine("call-1")
    forged = AddFlag(issue_id=issue.id, call_id="call-0", type="x", note=f"mine [finding {found.finding_id}]")
    theirs = await bench.client.send(forged)
    by_another = flags.update().where(flags.c.id == theirs.id).values(author_id="another")
    await bench.desk.store.write(lambda connection: connection.execute(by_another) and None)
    async with opened_ledger(tmp_path / "another") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.run("call-1", "call-0")

    ours = [flag.call_id for flag in await bench.flags(issue) if flag.id != theirs.id]
    assert ours == ["call-0", "call-1"]


async def test_all_flags_are_known_again_when_the_ledger_is_lost_however_many_pages_they_fill(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.trust()
    await bench.say("last")
    await bench.run("last")
    [issue] = await bench.issues()
    [own] = await bench.flags(issue)
    async with anyio.create_task_group() as group:
        for number in range(105):
            other = AddFlag(issue_id=issue.id, call_id="last", type="x", note=f"a person's {number}")
            group.start_soon(bench.client.send, other)
    await bench.client.send(RemoveFlag(issue_id=issue.id, flag_id=own.id))
    await bench.client.send(AddFlag(issue_id=issue.id, call_id="last", type=own.type, note=own.note))  # the last of all
    async with opened_ledger(tmp_path / "another") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.run("last")

    assert (await bench.client.send(GetIssue(issue_id=issue.id))).flag_count == 106


async def test_an_issue_of_others_that_was_joined_is_told_and_flagged_once_although_the_ledger_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    theirs = await bench.client.send(CreateIssue(title="Wrong hours", severity="low", category="Dialogue"))
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    async with opened_ledger(tmp_path / "another") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.say("call-1")
        await bench.run("call-1", "call-0")

    assert len(await bench.comments(theirs)) == 1
    assert [flag.call_id for flag in await bench.flags(theirs)] == ["call-0", "call-1"]


async def test_a_line_with_a_seal_of_others_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    await bench.trust()
    await bench.say("call-0")
    await bench.run("call-0")
    [issue] = await bench.issues()
    forged = issue.description[:-5] + "AAAAA"
    other = CreateIssue(title="Forged", severity="low", category="Bug", description=forged, source="automated")
    await bench.client.send(other)
    await bench.client.send(DeleteIssue(issue_id=issue.id))
    async with opened_ledger(tmp_path / "another") as empty:
        empty.clock, bench.ledger, bench.journal = bench.clock, empty, None
        await bench.trust()
        await bench.run("call-0")

    assert [one.title for one in await bench.issues()] == ["Forged", "Wrong hours"]


class Crash(Exception):
    """The process ends here."""


class Crashing(Ledger):
    """A ledger whose process ends at a write: before it is on disk, or right after."""

    left = 0
    after = False

    async def write(self, change: Callable[[Connection], T], lane: str = "pipelines") -> T:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Crash
        done = await super().write(change, lane)
        if self.left == 0:
            raise Crash
        return done


@pytest.mark.slow
@pytest.mark.parametrize("with_journal", [True, False])
async def test_whenever_a_process_ends_the_next_one_files_once(
    the_desk: Desk, clock: Clock, tmp_path: Path, journal: Journal, with_journal: bool
) -> None:
    """Between any two commits of the ledger, with one issue, three flags and two comments to write."""
    requests = Scripted(inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 2")
    crashes = 0
    async with open_client(endpoints_to(requests), ledger=journal if with_journal else None) as client:
        for after in (False, True):
            for number in range(1, 60):
                branch = f"{'after' if after else 'before'} {number}"
                ledger = Crashing(tmp_path / "data", branch, clock=clock)  # an account of its own
                bench = Bench(the_desk, client, ledger, clock, spec, journal=journal if with_journal else None)
                ids = [f"{branch} {n}".replace(" ", "-") for n in range(3)]
                for name in ids:
                    await bench.say(name, metadata={"branch": branch})
                recorded = [await bench.examine(name) for name in ids]
                await accept_all(ledger)
                ledger.left, ledger.after = number, after
                try:
                    filer = bench.filer
                    for call, found in recorded:
                        await settle(filer, call, found)
                    await filer.finish()
                    ended = True
                except Crash:
                    ended, crashes = False, crashes + 1
                filer = bench.filer
                for call, found in recorded:
                    await settle(filer, call, found)
                await filer.finish()
                found_issues = [one for one in await bench.issues() if f"({branch})" in one.title]
                assert len(found_issues) == 1, branch
                assert len(await bench.flags(found_issues[0])) == 2, branch
                assert len(await bench.comments(found_issues[0])) <= 1, branch
                await ledger.close()
                if ended:
                    break
    assert crashes > 10


async def accept_all(ledger: Ledger, call_id: str | None = None) -> None:
    rows = await ledger.read(lambda it: findings.listed(it, ledger, findings.Wanted(call_id=call_id, limit=1000)))
    ids = [row["id"] for row in rows]
    await ledger.write(partial(findings.set_state, ledger=ledger, ids=ids, state="accepted", why=None))


@pytest.mark.parametrize("first", ["call-a", "call-b"])
async def test_a_flag_whose_answer_was_lost_keeps_its_place_where_another_finding_comes_before_it(
    bench: Bench, first: str
) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for name in ("call-a", "call-b"):
        await bench.say(name)
    transport = httpx2.ASGITransport(bench.desk, raise_app_exceptions=False)
    away = [fails(httpx2.ConnectError)] * 50
    way = Scripted(loses_the_answer(), *away, inner=transport, only=lambda it: it.url.path.endswith("/flags"))
    async with open_client(endpoints_to(way)) as cut:
        filer = replace(bench, client=cut, journal=None).filer
        with pytest.raises(CallError):
            await settle(filer, *await bench.examine(first))
    other = "call-b" if first == "call-a" else "call-a"
    await bench.run(other)

    [issue] = await bench.issues()
    assert [flag.call_id for flag in await bench.flags(issue)] == [first]
    assert await bench.states() == {first: "filed", other: "counted"}


async def test_an_incident_whose_own_issue_reached_the_limit_meanwhile_does_not_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\n[limits]\nnew_issues = 1")
    await bench.trust()
    for name in ("call-a", "call-b"):
        await bench.say(name)
    one, other = bench.filer, bench.filer
    goes, has_filed = anyio.Event(), anyio.Event()
    settle_in_turn, is_reached = one._settle_in_turn, other._new_issues.is_reached  # pyright: ignore[reportPrivateUsage]

    async def once_it_goes(*given: Any) -> None:
        await goes.wait()
        await settle_in_turn(*given)

    async def once_it_has_filed() -> bool:
        goes.set()
        await has_filed.wait()
        return await is_reached()

    monkeypatch.setattr(one, "_settle_in_turn", once_it_goes)
    monkeypatch.setattr(other._new_issues, "is_reached", once_it_has_filed)  # pyright: ignore[reportPrivateUsage]
    call_a, [found] = await bench.examine("call-a")

    async def file() -> None:
        await one.settle(found.fingerprint, {"call-a": call_a})
        has_filed.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file)
        await anyio.wait_all_tasks_blocked()
        call_b, _ = await bench.examine("call-b")
        for due in await other.waiting([found.fingerprint]):
            await other.settle(due, {"call-b": call_b})

    assert await bench.states() == {"call-a": "filed", "call-b": "filed"}


async def test_a_flag_that_the_api_refused_takes_no_place_among_the_evidence(bench: Bench) -> None:
    bench.spec = spec_of(more=f"[issues]\n{ALONE}\nmax_evidence = 1")
    await bench.trust()
    for name in ("call-a", "call-b"):
        await bench.say(name)
    await bench.run("call-b")
    [issue] = await bench.issues()
    examined = await bench.examine("call-a")
    [found] = examined[1]
    query = select(tables.findings.c.id).where(tables.findings.c.call_id == "call-a")
    finding_id = await bench.ledger.read(lambda it: it.execute(query).scalar_one())
    refused = Effect(f"{finding_id}:flag:{issue.id}", "add_flag", found.fingerprint, {})
    await bench.ledger.write(partial(effects.begin, ledger=bench.ledger, several=[refused]))
    await bench.ledger.write(partial(effects.end, ledger=bench.ledger, key=refused.key, state="refused"))
    await settle(bench.filer, *examined)

    links = await bench.client.send(ListResources(issue_id=issue.id))
    assert [link.resource_id for link in links.items] == ["call-b"]
    assert await bench.states() == {"call-a": "counted", "call-b": "filed"}
