"""How good detectors are: findings against labels, one version against another, and the published table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from labelled_calls import BEGINS, CALLS, ENDS, LABELS, TABLE, detectors, labels_of, measured, table
from pipeline_calls import call_of

from calltriage.errors import DetectorFailed, SettingsError
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call, Timing
from calltriage.pipelines.detecting import Detector, Examined, Options, Verdict
from calltriage.pipelines.evaluation import Label, Score, compared, evaluate, read_labels


class Word(Options):
    """Options of the detector of this module."""

    word: str = "bad"


@detector(version=1, kind="word", options=Word)
def says(call: Call, options: Word) -> Iterator[Finding]:
    for turn in call.turns:
        if options.word in turn.text:
            yield Finding(turn, options.word)
        if "invented" in turn.text:
            yield Finding(turn, "never said at all")


async def each(calls: Sequence[Call]) -> AsyncIterator[Call]:
    for call in calls:
        yield call


def named(call_id: str, *texts: str) -> Call:
    return call_of([("agent", text) for text in texts], call_id)


def label(call_id: str, verdict: str = "none", turn: int | None = None) -> Label:
    return Label.model_validate({"call_id": call_id, "detector": "says", "verdict": verdict, "turn": turn})


async def scored(calls: Sequence[Call], labels: Sequence[Label], made: Detector | None = None) -> Score:
    by_call = {one.call_id: [other for other in labels if other.call_id == one.call_id] for one in labels}
    (score,) = await evaluate([made or says.configured()], {"says": by_call}, each(calls))
    return score


def counts(score: Score) -> tuple[int, int, int]:
    return score.total("tp"), score.total("fp"), score.total("fn")


async def test_a_finding_near_a_label_is_right_and_each_label_meets_one_finding() -> None:
    calls = [
        named("near", "x", "bad", "x", "x", "bad"),
        named("twice", "bad", "bad"),
        named("missed", "x", "x"),
        named("none", "bad"),
        named("unlabelled", "bad"),
    ]
    labels = [
        label("near", "positive", 0),
        label("twice", "positive", 1),
        label("missed", "positive", 1),
        label("none"),
    ]

    score = await scored(calls, labels)

    assert counts(score) == (2, 3, 1)
    assert (score.precision, score.recall, score.coverage) == (0.4, 2 / 3, 0.8)
    assert score.judged["twice"].found == ((0, False), (1, True))
    assert score.judged["missed"].missed == (1,)


async def test_a_label_of_a_whole_call_meets_a_finding_anywhere_and_a_wrong_moment_is_none_to_find() -> None:
    calls = [named("whole", "x", "x", "x", "bad"), named("wrong", "bad")]

    score = await scored(calls, [label("whole", "positive"), label("wrong", "negative", 0)])

    assert counts(score) == (1, 1, 0)
    assert score.mcc is None or -1 <= score.mcc <= 1


async def test_invented_quotes_are_counted_apart_and_are_no_findings() -> None:
    score = await scored([named("a", "invented")], [label("a")])

    assert (counts(score), score.unverified) == ((0, 0, 0), 1)


async def test_calls_that_no_verdict_came_of_are_counted_by_why() -> None:
    async def run(call: Call) -> Examined:
        if call.call_id == "fails":
            raise DetectorFailed("no answer")
        return Examined(verdict=Verdict.CANNOT_TELL)

    unsure = Detector(name="says", kinds=("a",), version="1", version_hash="h", run=run)
    timed = Detector(name="says", kinds=("a",), version="1", version_hash="h", run=run, needs=Timing.EXACT)
    labels = [label("fails", "positive", 0), label("unsure", "positive", 0)]

    score = await scored([named("fails", "x"), named("unsure", "x")], labels, unsure)

    assert (score.others["failed"], score.others["cannot_tell"], counts(score)) == (1, 1, (0, 0, 1))
    assert (await scored([named("unsure", "x")], labels, timed)).others["not_offered"] == 1


async def test_two_versions_are_compared_on_the_same_calls() -> None:
    calls = [named(f"call-{n}", "worse" if n < 6 else "bad", "x") for n in range(10)]
    labels = [label(one.call_id, "positive", 0) for one in calls]

    old, new = await scored(calls, labels), await scored(calls, labels, says.configured({"word": "worse"}))
    comparison = compared(new, old)

    assert (comparison.better, comparison.worse) == (6, 4)
    assert comparison.p == pytest.approx(0.7539, abs=0.0001)
    assert [(flip.call_id, flip.now, flip.is_right) for flip in comparison.flips[:1]] == [("call-0", "found", True)]
    assert sum(flip.now == "not_found" and not flip.is_right for flip in comparison.flips) == 4
    assert compared(new, new).flips == ()


async def test_a_row_holds_every_figure_as_a_program_reads_it() -> None:
    score = await scored([named("a", "bad"), named("b", "x")], [label("a", "positive", 0), label("b")])

    row = json.loads(json.dumps(score.row()))

    assert (row["precision"], row["recall"], row["f1"], row["mcc"], row["coverage"]) == (1, 1, 1, 1, 1)
    assert row["precision_95"] == pytest.approx([0.2065, 1.0], abs=0.001)


@pytest.mark.parametrize(
    ("line", "says_what"),
    [
        ('{"call_id": "a", "detector": "says", "verdict": "maybe"}', "line 2: verdict"),
        ('{"call_id": "a", "detector": "sais", "verdict": "none"}', "line 2: no detector 'sais'.*Did you mean says"),
        ('{"call_id": "a", "detector": "says", "verdict": "none", "trun": 1}', "line 2: trun.*Did you mean turn"),
        ('{"call_id": "a", "detector": "says", "verdict": "none", "turn": -1}', "line 2: turn"),
        ('["a"]', "line 2"),
        ("{", "line 2: is no JSON"),
    ],
)
def test_a_wrong_label_is_told_with_its_line(line: str, says_what: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"call_id": "a", "detector": "says", "verdict": "none"}}\n{line}\n')

    with pytest.raises(SettingsError, match=says_what):
        read_labels(path, ["says"])


def test_labels_of_one_split_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [{"call_id": split, "detector": "says", "verdict": "none", "split": split} for split in ("dev", "test")]
    path.write_text("\n".join(map(json.dumps, lines)))

    assert list(read_labels(path, ["says"], "dev")["says"]) == ["dev"]
    with pytest.raises(SettingsError, match="cannot be read"):
        read_labels(tmp_path / "none.jsonl", ["says"])


def test_the_shipped_labels_say_of_each_call_and_detector_what_there_is_to_find() -> None:
    labels = labels_of()

    assert set(labels) == {one.name for one in detectors()}
    assert {len(by_call) for by_call in labels.values()} == {28}
    assert len({call for by_call in labels.values() for call in by_call}) == 28
    assert "text" not in LABELS.read_text()


@pytest.mark.skipif(not CALLS.exists(), reason="wants the shared calls")
async def test_the_published_table_is_what_the_detectors_do_on_the_labelled_calls() -> None:
    published = TABLE.read_text(encoding="utf-8").partition(BEGINS)[2].partition(ENDS)[0]

    assert published == table(await measured())
