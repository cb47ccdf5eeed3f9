"""Findings and measures: what detectors yield, how quotes are verified, and how ids and fingerprints are made.

A finding is verified if its quote is in the turn that it names. If exactly one other turn has the quote, the finding
moves to that turn. Any other finding is unverified and never filed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, get_args

from calltriage.matching.folding import exact_line, loose_line
from calltriage.matching.numbers import ends_in_numbers
from calltriage.matching.quotes import place, quoted
from calltriage.operations.fields import Severity
from calltriage.pipelines.calls import Call, Timing, Turn

if TYPE_CHECKING:
    from calltriage.pipelines.detecting import Detector

ALGORITHM = "v1"
"""Version of the way in which fingerprints are made. Old incidents keep fingerprints of their version."""
MOST_NOTE, MOST_KEY, MOST_QUOTE = 500, 200, 2_000
"""Most characters of a finding's note, key and quote; the rest is cut."""
LEAST_WORDS, LEAST_CHARACTERS = 3, 12
"""A model's quote needs so many words or so many characters: a word such as "is" is in most turns and proves nothing."""
KIND = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")
MOST_VALUE = 1e15
"""Up to here each whole number is a float, too."""
UNIT, UNIT_WORDS = re.compile(r"[A-Za-z%/0-9]{0,16}"), "at most 16 letters, digits, % and /"
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Most severe first."""
_ENDS = re.compile(r"[.,!?;:…]*(?:\s|$)")
"""What may follow a whole word."""
MISSING = "unknown"
"""Value of a `group_by` field that a call does not have."""


class Verification(StrEnum):
    """Whether the quote of a finding is in the transcript."""

    EXACT = "exact"
    """The quote is in the named turn; or the finding is about the call's record and has no quote."""
    REPAIRED = "repaired"
    """The quote is in exactly one turn, which is not the named one."""
    UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Finding:
    """A moment of a call, as a detector yields it.

    Attributes:
        turn: the turn, or its index. None: the finding is about the call's record and has no quote.
        quote: words of that turn.
        note: why it matters, for people.
        key: splits findings of one kind into incidents, such as the policy that was broken.
        severity: critical, high, medium or low; None: the detector's, which it never exceeds.
        kind: needed if the detector has several; None: its first one.

    Raises ValueError for a member of a wrong type or value.
    """

    turn: Turn | int | None
    quote: str
    note: str = ""
    key: str | None = None
    severity: Severity | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        whole_number = isinstance(self.turn, int) and not isinstance(self.turn, bool)
        _demand(self.turn is None or isinstance(self.turn, Turn) or whole_number, "turn must be a turn or its index")
        for name, kinds in (("quote", str), ("note", str), ("key", str | None)):
            _demand(isinstance(getattr(self, name), kinds), f"{name} must be text")
        _demand(
            self.severity is None or self.severity in SEVERITIES, f"severity must be one of {', '.join(SEVERITIES)}"
        )
        _demand(self.kind is None or is_kind(self.kind), "kind must be lower-case letters, digits, and _ . : -")


@dataclass(frozen=True)
class Measure:
    """A figure of a call, as a detector yields it. Reports show its median over the calls.

    Attributes:
        name: what is measured: lower-case letters, digits, and _ . : -, as in a kind. One value for each name in a call.
        value: a number, at most MOST_VALUE from 0.
        unit: such as s; empty for a number of things.

    Raises ValueError for a member of a wrong type or value.
    """

    name: str
    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        _demand(is_kind(self.name), "name must be lower-case letters, digits, and _ . : -", "measure")
        value, unit = vars(self)["value"], vars(self)["unit"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _demand(
            number and abs(value) <= MOST_VALUE, f"value must be a number, at most {MOST_VALUE:g} from 0", "measure"
        )
        _demand(isinstance(unit, str) and UNIT.fullmatch(unit), f"unit must be {UNIT_WORDS}", "measure")


def _demand(holds: object, otherwise: str, of: str = "finding") -> None:
    if not holds:
        raise ValueError(f"A {of}'s {otherwise}.")


def is_kind(text: object) -> bool:
    """Whether a value is a well-formed kind of finding."""
    return isinstance(text, str) and KIND.fullmatch(text) is not None


@dataclass(frozen=True)
class Verified:
    """A finding after its quote was looked up in the call.

    Attributes:
        finding_id: 32 hexadecimal digits. The same detector, turn and words give the same id in each run.
        turn: index; None for a finding about the call's record.
        quote: the transcript's own words; the detector's words if it is unverified.
        timing: how exact the times are that it depends on; NONE if it depends on none.
        review_only: it is never filed without a person.
        fingerprint: of the incident that it belongs to.
        group: the call's values of the detector's `group_by` fields.
    """

    finding_id: str
    call_id: str
    detector: str
    kind: str
    version_hash: str
    turn: int | None
    quote: str
    note: str
    key: str | None
    severity: Severity | None
    timing: Timing
    verification: Verification
    review_only: bool
    fingerprint: str
    group: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class _Spoken:
    """A turn in the form that `matching.quotes` takes."""

    text: str
    user: str | None


def verified(call: Call, detector: Detector, finding: Finding) -> Verified:
    """Look up a finding's quote in the call. Never raises: what is not there is unverified."""
    turn, quote, verification = _looked_up(call, detector, finding)
    kind = finding.kind or detector.kinds[0]
    key = None if finding.key is None else finding.key[:MOST_KEY]
    group = {name: _shown(call.value(name)) for name in detector.group_by}
    timing = Timing.NONE if detector.needs is Timing.NONE else call.timing
    return Verified(
        finding_id=id_of(call.call_id, detector.identity, kind, turn, quote if turn is not None else key or ""),
        call_id=call.call_id,
        detector=detector.name,
        kind=kind,
        version_hash=detector.version_hash,
        turn=turn,
        quote=quote,
        note=finding.note[:MOST_NOTE],
        key=key,
        severity=_capped(finding.severity, detector.severity),
        timing=timing,
        verification=verification,
        review_only=detector.review_only or timing is Timing.ESTIMATED,
        fingerprint=fingerprint(detector.identity, kind, group, key),
        group=group,
    )


def _capped(severity: Severity | None, most: Severity | None) -> Severity | None:
    """A finding's severity: `most` at the highest, and by default."""
    if severity is None or most is None:
        return severity or most
    return severity if SEVERITIES.index(severity) >= SEVERITIES.index(most) else most


def _looked_up(call: Call, detector: Detector, finding: Finding) -> tuple[int | None, str, Verification]:
    if finding.turn is None:
        is_fact = detector.states_facts and not finding.quote
        return None, finding.quote[:MOST_QUOTE], Verification.EXACT if is_fact else Verification.UNVERIFIED
    index = finding.turn.index if isinstance(finding.turn, Turn) else finding.turn
    is_of_call = 0 <= index < len(call.turns) and finding.turn in (index, call.turns[index])
    if not is_of_call and isinstance(finding.turn, Turn):  # a turn of another call
        return index, finding.quote[:MOST_QUOTE], Verification.UNVERIFIED
    return _in_words(call, detector, index, finding.quote)


def _in_words(call: Call, detector: Detector, index: int, quote: str) -> tuple[int, str, Verification]:
    """Find a quote in the named turn, else in the only turn that has it. Case, accents and signs do not count."""
    unfound = (index, quote[:MOST_QUOTE], Verification.UNVERIFIED)
    line = loose_line(quote)
    long_enough = len(line.split()) >= LEAST_WORDS or len(line.strip()) >= LEAST_CHARACTERS
    if line == " " or (detector.is_model and not long_enough) or len(quote) > MOST_QUOTE:
        return unfound
    if not detector.may_quote(call.turns[index : index + 1]):
        return unfound
    text = call.turns[index].text if 0 <= index < len(call.turns) else ""
    is_literal = quote_stands_in(text, quote)
    if is_literal and not _may_cut_a_number(text, quote, call.language):
        return index, quote, Verification.EXACT
    spoken = [_Spoken(turn.text, turn.speaker) for turn in call.turns]
    if text and quoted([spoken[index]], quote):
        return index, quote if is_literal else _own_words(spoken[index], quote), Verification.EXACT
    elsewhere = quoted(spoken, quote)
    if len(elsewhere) != 1 or not long_enough or not detector.may_quote([call.turns[elsewhere[0]]]):
        return unfound
    return elsewhere[0], _own_words(spoken[elsewhere[0]], quote), Verification.REPAIRED


def quote_stands_in(text: str, quote: str) -> bool:
    """Whether a text has the quote literally, as whole words between blanks. A quick test that succeeds for most quotes."""
    before, found, after = text.partition(quote) if quote else ("", "", "")
    return bool(found) and (not before or before[-1].isspace()) and _ENDS.match(after) is not None


def _may_cut_a_number(text: str, quote: str, language: str) -> bool:
    """Whether a quote begins or ends with a number that may go on in the text, as "five" in "five hundred". A sign between
    them keeps numbers apart."""
    before, _, after = text.partition(quote)
    words = quote.split()
    sides = (
        (words[0], before.rstrip()[-1:].isalnum()),
        (words[-1], words[-1][-1].isalnum() and after.lstrip()[:1].isalnum()),
    )
    return any(goes_on and ends_in_numbers(exact_line(word), language) for word, goes_on in sides)


def _own_words(turn: _Spoken, quote: str) -> str:
    found = place([turn], 0, quote)
    return turn.text[slice(*found)] if found else turn.text


def id_of(call_id: str, detector: str, kind: str, turn: int | None, told: str) -> str:
    """The id of a finding. `detector`: its identity. `told`: the turn's own words, which count without case and signs; the
    key of a finding without a turn."""
    return _hashed("finding", call_id, detector, kind, turn, told if turn is None else loose_line(told).strip())[:32]


def _shown(value: object) -> str:
    return (
        MISSING if value is None else (value if isinstance(value, str) else json.dumps(value, default=str))[:MOST_KEY]
    )


def fingerprint(detector: str, kind: str, group: Mapping[str, str], key: str | None) -> str:
    """The id that all findings of an incident share: `v1:` and 64 hexadecimal digits.

    It is made of the detector's identity, the kind, the `group_by` values and the key. The quote and the detector's version
    are no part of it.
    """
    return f"{ALGORITHM}:{_hashed('incident', detector, kind, sorted(group.items()), key)}"


def _hashed(*parts: object) -> str:
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
