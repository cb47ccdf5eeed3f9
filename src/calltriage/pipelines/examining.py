"""Runs the detectors of a pipeline's file on one call and verifies their findings."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from calltriage.errors import Deferred, DetectorFailed, DetectorOff, SettingsError, SpecError
from calltriage.leaves.amounts import amount
from calltriage.pipelines import catalogue
from calltriage.pipelines.calls import Call
from calltriage.pipelines.catalogue import Opening
from calltriage.pipelines.detecting import Detector, Examined
from calltriage.pipelines.findings import Verification, Verified, verified
from calltriage.pipelines.ledger.results import Known, Result
from calltriage.pipelines.listing import is_sampled
from calltriage.pipelines.redaction import RedactionError, Redactor, RedactorOff, redacted
from calltriage.pipelines.spec import Detect, Spec
from calltriage.pipelines.users_redactor import opened_redactor

FAILED, DEFERRED, SAMPLED_OUT = "failed", "deferred", "sampled_out"
"""Verdicts of this module, besides those of `detecting.Verdict`."""


Off = tuple[Literal["detector", "redactor"], str]


@dataclass(frozen=True)
class Prepared:
    """A detector and its table of the file. `redactor` masks its findings."""

    detect: Detect
    detector: Detector
    redactor: Redactor | None = None


@dataclass(frozen=True)
class Found:
    """A finding that was looked up. `suppressed_by`: the detector whose verified finding in the call keeps this one from
    being filed."""

    verified: Verified
    detect: Detect
    suppressed_by: str | None = None


@dataclass(frozen=True)
class Examination:
    """What detectors made of one call.

    Attributes:
        results: one for each detector that had no verdict before and was not deferred.
        examined: names of the detectors that succeeded, and their earlier names.
        known: names of the detectors that had a verdict before.
        deferred: why a detector has to wait; None if none has.
        wait_s: seconds until the first of those that have to wait may go on; None: until the next day (UTC).
        failed: why a model's detector failed, which may pass; None if none did.
        off: what is switched off, detectors and the redactor, each with its name.
    """

    call: Call
    results: tuple[Result, ...]
    found: tuple[Found, ...]
    examined: tuple[str, ...]
    deferred: str | None = None
    failed: str | None = None
    off: tuple[Off, ...] = ()
    known: tuple[str, ...] = ()
    wait_s: float | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the detectors that failed."""
        return tuple(one.detector for one in self.results if one.verdict == FAILED)


@asynccontextmanager
async def prepared(spec: Spec, opening: Opening | None = None) -> AsyncGenerator[tuple[Prepared, ...]]:
    """The detectors of a file while the block runs. The file's `redact` masks their findings and what endpoints get.

    Raises SpecError with a line for each fault.
    """
    async with AsyncExitStack() as stack:
        deadline_s = spec.limits.seconds_per_call.total_seconds()
        try:
            redactor = await stack.enter_async_context(opened_redactor(spec.redact, spec.folder, deadline_s))
        except SettingsError as error:
            raise SpecError(spec.fault(("redact",), f"is wrong. {error}")) from None
        opening = replace(opening or Opening(), redactor=redactor)
        detectors = await stack.enter_async_context(catalogue.opened(spec, opening))
        pairs = zip(spec.detect, detectors, strict=True)
        yield tuple(Prepared(detect, detector, redactor) for detect, detector in pairs)


async def examine(
    call: Call, detectors: Sequence[Prepared], known: Mapping[tuple[str, str], Known] | None = None
) -> Examination:
    """Run detectors on a call. `known`: verdicts of earlier runs, by name and version hash; those detectors are skipped,
    unless they failed or were deferred.

    For `suppressed_by` and `always_if`, a detector found something if its present version has a verified finding."""
    results, ran = list[Result](), dict[str, tuple[Prepared, list[Verified]]]()
    deferred = failed = None
    off, before, waits = list[Off](), list[str](), list[float]()
    told = {one.detector.name: _known(one.detector, known or {}) for one in detectors}
    found_by = {name for name, each in told.items() if each.has_verified}
    for one in sorted(detectors, key=lambda one: bool(one.detect.sample.always_if)):
        name, version = one.detector.name, one.detector.version_hash
        if told[name].verdict not in {FAILED, DEFERRED}:
            before.append(name)
            continue
        if not _is_wanted(call, one.detect, found_by):
            results.append(Result(name, version, SAMPLED_OUT))
            continue
        began = time.perf_counter()
        try:
            examined = await one.detector.examine(call)
            looked_up = await _looked_up(call, one, examined)
        except Deferred as error:
            deferred = str(error)
            waits += [] if error.wait_s is None else [error.wait_s]
            continue
        except (DetectorFailed, RedactionError) as error:
            off += _switched_off(name, error)
            failed = str(error) if one.detector.is_model else failed
            results.append(Result(name, version, FAILED, ms=_ms(began), error=str(error)))
            continue
        ms = _ms(began) if examined.ms is None else examined.ms
        results.append(_result(one.detector, examined, looked_up, ms))
        ran[name] = (one, looked_up)
        found_by |= {name} if _proven(looked_up) else set()
    found = tuple(each for one, looked_up in ran.values() for each in _placed(one, looked_up, found_by))
    names = [name for one, _ in ran.values() for name in one.detect.names]
    wait_s = min(waits, default=None)
    return Examination(call, tuple(results), found, tuple(names), deferred, failed, tuple(off), tuple(before), wait_s)


def _switched_off(detector: str, error: DetectorFailed | RedactionError) -> list[Off]:
    """What a failure of a detector, or of the redactor of its findings, says to be switched off."""
    if isinstance(error, RedactorOff):
        return [("redactor", error.redactor)]
    return [("detector", detector)] if isinstance(error, DetectorOff) else []


def _known(detector: Detector, known: Mapping[tuple[str, str], Known]) -> Known:
    """What an earlier run made of the call with this version of a detector; as if it had failed, if there was none."""
    return known.get((detector.name, detector.version_hash), Known(FAILED))


def _proven(looked_up: Sequence[Verified]) -> int:
    """Number of the verified findings."""
    return sum(one.verification is not Verification.UNVERIFIED for one in looked_up)


def _is_wanted(call: Call, detect: Detect, found_by: set[str]) -> bool:
    always = not found_by.isdisjoint(detect.sample.always_if)
    return always or is_sampled(call.call_id, detect.sample.rate)


async def _looked_up(call: Call, one: Prepared, examined: Examined) -> list[Verified]:
    """A detector's findings, verified and masked, without duplicates."""
    looked_up = {each.finding_id: each for each in (verified(call, one.detector, found) for found in examined.findings)}
    return [await redacted(each, one.redactor, call) for each in looked_up.values()]


def _placed(one: Prepared, looked_up: Sequence[Verified], found_by: set[str]) -> list[Found]:
    by = next((name for name in one.detect.suppressed_by if name in found_by), None)
    return [Found(each, one.detect, by) for each in looked_up]


def _result(detector: Detector, examined: Examined, looked_up: Sequence[Verified], ms: float) -> Result:
    usage, why = examined.usage, examined.why or None
    if examined.left_out:
        why = f"Left out: {amount(examined.left_out, 'finding')} past the most that are looked at."
    return Result(
        detector.name, detector.version_hash, examined.verdict, _proven(looked_up),
        usage.tokens_in + usage.tokens_out, usage.usd, ms, why, examined.measures,
    )  # fmt: skip


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
