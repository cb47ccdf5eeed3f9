"""A run that writes nothing: what it finds, what it counts, and what it says of a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import load_lines
from pipeline_lines import just_ended, silent_line

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError, SpecError
from calltriage.operations.issues import ListIssues
from calltriage.pipelines.examining import prepared
from calltriage.pipelines.listing import is_sampled
from calltriage.pipelines.pipeline import Estimate, Pipeline
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.tallies import Tally

SILENCE = """name = "quiet"
[[detect]]
use = "agent_silence"
at_least = "8s"
"""


def pipeline(text: str = SILENCE) -> Pipeline:
    return Pipeline(parse_spec(text))


async def test_a_dry_run_finds_moments_and_files_nothing(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5), silent_line("silent-2", 12), silent_line("quick", 1))
    tally = (await pipeline().run(client, dry_run=True)).tally
    silence = tally.detectors["agent_silence"]
    assert (tally.calls, silence.found_in, silence.findings, silence.unverified) == (5, 2, 2, 0)
    assert silence.not_offered == 2  # the two calls of each desk have no times
    assert {found.verified.call_id for found in silence.examples} == {"silent-1", "silent-2"}
    assert [one.calls for one in tally.incidents.values()] == [2]
    assert list((await client.send(ListIssues())).items) == []


async def test_one_call_can_be_looked_at_alone(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5), silent_line("silent-2", 12))
    tally = (await pipeline().run(client, call="silent-2", dry_run=True)).tally
    assert [found.verified.call_id for found in tally.detectors["agent_silence"].examples] == ["silent-2"]


async def test_a_call_that_is_gone_is_counted_as_skipped(client: Client) -> None:
    tally = (await pipeline().run(client, call="no-such-call", dry_run=True)).tally
    assert (tally.calls, tally.skipped) == (0, 1)


async def test_a_limit_takes_the_oldest_calls(the_desk: Desk, client: Client) -> None:
    await load_lines(
        the_desk, *(silent_line(f"silent-{n}", 9.5, created_at=f"2026-04-0{n}T10:00:00Z") for n in (3, 1, 2))
    )
    tally = (await pipeline().run(client, limit=2, dry_run=True)).tally
    assert {found.verified.call_id for found in tally.detectors["agent_silence"].examples} == {"silent-1", "silent-2"}


async def test_calls_that_have_not_settled_are_left_out_and_told(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, just_ended("fresh-1"), just_ended("fresh-2"), silent_line("silent", 9.5))
    unsettled = pipeline(SILENCE + '[calls]\nsettle = "1h"\n')
    report = await unsettled.run(client, dry_run=True)
    one = await unsettled.run(client, dry_run=True, call="fresh-1")

    assert (report.unsettled, report.tally.calls) == (2, 3)  # the two calls of each desk are old
    assert [found.verified.call_id for found in report.tally.detectors["agent_silence"].examples] == ["silent"]
    assert (one.unsettled, one.tally.calls) == (0, 1)


async def test_a_call_that_has_not_settled_takes_no_place_below_the_limit(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, just_ended("fresh", began_h=3), just_ended("settled", began_h=2, ended_h=1.5))
    text = SILENCE + '[calls]\nsettle = "1h"\n'
    report = await pipeline(text).run(client, dry_run=True, since="4h", limit=1)

    assert (report.unsettled, report.tally.calls) == (1, 1)
    assert [found.verified.call_id for found in report.tally.detectors["agent_silence"].examples] == ["settled"]


async def test_a_share_of_the_calls_is_the_same_share_at_each_run(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(40)))
    sampled = pipeline(SILENCE + "[calls]\nsample = 0.5\n")
    first, second = [(await sampled.run(client, dry_run=True)).tally for _ in range(2)]
    assert 5 < first.calls < 37
    chosen = {f"silent-{n}" for n in range(40) if is_sampled(f"silent-{n}", 0.5, "call:")}
    [incident], [again] = first.incidents.values(), second.incidents.values()
    assert (incident.calls, again.calls) == (len(chosen), len(chosen))
    assert ids_of(first) | ids_of(second) <= chosen


async def test_findings_are_shown_as_severe_as_they_would_be_filed(
    the_desk: Desk, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "acme_severe.py").write_text(SEVERE)
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    text = 'name = "severe"\n[[detect]]\nuse = "acme_severe:severe"\nseverity = "low"\n'

    tally = (await Pipeline(parse_spec(text, folder=tmp_path)).run(client, call="silent-1", dry_run=True)).tally

    assert [found.verified.severity for found in tally.detectors["severe"].examples] == ["low"]
    assert [one.severity for one in tally.incidents.values()] == ["low"]


SEVERE = """
from calltriage.pipelines import Finding, detector

@detector(version=1, kind="odd")
def severe(call):
    yield Finding(0, quote="how can i help you", severity="critical")
"""


async def test_a_finding_is_suppressed_by_that_of_another_detector_in_the_same_call(
    the_desk: Desk, client: Client
) -> None:
    await load_lines(the_desk, silent_line("long", 15), silent_line("short", 9))
    text = SILENCE + '[[detect]]\nuse = "agent_silence"\nname = "very_long"\nat_least = "14s"\n'
    text = text.replace('at_least = "8s"\n', 'at_least = "8s"\nsuppressed_by = "very_long"\n')
    tally = (await pipeline(text).run(client, dry_run=True)).tally
    by_call = {found.verified.call_id: found.suppressed_by for found in tally.detectors["agent_silence"].examples}
    assert by_call == {"long": "very_long", "short": None}
    assert tally.detectors["agent_silence"].suppressed == 1


async def test_a_sampled_detector_looks_wherever_another_one_found_something(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, silent_line("silent", 9.5), silent_line("quick", 1))
    more = '[[detect]]\nuse = "agent_silence"\nname = "any"\nat_least = "0.5s"\n'
    text = SILENCE + more + 'sample = { rate = 0.0, always_if = ["agent_silence"] }\n'
    tally = (await pipeline(text).run(client, dry_run=True)).tally
    assert {found.verified.call_id for found in tally.detectors["any"].examples} == {"silent"}
    assert tally.detectors["any"].sampled_out == 3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('[[detect]]\nuse = "agent_silense"\n', "pipeline.toml line 6: detect 2, use is wrong. There is no detector"),
        ('[[detect]]\nuse = "agent_silence"\nname = "b"\nat_leest = "1s"\n', "line 8: detect 2, at_leest is wrong."),
    ],
)
async def test_a_detector_that_cannot_be_made_is_told_with_its_line(more: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        async with prepared(parse_spec(SILENCE + more)):
            pass
    assert told in str(caught.value)
    assert "Did you mean" in str(caught.value)


@pytest.mark.parametrize("since", ["yesterday", "7", "-3d", "2026-13-01"])
async def test_a_window_that_is_none_is_told(client: Client, since: str) -> None:
    with pytest.raises(SettingsError, match="must be a span such as 24h"):
        await pipeline().run(client, since=since, dry_run=True)


async def test_the_estimate_counts_calls_and_requests_before_any_is_read(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(40)))
    heard = list[Estimate]()
    await pipeline().run(client, dry_run=True, on_estimate=heard.append)
    assert [(one.calls, one.requests, one.seconds) for one in heard] == [(42, 43, None)]


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "quiet.toml").write_text(SILENCE)
    assert Pipeline.load(tmp_path / "quiet.toml").spec.name == "quiet"


def ids_of(tally: Tally) -> set[str]:
    """The calls of the findings that are shown."""
    return {found.verified.call_id for one in tally.detectors.values() for found in one.examples}


ASKS = """[[detect]]
use = "chat"
name = "promise"
endpoint = "away"
prompt = "promise.md"
sample = SAMPLE
[endpoint.away]
base_url = "http://127.0.0.1:9/v1"
model = "small"
usd_per_mtok = [1, 1]
"""


@pytest.mark.parametrize(
    ("sample", "asked"), [("0.2", 9), ('{ rate = 0.2, always_if = ["agent_silence"] }', 42), ("1.0", 42)]
)
async def test_the_estimate_counts_each_call_that_a_sampled_detector_may_be_asked_about(
    the_desk: Desk, client: Client, tmp_path: Path, sample: str, asked: int
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(40)))
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    spec = parse_spec(SILENCE + ASKS.replace("SAMPLE", sample), folder=tmp_path)
    async with prepared(spec) as detectors:
        estimate = await Pipeline(spec).estimate(client, Pipeline(spec).window(), detectors)
        each = detectors[1].detector.usd
    assert (estimate.calls, estimate.requests, estimate.asked) == (42, 43, asked)
    assert estimate.usd == pytest.approx(asked * each)
