"""What a detector is: one signature for built-in rules, for the user's functions and for chat endpoints.

    @detector(version=2, kind="wrong_refund_window")
    def wrong_refund_window(call: Call):
        for turn in call.agent_turns:
            if "60 days" in turn.text:
                yield Finding(turn, quote="60 days", note="Policy says 30 days.")

The decorator makes a `Rule` of the function. `Rule.configured` makes a `Detector` of it, with options, which examines calls.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from calltriage.errors import DetectorError, DetectorFailed
from calltriage.leaves.nearest import nearest
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import Severity
from calltriage.pipelines.calls import Call, Timing, Turn
from calltriage.pipelines.findings import Finding, Measure, is_kind
from calltriage.pipelines.raised import raised

MOST_FINDINGS = 100
"""Findings of one detector in one call that count; the rest is left out."""
MOST_MEASURES = 10
"""Measures of one detector in one call."""

Told = Finding | Measure
Yielded = Told | Iterable[Told] | AsyncIterable[Told] | Awaitable[Told | Iterable[Told] | None] | None
"""What a detector's function may return."""


class Options(BaseModel):
    """Base class of a detector's options. Unknown options are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @property
    def needs(self) -> Timing:
        """The timing that these options need, besides what the detector itself needs."""
        return Timing.NONE

    @property
    def sources(self) -> tuple[str, ...]:
        """What findings depend on besides the options' values, such as the hash of a file that an option names."""
        return ()


class Verdict(StrEnum):
    """How an examination ended."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    CANNOT_TELL = "cannot_tell"
    """The call does not show whether there is something to find."""
    NOT_OFFERED = "not_offered"
    """The call lacks what the detector needs, such as exact times."""


@dataclass(frozen=True)
class Usage:
    """What an examination cost, all attempts included: tokens, USD and requests."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    requests: int = 0


@dataclass(frozen=True)
class Examined:
    """What a detector says of one call.

    Attributes:
        findings: as the detector yielded them, not verified yet; see `findings.verified`.
        verdict: see Verdict.
        why: the reason of NOT_OFFERED and CANNOT_TELL. Never words of the call.
        left_out: number of findings beyond the limit.
        usage: what it cost.
        measures: figures of the call, each name once.
        ms: milliseconds that the detector took, where others share what runs it; None: all that passed.
    """

    findings: tuple[Finding, ...] = ()
    verdict: Verdict = Verdict.NOT_FOUND
    why: str = ""
    left_out: int = 0
    usage: Usage = Usage()
    measures: tuple[Measure, ...] = ()
    ms: float | None = None


Examine = Callable[[Call], Awaitable[Examined]]


@dataclass(frozen=True)
class Detector:
    """A detector that is ready to examine calls.

    Attributes:
        name: shown with its findings.
        kinds: kinds of its findings. The first one is the default.
        version: the author's version number.
        version_hash: hash of all that its findings depend on besides the call; see `version_hash`.
        run: examines a call that has what the detector needs.
        needs: the timing that a call must have at least.
        needs_corrected: it reads the corrected transcript.
        review_only: its findings are never filed without a person.
        is_model: a language model finds; its quotes must have a minimal length.
        states_facts: it may yield findings about the call's record, without a quote.
        severity: default severity of its findings, and the highest that they may have.
        group_by: fields of a call; findings with different values belong to different incidents.
        was: earlier names, the first one first.
        speaker: whose turns it may quote: agent, caller or any.
        requests: most requests to an endpoint for each call, without repeats. 0 for one that shares another one's.
        usd: most that a call of usual length costs; see chat.detectors.USUAL_CALL. 0 like `requests`.
    """

    name: str
    kinds: tuple[str, ...]
    version: str
    version_hash: str
    run: Examine = field(repr=False, compare=False)
    needs: Timing = Timing.NONE
    needs_corrected: bool = False
    review_only: bool = False
    is_model: bool = False
    states_facts: bool = False
    severity: Severity | None = None
    group_by: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    speaker: str = "any"
    requests: int = 0
    usd: float = 0.0

    def may_quote(self, turns: Sequence[Turn]) -> bool:
        """Whether all these turns are of the side that it may quote."""
        return self.speaker == "any" or all(turn.speaker == self.speaker for turn in turns)

    @property
    def identity(self) -> str:
        """Its name in ids of findings and in fingerprints: the first name that it ever had."""
        return self.was[0] if self.was else self.name

    async def examine(self, call: Call) -> Examined:
        """Examine a call. Raises DetectorFailed if that fails, and Deferred if it has to wait."""
        if not call.timing.suffices(self.needs):
            have = "no times" if call.timing is Timing.NONE else f"{call.timing} times"
            why = f"It needs {self.needs} times of turns; this call has {have}."
            return Examined(verdict=Verdict.NOT_OFFERED, why=why)
        if self.needs_corrected and not call.corrected:
            return Examined(verdict=Verdict.NOT_OFFERED, why="It needs the transcript redone from a recording.")
        return await self.run(call)


@dataclass(frozen=True)
class Rule:
    """A declared detector without its options; see `detector` for the members. Calling it calls its function."""

    function: Callable[..., Yielded] = field(repr=False)
    name: str
    version: str
    kinds: tuple[str, ...]
    timing: Timing = Timing.NONE
    options: type[BaseModel] | None = None
    needs_corrected: bool = False
    review_only: bool = False
    states_facts: bool = False

    def __call__(self, *given: object) -> Yielded:
        return self.function(*given)

    def configured(
        self,
        options: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        most: int = MOST_FINDINGS,
        folder: Path | None = None,
    ) -> Detector:
        """The detector with these options. Raises DetectorError, which names the wrong option.

        Args:
            options: as written in the pipeline's file.
            name: its name in findings, if not the function's.
            most: findings of one call that count.
            folder: where relative paths in options start.
        """
        checked = checked_options(self.name, self.options, options or {}, folder)
        needs, sources = self.timing, tuple[str, ...]()
        if isinstance(checked, Options):
            needs = needs if needs.suffices(checked.needs) else checked.needs
            sources = checked.sources

        async def run(call: Call) -> Examined:
            return await examined(self.name, lambda: self.function(call, *([] if checked is None else [checked])), most)

        return Detector(
            name=name or self.name,
            kinds=self.kinds,
            version=self.version,
            version_hash=version_hash(self.name, self.version, checked, source_of(self.function), *sources),
            run=run,
            needs=needs,
            needs_corrected=self.needs_corrected,
            review_only=self.review_only,
            states_facts=self.states_facts,
        )


def detector(
    *,
    version: int | str,
    kind: str | tuple[str, ...],
    timing: Timing = Timing.NONE,
    options: type[BaseModel] | None = None,
    needs_corrected: bool = False,
    review_only: bool = False,
    states_facts: bool = False,
) -> Callable[[Callable[..., Yielded]], Rule]:
    """Declare a function of a call as a detector. Raises DetectorError for a malformed kind.

    Args:
        version: raise it when the function finds something else.
        kind: the kind of its findings, or all kinds if there are several.
        timing: the timing that a call must have at least.
        options: model of its options, which the function gets as second argument.
        needs_corrected, review_only, states_facts: see Detector.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    if not kinds or not all(is_kind(one) for one in kinds):
        raise DetectorError("The kind of a detector must be lower-case letters, digits, and _ . : - (at most 64).")

    def declare(function: Callable[..., Yielded]) -> Rule:
        return Rule(
            function=function,
            name=function.__name__,
            version=str(version),
            kinds=kinds,
            timing=timing,
            options=options,
            needs_corrected=needs_corrected,
            review_only=review_only,
            states_facts=states_facts,
        )

    return declare


def checked_options(
    name: str, model: type[BaseModel] | None, given: Mapping[str, object], folder: Path | None = None
) -> BaseModel | None:
    """A detector's checked options; None if it has none. Raises DetectorError, which names the wrong option and, for an
    unknown one, the nearest name: of its options, or of the keys that every [[detect]] table may have."""
    known = {} if model is None else model.model_fields
    for key in given:
        if key not in known:
            from calltriage.pipelines.spec import Detect  # noqa: PLC0415  a user's process needs it for this alone

            hint = nearest(key, {*known, *Detect.model_fields})
            raise DetectorError(f"Detector {name} has no option {key!r}. {hint}", path=(key,))
    if model is None:
        return None
    try:
        return model.model_validate(dict(given), context={"folder": folder or Path()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = first["loc"]
        shown = ".".join(str(part) for part in where)
        fault = first["msg"].removeprefix("Value error, ").rstrip(".")
        says = f"option {shown!r} is wrong: {fault}" if shown else f"the options do not go together: {fault}"
        raise DetectorError(f"Detector {name}: {says}.", path=where) from None


def version_hash(name: str, version: str, options: BaseModel | None, *sources: str) -> str:
    """Hash of all that a detector's findings depend on besides the call: name, version, options and sources (16 hexadecimal
    digits)."""
    chosen: JsonObject = {} if options is None else options.model_dump(mode="json")
    text = json.dumps([name, version, chosen, *sources], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def source_of(function: Callable[..., object]) -> str:
    """The source of a user's function. Empty for a built-in rule, whose `version` says when its findings change."""
    if function.__module__.startswith("calltriage."):
        return ""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # made without a file
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts)) if code is not None else ""


async def examined(name: str, function: Callable[[], Yielded], most: int = MOST_FINDINGS) -> Examined:
    """Collect what a detector's function returns or yields. Raises DetectorFailed if it raises or yields something else than
    findings and measures."""
    kept = _Kept(name, most)
    try:
        found = function()
        if isinstance(found, Awaitable):
            found = await found
        if isinstance(found, AsyncIterable):
            async for one in found:
                kept.add(one)
        else:
            kept.add_all(found)
    except DetectorFailed:
        raise
    except Exception as error:
        raise DetectorFailed(f"Detector {name} raised {raised(error)}{_told(error)}.") from error
    verdict = Verdict.FOUND if kept.found else Verdict.NOT_FOUND
    return Examined(tuple(kept.found), verdict, left_out=kept.left_out, measures=tuple(kept.measures.values()))


@dataclass
class _Kept:
    """The measures and the first `most` findings of a detector's function, and the number of the other findings."""

    name: str
    most: int
    found: list[Finding] = field(default_factory=list[Finding])
    left_out: int = 0
    measures: dict[str, Measure] = field(default_factory=dict[str, Measure])

    def add_all(self, found: Told | Iterable[Told] | None) -> None:
        """Add what a function returned at once."""
        for one in [found] if isinstance(found, Finding | Measure) else found or ():
            self.add(one)

    def add(self, one: object) -> None:
        if isinstance(one, Measure):
            if one.name in self.measures:
                raise DetectorFailed(f"Detector {self.name} yielded the measure {one.name} twice.")
            if len(self.measures) == MOST_MEASURES:
                raise DetectorFailed(f"Detector {self.name} yielded more than {MOST_MEASURES} measures.")
            self.measures[one.name] = one
        elif not isinstance(one, Finding):
            raise DetectorFailed(f"Detector {self.name} yielded something that is no Finding and no Measure.")
        elif len(self.found) < self.most:
            self.found.append(one)
        else:
            self.left_out += 1


def _told(error: Exception) -> str:
    """The message of an error that `Finding` or `Measure` raised; empty for any other, which may hold callers' words."""
    text, ours = str(error), ("A finding's ", "A measure's ")
    return f": {text.rstrip('.')}" if isinstance(error, ValueError) and text.startswith(ours) else ""
