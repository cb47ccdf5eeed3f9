"""What a detector is: one signature for rules that come with the package, for the user's functions and for chat endpoints.

    @detector(version=2, kind="wrong_refund_window")
    def wrong_refund_window(call: Call):
        for turn in call.agent_turns:
            if "60 days" in turn.text:
                yield Finding(turn, quote="60 days", note="Policy says 30 days.")

A declared function is a `Rule`. With the options of a pipeline's file it becomes a `Detector`, which examines calls.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from calltriage.errors import DetectorError, DetectorFailed
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import Severity
from calltriage.pipelines.calls import Call, Timing, Turn
from calltriage.pipelines.findings import Finding, is_kind

MOST_FINDINGS = 100
"""Findings of one detector in one call that are looked at. A detector with more is wrong about what it looks for."""

Yielded = Iterable[Finding] | AsyncIterable[Finding] | Awaitable[Iterable[Finding] | None] | None
"""What a detector's function may return."""


class Options(BaseModel):
    """Base of a detector's options. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @property
    def needs(self) -> Timing:
        """The least timing that these options ask for, besides what the detector does."""
        return Timing.NONE

    @property
    def sources(self) -> tuple[str, ...]:
        """What findings depend on besides the options themselves, such as the contents of a file that one names."""
        return ()


class Verdict(StrEnum):
    """How an examination ended."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    CANNOT_TELL = "cannot_tell"
    """The detector looked, and the call does not say."""
    NOT_OFFERED = "not_offered"
    """The detector needs what this call has not, such as exact times."""


@dataclass(frozen=True)
class Usage:
    """What an examination cost: tokens of every attempt, and their price in USD."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    requests: int = 0
    is_cached: bool = False


@dataclass(frozen=True)
class Examined:
    """What a detector says of one call.

    Attributes:
        findings: as the detector yielded them; `findings.verified` looks them up.
        verdict: see Verdict.
        why: for NOT_OFFERED and CANNOT_TELL, in words of ours.
        left_out: findings past MOST_FINDINGS.
        usage: what it cost.
    """

    findings: tuple[Finding, ...] = ()
    verdict: Verdict = Verdict.NOT_FOUND
    why: str = ""
    left_out: int = 0
    usage: Usage = field(default_factory=Usage)


Examine = Callable[[Call], Awaitable[Examined]]


@dataclass(frozen=True)
class Detector:
    """A detector that is ready to examine calls.

    Attributes:
        name: what findings show.
        identity: what findings and incidents are told by; its first name, for one that was renamed.
        kinds: of its findings; the first one is meant where a finding names none.
        version: as its author counts.
        version_hash: of everything that its findings depend on besides the call.
        needs: the least timing that it can work with.
        needs_corrected: it reads the transcript redone from the recording.
        review_only: it never files without a person.
        is_model: a language model finds; its quotes have to be long enough to prove something.
        states_facts: it may find facts of the record, which quote nothing.
        severity: of findings that name none.
        group_by: facts of a call that tell incidents apart.
        speaker: whose turns it may quote.
        requests: to an endpoint, at most, for each call.
        usd: what a usual call costs at most; see chat.detectors.USUAL_CALL.
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
        """Whether turns are of the side whose words it may quote."""
        return self.speaker == "any" or all(turn.speaker == self.speaker for turn in turns)

    @property
    def identity(self) -> str:
        return self.was[0] if self.was else self.name

    async def examine(self, call: Call) -> Examined:
        """Look through a call. Raises DetectorFailed where that did not succeed: that is not to find nothing."""
        if not call.timing.suffices(self.needs):
            have = "no times" if call.timing is Timing.NONE else f"{call.timing} times"
            why = f"It needs {self.needs} times of turns; this call has {have}."
            return Examined(verdict=Verdict.NOT_OFFERED, why=why)
        if self.needs_corrected and not call.corrected:
            return Examined(verdict=Verdict.NOT_OFFERED, why="It needs the transcript redone from a recording.")
        return await self.run(call)


@dataclass(frozen=True)
class Rule:
    """A declared detector. Calling it calls its function."""

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
        """The detector with options, whose files are looked for from a folder. Raises DetectorError that names the option at
        fault."""
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
    """Declare a function of a call as a detector. With `options`, a model, its second argument holds them."""
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
    """A detector's options, checked. Raises DetectorError that names the option, and the nearest one that exists."""
    known = {} if model is None else model.model_fields
    for key in given:
        if key not in known:
            raise DetectorError(f"Detector {name} has no option {key!r}. {nearest(key, known)}", path=(key,))
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


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence with the nearest of the names that are known, or with all of them."""
    names = sorted(known)
    close = get_close_matches(name[:64], names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known are: {', '.join(names)}." if names else "It has none."


def version_hash(name: str, version: str, options: BaseModel | None, *sources: str) -> str:
    """What a detector's findings depend on besides the call: its version, options and sources, as one hash."""
    chosen: JsonObject = {} if options is None else options.model_dump(mode="json")
    text = json.dumps([name, version, chosen, *sources], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def source_of(function: Callable[..., object]) -> str:
    """The code of a user's function. A rule of the package counts its versions by hand, so that a comment changes none."""
    if function.__module__.startswith("calltriage."):
        return ""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # made without a file
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts)) if code is not None else ""


async def examined(name: str, function: Callable[[], Yielded], most: int = MOST_FINDINGS) -> Examined:
    """What a function finds in a call, in whichever way it says so. Raises DetectorFailed."""
    found, left_out = list[Finding](), 0
    try:
        async for one in _each(function()):
            if not isinstance(one, Finding):  # pyright: ignore[reportUnnecessaryIsInstance]  a user's function
                raise DetectorFailed(f"Detector {name} yielded something that is not a Finding.")
            if len(found) < most:
                found.append(one)
            else:
                left_out += 1
    except DetectorFailed:
        raise
    except Exception as error:
        raise DetectorFailed(f"Detector {name} raised {type(error).__name__}{_told(error)}.") from error
    return Examined(tuple(found), Verdict.FOUND if found else Verdict.NOT_FOUND, left_out=left_out)


def _told(error: Exception) -> str:
    """The words of an error about a finding's own fields, which are ours; those of another may hold what callers said."""
    text = str(error)
    return f": {text.rstrip('.')}" if isinstance(error, ValueError) and text.startswith("A finding's ") else ""


async def _each(found: Yielded) -> AsyncIterable[Finding]:
    if isinstance(found, Awaitable):
        found = await found
    if found is None:
        return
    if isinstance(found, AsyncIterable):
        async for one in found:
            yield one
        return
    for one in found:
        yield one


def adapted(
    made: Detector,
    *,
    severity: Severity | None = None,
    group_by: tuple[str, ...] = (),
    was: tuple[str, ...] = (),
    review_only: bool = False,
) -> Detector:
    """A detector with what a pipeline's file says of its findings."""
    return replace(
        made,
        severity=severity or made.severity,
        group_by=group_by,
        was=was,
        review_only=made.review_only or review_only,
    )
