"""Measures detectors on labelled calls, and compares two versions on the same calls.

Labels are lines of JSON. A call with a line for a detector counts as checked by a person for that detector:

    {"call_id": "a", "detector": "agent_silence", "verdict": "positive", "turn": 7}
    {"call_id": "b", "detector": "agent_silence", "verdict": "none"}

`positive`: a moment that must be found. `negative`: a moment that must not be found. `none`: the call has no such moment.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from calltriage.errors import Deferred, DetectorFailed, SettingsError
from calltriage.leaves.nearest import nearest
from calltriage.pipelines.calls import Call
from calltriage.pipelines.detecting import Detector, Verdict
from calltriage.pipelines.findings import Verification, Verified, verified
from calltriage.pipelines.spec import Detect
from calltriage.pipelines.statistics import Interval, f1, f1_interval, matthews, mcnemar, wilson

TOLERANCE = 1
"""Most turns between a finding and a label of the same moment: people differ about where a moment begins."""
MOST_LABELS = 2_000_000


class Label(BaseModel):
    """One line of labels: a person's verdict on a call, or on a moment in it, for one detector."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    call_id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    detector: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    verdict: Literal["positive", "negative", "none"]
    turn: Annotated[int, Field(ge=0)] | None = None
    """The moment's turn; None: anywhere in the call."""
    kind: str | None = None
    split: Literal["dev", "test"] | None = None
    note: str | None = None


Labels = Mapping[str, Mapping[str, Sequence[Label]]]
"""Labels by detector's name, then by call id."""


def read_labels(
    path: Path, known: Iterable[str], split: str | None = None, present: Mapping[str, str] | None = None
) -> Labels:
    """The labels of a file; with `split`, those of that part. `known`: names of detectors. `present`: the present names of
    renamed ones, under which their labels are kept.

    Raises SettingsError, which names the wrong line.
    """
    found = defaultdict[str, dict[str, list[Label]]](dict)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The labels {path} cannot be read ({type(error).__name__}).") from None
    names = sorted(known)
    for number, line in enumerate(lines[:MOST_LABELS], 1):
        if line.strip():
            label = _label(line, f"{path.name}, line {number}")
            if label.detector not in names:
                hint = nearest(label.detector, names)
                raise SettingsError(f"{path.name}, line {number}: no detector {label.detector!r} in the file. {hint}")
            if split is None or label.split == split:
                name = (present or {}).get(label.detector, label.detector)
                found[name].setdefault(label.call_id, []).append(label)
    return found


def present_names(detects: Sequence[Detect]) -> dict[str, str]:
    """The present names of a file's detectors, by their present and earlier names."""
    return {name: one.known_as for one in detects for name in one.names}


def counterparts(detects: Sequence[Detect], older: Sequence[Detect]) -> dict[str, str]:
    """For each detector of a file that an older file has, under its name or an earlier one: its name there."""
    there = {one.known_as for one in older}
    of_each = {one.known_as: [name for name in one.names if name in there] for one in detects}
    return {now: found[0] for now, found in of_each.items() if found}


def _label(line: str, place: str) -> Label:
    try:
        return Label.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        hint = nearest(where, Label.model_fields) if first["type"] == "extra_forbidden" else ""
        raise SettingsError(f"{place}: {where}: {first['msg']}. {hint}".strip()) from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{place}: is no JSON object.") from None


@dataclass(frozen=True)
class Judged:
    """One labelled call, compared with its labels.

    Attributes:
        tp, fp, fn: numbers of true positives, false positives and false negatives (moments).
        found: for each finding its turn, and whether it is right.
        missed: turns of the labels without a finding.
    """

    call_id: str
    tp: int
    fp: int
    fn: int
    found: tuple[tuple[int | None, bool], ...]
    missed: tuple[int | None, ...]

    @property
    def is_right(self) -> bool:
        return self.fp == 0 and self.fn == 0


@dataclass
class Score:
    """Figures of one detector over calls.

    Attributes:
        judged: the labelled calls, by id.
        examined: calls that the detector examined, labelled or not.
        unverified: findings whose words no turn has.
    """

    detector: str
    version_hash: str
    judged: dict[str, Judged] = field(default_factory=dict[str, Judged])
    examined: int = 0
    unverified: int = 0
    others: Counter[str] = field(default_factory=Counter[str])
    """Numbers of calls without a clear verdict, by reason: cannot_tell, not_offered, failed, deferred."""
    usd: float = 0.0
    seconds: float = 0.0

    def total(self, part: Literal["tp", "fp", "fn"]) -> int:
        return sum(getattr(one, part) for one in self.judged.values())

    @property
    def precision(self) -> float | None:
        return _share(self.total("tp"), self.total("tp") + self.total("fp"))

    @property
    def precision_interval(self) -> Interval:
        return wilson(self.total("tp"), self.total("tp") + self.total("fp"))

    @property
    def recall(self) -> float | None:
        return _share(self.total("tp"), self.total("tp") + self.total("fn"))

    @property
    def recall_interval(self) -> Interval:
        return wilson(self.total("tp"), self.total("tp") + self.total("fn"))

    @property
    def coverage(self) -> float | None:
        """The share of the examined calls that are labelled."""
        return _share(len(self.judged), self.examined)

    @property
    def mcc(self) -> float | None:
        """Matthews correlation over calls: whether a call has a positive label, and whether it has a finding."""
        pairs = Counter((bool(one.tp + one.fn), bool(one.tp + one.fp)) for one in self.judged.values())
        return matthews(pairs[True, True], pairs[False, True], pairs[True, False], pairs[False, False])

    def row(self) -> dict[str, object]:
        """The figures as JSON members."""
        outcomes = [(one.tp, one.fp, one.fn) for one in self.judged.values()]
        tp, fp, fn = (self.total(part) for part in ("tp", "fp", "fn"))
        return {
            "detector": self.detector,
            "version_hash": self.version_hash,
            "calls": len(self.judged),
            "coverage": self.coverage,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "precision": self.precision,
            "precision_95": list(self.precision_interval),
            "recall": self.recall,
            "recall_95": list(self.recall_interval),
            "f1": f1(tp, fp, fn),
            "f1_95": None if (interval := f1_interval(outcomes)) is None else list(interval),
            "mcc": self.mcc,
            "unverified": self.unverified,
            **{name: self.others[name] for name in ("cannot_tell", "not_offered", "failed", "deferred")},
            "usd": round(self.usd, 6),
            "ms_per_call": round(1000 * self.seconds / self.examined, 3) if self.examined else None,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


async def evaluate(detectors: Sequence[Detector], labels: Labels, calls: AsyncIterator[Call]) -> list[Score]:
    """Run detectors over calls and compare their findings with the labels. Calls without labels count only for coverage."""
    scores = [Score(detector.name, detector.version_hash) for detector in detectors]
    async for call in calls:
        for detector, score in zip(detectors, scores, strict=True):
            await _examine(detector, score, labels.get(detector.name, {}).get(call.call_id), call)
    return scores


async def _examine(detector: Detector, score: Score, labels: Sequence[Label] | None, call: Call) -> None:
    began = time.perf_counter()
    try:
        examined = await detector.examine(call)
    except Deferred:
        score.others["deferred"] += 1
        return
    except DetectorFailed:
        score.others["failed"] += 1
        return
    finally:
        score.seconds += time.perf_counter() - began
    score.usd += examined.usage.usd
    if examined.verdict is Verdict.NOT_OFFERED:
        score.others["not_offered"] += 1
        return
    if examined.verdict is Verdict.CANNOT_TELL:
        score.others["cannot_tell"] += 1
    score.examined += 1
    looked_up = [verified(call, detector, one) for one in examined.findings]
    known = {one.finding_id: one for one in looked_up if one.verification is not Verification.UNVERIFIED}
    score.unverified += sum(1 for one in looked_up if one.verification is Verification.UNVERIFIED)
    if labels is not None:
        score.judged[call.call_id] = judged(call.call_id, list(known.values()), labels)


def judged(call_id: str, found: Sequence[Verified], labels: Sequence[Label]) -> Judged:
    """Match a call's findings with its labels. Each label matches at most one finding; nearest pairs are matched first."""
    wanted = [label for label in labels if label.verdict == "positive"]
    pairs = sorted(
        (gap, one, other)
        for one, finding in enumerate(found)
        for other, label in enumerate(wanted)
        if (gap := _gap(finding, label)) is not None
    )
    met, meets = set[int](), set[int]()
    for _, one, other in pairs:
        if one not in met and other not in meets:
            met.add(one)
            meets.add(other)
    return Judged(
        call_id=call_id,
        tp=len(met),
        fp=len(found) - len(met),
        fn=len(wanted) - len(meets),
        found=tuple((finding.turn, one in met) for one, finding in enumerate(found)),
        missed=tuple(label.turn for other, label in enumerate(wanted) if other not in meets),
    )


def _gap(finding: Verified, label: Label) -> int | None:
    """Number of turns between a finding and a label; None if they are not of the same moment."""
    if label.kind is not None and label.kind != finding.kind:
        return None
    if label.turn is None or finding.turn is None:
        return 0
    gap = abs(finding.turn - label.turn)
    return gap if gap <= TOLERANCE else None


@dataclass(frozen=True)
class Flip:
    """A moment that only one of two versions finds. `now`: what the new one says. `is_right`: whether it is right now."""

    detector: str
    call_id: str
    turn: int | None
    now: Literal["found", "not_found"]
    is_right: bool


@dataclass(frozen=True)
class Comparison:
    """Two versions of a detector on the same calls.

    Attributes:
        better, worse: numbers of calls that only the new one, and only the old one, got right.
        p: p-value of McNemar's test.
    """

    detector: str
    flips: tuple[Flip, ...]
    better: int
    worse: int
    p: float


def compared(new: Score, old: Score) -> Comparison:
    """Compare two versions on the calls that both examined."""
    flips, better, worse = list[Flip](), 0, 0
    for call_id, now in new.judged.items():
        if (before := old.judged.get(call_id)) is None:
            continue
        better += now.is_right and not before.is_right
        worse += before.is_right and not now.is_right
        flips += _flips(new.detector, now, before)
    return Comparison(new.detector, tuple(flips), better, worse, mcnemar(better, worse))


def _flips(detector: str, now: Judged, before: Judged) -> list[Flip]:
    ours, theirs = dict(now.found), dict(before.found)
    gained = [Flip(detector, now.call_id, turn, "found", right) for turn, right in ours.items() if turn not in theirs]
    lost = [
        Flip(detector, now.call_id, turn, "not_found", not right) for turn, right in theirs.items() if turn not in ours
    ]
    return gained + lost
