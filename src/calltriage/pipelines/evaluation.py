"""How good detectors are on labelled calls, and what a new version changes on the same ones.

Labels are lines of JSON. A call that has a line for a detector counts as looked through by a person for it:

    {"call_id": "a", "detector": "agent_silence", "verdict": "positive", "turn": 7}
    {"call_id": "b", "detector": "agent_silence", "verdict": "none"}

`positive` is a moment that has to be found, `negative` one that must not be, `none` says that there is no moment to find.
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
from calltriage.pipelines.calls import Call
from calltriage.pipelines.detecting import Detector, Verdict, nearest
from calltriage.pipelines.findings import Verification, Verified, verified
from calltriage.pipelines.statistics import Interval, f1, f1_interval, matthews, mcnemar, wilson

TOLERANCE = 1
"""Turns that a finding and a label may lie apart: where a moment begins is a matter of taste."""
MOST_LABELS = 2_000_000


class Label(BaseModel):
    """What a person says of a call, or of a moment in it, for one detector."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    call_id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    detector: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    verdict: Literal["positive", "negative", "none"]
    turn: Annotated[int, Field(ge=0)] | None = None
    """The moment's turn; without, the whole call."""
    kind: str | None = None
    split: Literal["dev", "test"] | None = None
    note: str | None = None


Labels = Mapping[str, Mapping[str, Sequence[Label]]]
"""Labels by detector and call."""


def read_labels(path: Path, known: Iterable[str], split: str | None = None) -> Labels:
    """The labels of a file. Raises SettingsError that names the line at fault."""
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
                found[label.detector].setdefault(label.call_id, []).append(label)
    return found


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
    """What came of one labelled call.

    Attributes:
        tp, fp, fn: moments found rightly, found wrongly, and missed.
        found: turns of what was found.
        missed: turns of labels that nothing found.
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
    """Figures of one detector over labelled calls."""

    detector: str
    version_hash: str
    judged: dict[str, Judged] = field(default_factory=dict[str, Judged])
    examined: int = 0
    unverified: int = 0
    others: Counter[str] = field(default_factory=Counter[str])
    """Calls that no verdict came of, by why: cannot_tell, not_offered, failed, deferred."""
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
        """The share of the examined calls that a person looked through."""
        return _share(len(self.judged), self.examined)

    @property
    def mcc(self) -> float | None:
        """Agreement on which calls have something to find."""
        pairs = Counter((bool(one.tp + one.fn), bool(one.tp + one.fp)) for one in self.judged.values())
        return matthews(pairs[True, True], pairs[False, True], pairs[True, False], pairs[False, False])

    def row(self) -> dict[str, object]:
        """The figures as a program reads them."""
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
    """Run detectors over calls and hold what they find against the labels. Calls without a label count for the coverage."""
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
    """Findings against labels of one call: each label meets one finding at most, the nearest ones first."""
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
    """How many turns a finding and a label lie apart; None where they are not of one moment."""
    if label.kind is not None and label.kind != finding.kind:
        return None
    if label.turn is None or finding.turn is None:
        return 0
    gap = abs(finding.turn - label.turn)
    return gap if gap <= TOLERANCE else None


@dataclass(frozen=True)
class Flip:
    """A call of which two versions say something else."""

    detector: str
    call_id: str
    turn: int | None
    now: Literal["found", "not_found"]
    is_right: bool


@dataclass(frozen=True)
class Comparison:
    """Two versions of a detector on the same calls.

    Attributes:
        better, worse: calls that only the new one, and only the old one, got right.
        p: how likely that is if both are equally good.
    """

    detector: str
    flips: tuple[Flip, ...]
    better: int
    worse: int
    p: float


def compared(new: Score, old: Score) -> Comparison:
    """What a new version changes on the calls that both examined."""
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
