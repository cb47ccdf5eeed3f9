"""What the detectors of a file make of a call: masked where the file asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_calls import call_of

from calltriage.pipelines.calls import Call, Timing
from calltriage.pipelines.detecting import Examined
from calltriage.pipelines.examining import examine, prepared
from calltriage.pipelines.ledger.results import Known
from calltriage.pipelines.spec import SpecError, parse_spec

CALL = call_of([("agent", "your card 4111 1111 1111 1111 is guaranteed")])
FILE = 'name = "line"\nredact = "{redact}"\n[[detect]]\nuse = "forbidden"\nphrases = ["1111 is guaranteed"]\n'
HOOK = "def mask(text):\n    return text.replace('guaranteed', '...')\ndef fails(text):\n    raise LookupError(text)\n"


async def quotes(redact: str, folder: Path) -> tuple[list[str], list[str | None]]:
    async with prepared(parse_spec(FILE.format(redact=redact), folder=folder)) as detectors:
        examination = await examine(CALL, detectors)
    return [one.verified.quote for one in examination.found], [one.error for one in examination.results]


async def test_what_a_file_masks_is_masked_before_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "acme_masks.py").write_text(HOOK)

    assert await quotes("builtin", tmp_path) == (["[card] is guaranteed"], [None])
    assert await quotes("acme_masks:mask", tmp_path) == (["1111 is ..."], [None])


async def test_a_redactor_that_fails_fails_the_detector_and_lets_no_word_pass(tmp_path: Path) -> None:
    (tmp_path / "acme_fails.py").write_text(HOOK)

    found, errors = await quotes("acme_fails:fails", tmp_path)

    assert found == []
    assert errors == ["Redactor acme_fails:fails raised LookupError in acme_fails.py line 4; the text is not used."]


@pytest.mark.parametrize("redact", ["built-in", "no_such_module_at_all:mask", "json:nothing"])
async def test_a_redactor_that_is_none_is_told_with_its_line(redact: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="line 2: redact is wrong"):
        await quotes(redact, tmp_path)


POINTING = """
from calltriage.pipelines import Finding, detector

@detector(version=1, kind="odd")
def points(call):
    yield Finding(0, quote="{quote}")
"""
POINTED = """name = "line"
[[detect]]
use = "acme_points:points"
[[detect]]
use = "forbidden"
phrases = ["is guaranteed"]
suppressed_by = "points"
[[detect]]
use = "forbidden"
name = "sampled"
phrases = ["your card"]
sample = { rate = 0.0, always_if = ["points"] }
"""


async def pointed(quote: str, folder: Path, known: dict[str, Known]) -> tuple[str | None, list[str]]:
    """What suppresses the finding, and the verdicts, where a detector quotes so. `known`: by "now" or another version."""
    (folder / "acme_points.py").write_text(POINTING.format(quote=quote))
    async with prepared(parse_spec(POINTED, folder=folder)) as detectors:
        now = detectors[0].detector.version_hash
        before = {("points", now if version == "now" else version): each for version, each in known.items()}
        examination = await examine(CALL, detectors, before)
    (suppressed,) = (one.suppressed_by for one in examination.found if one.verified.detector == "forbidden")
    return suppressed, [one.verdict for one in examination.results]


@pytest.mark.parametrize(
    ("quote", "known", "suppressed", "sampled"),
    [
        ("your card", {}, "points", "found"),
        ("never said", {}, None, "sampled_out"),
        ("never said", {"an older version": Known("found", 1)}, None, "sampled_out"),
        ("", {"now": Known("found", 1)}, "points", "found"),
        ("", {"now": Known("found", 0)}, None, "sampled_out"),
    ],
    ids=["verified", "invented", "verified by another version", "verified before", "invented before"],
)
async def test_only_a_verified_finding_of_the_present_version_suppresses_others_or_points_at_a_call(
    quote: str, known: dict[str, Known], suppressed: str | None, sampled: str, tmp_path: Path
) -> None:
    by, verdicts = await pointed(quote, tmp_path, known)

    assert (by, verdicts[-1]) == (suppressed, sampled)


async def test_a_result_counts_the_findings_that_were_verified(tmp_path: Path) -> None:
    (tmp_path / "acme_counts.py").write_text(POINTING.format(quote="never said"))
    file = 'name = "line"\n[[detect]]\nuse = "acme_counts:points"\n'

    async with prepared(parse_spec(file, folder=tmp_path)) as detectors:
        examination = await examine(CALL, detectors)

    assert [(one.verdict, one.findings) for one in examination.results] == [("found", 0)]


async def test_a_renamed_detector_has_examined_a_call_under_its_earlier_names_too() -> None:
    text = 'name = "line"\n[[detect]]\nuse = "agent_silence"\nname = "late"\nwas = ["slow", "quiet"]\n'
    call = call_of([("agent", "hello", 0.0, 1.0), ("caller", "hi", 2.0, 3.0)])

    async with prepared(parse_spec(text)) as detectors:
        examination = await examine(call, detectors)

    assert examination.examined == ("late", "slow", "quiet")


async def test_a_detector_that_says_how_long_it_took_is_told_so() -> None:
    """Calls wait for a user's process, which takes one at a time; that is none of the detector's time."""

    async def run(_: Call) -> Examined:
        return Examined(ms=7.5)

    async with prepared(parse_spec('name = "line"\n[[detect]]\nuse = "agent_silence"\n')) as [one]:
        waited = replace(one, detector=replace(one.detector, run=run, needs=Timing.NONE))
        [result] = (await examine(CALL, [waited])).results

    assert result.ms == 7.5
