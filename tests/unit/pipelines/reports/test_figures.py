"""A report's figures: a detector's failure is no examination, a call counts once, and a pipeline's report is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import Clock, load_lines
from ledgers import Url
from pipeline_lines import long_line, silent_line
from pipeline_runs import on_record

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import SpecError
from calltriage.pipelines import spec
from calltriage.pipelines.findings import Measure
from calltriage.pipelines.ledger import results
from calltriage.pipelines.ledger.measures import MOST_MEASURES
from calltriage.pipelines.ledger.pace import open_ledger_of
from calltriage.pipelines.ledger.results import Made, Result
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.reports.figures import DetectorFigures, Figures, gathered
from calltriage.pipelines.reports.markdown import as_markdown
from calltriage.pipelines.reports.page import as_page
from calltriage.pipelines.spec import parse_spec

TESTS = Path(__file__).parents[3]
SILENCE = 'name = "quiet"\n[[detect]]\nuse = "agent_silence"\nat_least = "8s"\n'
RAISES = '[[detect]]\nuse = "raising_detector:raises"\n'


@pytest.fixture
async def filing(the_desk: Desk, tmp_path: Path, ledger_url: Url) -> AsyncIterator[Client]:
    """A client with a data folder, on a desk with three calls whose turns have times and two whose turns have none."""
    await load_lines(the_desk, silent_line("silent-1", 9.5), silent_line("silent-2", 12), silent_line("quick", 1))
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path, ledger_url) as client:
        yield client


async def run(client: Client, text: str, **asked: Any) -> None:
    await Pipeline(parse_spec(text, folder=TESTS)).run(client, **asked)


async def report(client: Client, pipeline: str | None = None) -> Figures:
    async with open_ledger_of(client) as ledger:
        return await ledger.read(partial(gathered, ledger=ledger, since="2026-01-01", pipeline=pipeline))


def by_name(figures: Figures) -> dict[str, DetectorFigures]:
    return {one.name: one for one in figures.detectors}


async def test_calls_on_which_a_detector_failed_are_told_and_not_called_examined(filing: Client) -> None:
    await run(filing, SILENCE + RAISES)
    figures = await report(filing)
    raises, silence = by_name(figures)["raises"], by_name(figures)["agent_silence"]
    assert (raises.examined, raises.failed) == (0, 5)
    assert (silence.examined, silence.failed, figures.calls) == (3, 0, 3)  # it needs the times of turns
    assert "| detector | calls | failed |" in as_markdown(figures)
    assert "| raises | 0 | 5 | 0 |" in as_markdown(figures)
    assert "<th>failed</th>" in as_page(figures)
    assert "<td>raises</td><td>0</td><td>5</td>" in as_page(figures)


async def test_a_call_that_another_version_examined_again_counts_once_by_its_last_result(filing: Client) -> None:
    await run(filing, SILENCE)
    await run(filing, SILENCE.replace("8s", "11s"))
    assert by_name(await report(filing))["agent_silence"].examined == 3


async def test_a_report_shows_how_the_measures_of_the_present_version_are_distributed(
    filing: Client, clock: Clock
) -> None:
    async with open_ledger_of(filing) as ledger:
        ledger.clock = clock
        for version, values in (("old", range(500, 520)), ("new", range(1, 21))):
            measured = {f"call-{value}": (Measure("p95", value, "s"),) for value in values}
            made = [
                Made(call, "as it is", [Result("pace", version, "not_found", measures=one)])
                for call, one in measured.items()
            ]
            await ledger.write(partial(results.store, ledger=ledger, made=made))
    figures = await report(filing)
    [pace] = figures.measures
    assert (pace.examinations, pace.median, pace.percentile_95, pace.greatest) == (20, 10, 19, 20)
    assert "| pace | p95 | 20 | 10.00 s | 19.00 s | 20.00 s |" in as_markdown(figures)
    assert "<td>pace</td><td>p95</td><td>20</td><td>10.00 s</td>" in as_page(figures)


async def test_a_detector_with_many_measures_hides_none_of_another(filing: Client) -> None:
    measured = {"a_many": [Measure(f"m{n}", 1.0) for n in range(MOST_MEASURES + 5)], "z_one": [Measure("pace", 2.5)]}
    async with open_ledger_of(filing) as ledger:
        made = [
            Made("call", "as it is", [Result(name, "v", "not_found", measures=tuple(those))])
            for name, those in measured.items()
        ]
        more = Made("other", "as it is", [Result("a_many", "v", "not_found", measures=(Measure("m24", 3.0),))])
        await ledger.write(partial(results.store, ledger=ledger, made=[*made, more]))
    found = (await report(filing)).measures
    assert [one.name for one in found if one.detector == "z_one"] == ["pace"]
    of_many = [one for one in found if one.detector == "a_many"]
    assert (len(of_many), of_many[0].name, of_many[0].examinations) == (MOST_MEASURES, "m24", 2)


async def test_a_report_still_reads_runs_of_files_that_would_be_refused_now(
    filing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier name that another detector has, too, was no fault once."""
    clash = '[[detect]]\nuse = "talk_over"\nname = "over"\nwas = ["agent_silence"]\n'
    with monkeypatch.context() as before:
        before.setattr(spec, "_contradictions", lambda _: [])
        await run(filing, SILENCE + clash)
    with pytest.raises(SpecError, match="which another detector of this file has or had"):
        parse_spec(SILENCE + clash)
    assert by_name(await report(filing, "quiet")).keys() == {"agent_silence", "over"}


async def test_a_report_without_a_measure_has_no_part_on_measures(filing: Client) -> None:
    await run(filing, SILENCE)
    assert "Measures" not in as_markdown(await report(filing))


async def test_a_run_measures_calls_for_its_pipelines_report_alone(the_desk: Desk, filing: Client) -> None:
    await load_lines(the_desk, long_line("long-1", 9.5, 1), long_line("long-2", 1, 2))
    await run(filing, 'name = "late"\n[[detect]]\nuse = "answer_latency"\n')
    await run(filing, SILENCE)
    late = (await report(filing, "late")).measures
    assert {one.name: one.examinations for one in late} == {"median": 2, "percentile_95": 2}
    assert (await report(filing, "quiet")).measures == []


async def test_a_report_of_one_pipeline_has_no_detector_and_no_call_of_another(filing: Client) -> None:
    await run(filing, SILENCE, call="silent-1")
    await run(filing, SILENCE.replace('"quiet"', '"loud"') + RAISES)
    quiet, loud, every = await report(filing, "quiet"), await report(filing, "loud"), await report(filing)
    assert {name: one.examined for name, one in by_name(quiet).items()} == {"agent_silence": 1}
    assert by_name(loud).keys() == by_name(every).keys() == {"agent_silence", "raises"}
    assert (quiet.calls, loud.calls, every.calls) == (1, 3, 3)
