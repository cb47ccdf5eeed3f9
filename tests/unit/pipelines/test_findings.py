"""What becomes of a finding: its words are looked up in the call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipeline_calls import call_of

from calltriage.operations.fields import Severity
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call, Timing, Turn
from calltriage.pipelines.findings import Verification, Verified, fingerprint, quote_stands_in, verified

CALL = call_of(
    [
        ("agent", "Thank you for calling. How can I help?", 0.0, 2.0),
        ("caller", "I want a refund for order five five five zero one.", 3.0, 6.0),
        ("agent", "You have 60 days to return it.", 7.0, 9.0),
        ("caller", "How can I help that?", 10.0, 11.0),
    ],
    metadata={"pathway_id": "p-1"},
)


@detector(version=1, kind="wrong")
def finds_nothing(call: Call) -> None:
    """For what is done with findings."""


def looked_up(finding: Finding, call: Call = CALL, **about: Any) -> Verified:
    return verified(call, replace(finds_nothing.configured(), **about), finding)


def test_words_that_stand_in_the_named_turn_are_verified_as_the_transcript_has_them() -> None:
    same = looked_up(Finding(CALL.turns[2], "60 days"))
    other_form = looked_up(Finding(1, "ORDER 55501"))

    assert (same.turn, same.quote, same.verification) == (2, "60 days", Verification.EXACT)
    assert (other_form.turn, other_form.verification) == (1, Verification.EXACT)
    assert other_form.quote == "order five five five zero one."


@pytest.mark.parametrize(
    ("own", "most", "shown"),
    [
        ("critical", "low", "low"), ("low", "critical", "low"), (None, "high", "high"), ("critical", None, "critical"),
        (None, None, None),
    ],
)  # fmt: skip
def test_a_finding_is_as_severe_as_its_detector_may_be_at_most(
    own: Severity | None, most: Severity | None, shown: Severity | None
) -> None:
    assert looked_up(Finding(2, "60 days", severity=own), severity=most).severity == shown


def test_words_that_stand_in_one_other_turn_alone_are_moved_there() -> None:
    moved = looked_up(Finding(0, "you have 60 days"))

    assert (moved.turn, moved.quote, moved.verification) == (2, "You have 60 days", Verification.REPAIRED)


@pytest.mark.parametrize(
    "finding",
    [
        Finding(2, "you have thirty days"),
        Finding(1, "how can I help"),
        Finding(1, "6 days"),
        Finding(99, "never said at all"),
        Finding(-1, "60 days"),
        Finding(1, ""),
        Finding(1, " . "),
        Finding(None, "60 days"),
        Finding(1, "order " * 1000),
        Finding(Turn(2, "agent", "Another call says 60 days."), "You have 60 days"),
    ],
    ids=["never said", "in two others", "part of a number", "no such turn", "before the first", "nothing", "signs alone",
         "no turn", "endless", "another call's turn"],
)  # fmt: skip
def test_words_that_do_not_stand_there_are_not_verified(finding: Finding) -> None:
    assert looked_up(finding).verification is Verification.UNVERIFIED


def test_a_quote_of_a_model_proves_nothing_when_it_is_a_word_or_two() -> None:
    assert looked_up(Finding(2, "60 days"), is_model=True).verification is Verification.UNVERIFIED
    assert looked_up(Finding(2, "have 60 days"), is_model=True).verification is Verification.EXACT
    assert looked_up(Finding(0, "Thank you for calling"), is_model=True).verification is Verification.EXACT


def test_a_fact_of_the_record_quotes_nothing_and_only_detectors_of_facts_state_one() -> None:
    fact = Finding(None, "", "No disposition.")

    assert looked_up(fact, states_facts=True).verification is Verification.EXACT
    assert looked_up(fact).verification is Verification.UNVERIFIED


def test_the_same_words_found_again_are_the_same_finding_whatever_version_found_them() -> None:
    first = looked_up(Finding(2, "60 days", "a note"))
    again = looked_up(Finding(CALL.turns[2], "60  DAYS", "another", severity="high"), version_hash="of another version")
    others = [
        looked_up(Finding(2, "You have 60 days")),
        looked_up(Finding(2, "60 days", kind="other")),
        looked_up(Finding(2, "60 days"), name="other"),
        looked_up(Finding(2, "60 days"), call=replace(CALL, call_id="call-2")),
    ]

    assert first.finding_id == again.finding_id
    assert len({first.finding_id, *(other.finding_id for other in others)}) == 5


def test_a_renamed_detector_keeps_its_findings_and_incidents() -> None:
    before = looked_up(Finding(2, "60 days"))
    after = looked_up(Finding(2, "60 days"), name="new_name", was=("finds_nothing", "later"))

    assert after.detector == "new_name"
    assert (before.finding_id, before.fingerprint) == (after.finding_id, after.fingerprint)


def test_a_fingerprint_holds_what_calls_are_grouped_by_and_never_words_or_versions() -> None:
    made: dict[str, Any] = {"group_by": ("pathway_id", "no_such_fact")}
    one = looked_up(Finding(2, "60 days"), **made)
    elsewhere = looked_up(Finding(1, "I want a refund"), version_hash="another", **made)

    assert (
        one.fingerprint
        == elsewhere.fingerprint
        == fingerprint("finds_nothing", "wrong", {"no_such_fact": "unknown", "pathway_id": "p-1"}, None)
    )
    assert one.fingerprint.startswith("v1:")
    assert one.group == {"pathway_id": "p-1", "no_such_fact": "unknown"}
    assert len({one.fingerprint, looked_up(Finding(2, "60 days", key="policy"), **made).fingerprint,
                looked_up(Finding(2, "60 days")).fingerprint}) == 3  # fmt: skip


def test_estimated_times_and_word_lists_are_for_review_alone() -> None:
    estimated = replace(CALL, timing=Timing.ESTIMATED)

    def reviewed(call: Call, **about: Any) -> tuple[bool, Timing]:
        found = looked_up(Finding(2, "60 days"), call, **about)
        return found.review_only, found.timing

    assert reviewed(CALL) == (False, Timing.NONE)
    assert reviewed(CALL, needs=Timing.ESTIMATED) == (False, Timing.EXACT)
    assert reviewed(estimated, needs=Timing.ESTIMATED) == (True, Timing.ESTIMATED)
    assert reviewed(estimated) == (False, Timing.NONE)
    assert reviewed(CALL, review_only=True) == (True, Timing.NONE)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"severity": "red"}, "severity must be one of critical, high, medium, low"),
        ({"turn": "2"}, "turn must be a turn or its index"),
        ({"turn": True}, "turn must be a turn or its index"),
        ({"quote": None}, "quote must be text"),
        ({"note": 7}, "note must be text"),
        ({"key": 7}, "key must be text"),
        ({"kind": "Wrong Kind"}, "kind must be lower-case"),
    ],
)
def test_a_finding_with_a_wrong_field_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(Finding(1, "refund"), **fields)


def test_notes_and_keys_are_cut() -> None:
    found = looked_up(Finding(2, "60 days", "n" * 10_000, key="k" * 10_000))

    assert (len(found.note), len(found.key or "")) == (500, 200)


@pytest.mark.parametrize(
    ("quote", "is_there"),
    [
        ("send it", True), ("it back", True), ("send it back", True), ("it", True),
        ("end it", False), ("it bac", False), ("back now", False), ("", False),
    ],
)  # fmt: skip
def test_the_quick_test_finds_whole_words_also_at_the_begin_and_the_end_of_a_turn(
    quote: str, *, is_there: bool
) -> None:
    assert quote_stands_in("send it back", quote) == is_there


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("it costs one hundred twenty five dollars", "twenty five dollars"),
        ("it costs one hundred twenty five dollars today", "it costs one hundred"),
        ("so it is 12.50 for you", "so it is 12"),
        ("that is 1.5 million euros in all", "5 million euros in all"),
        ("it costs $1.50 now today", "50 now today"),
        ("that is right, I don't", "that is right, I don"),
        ("I am afraid that we can't refund it", "I am afraid that we can"),
    ],
)
def test_a_quote_that_cuts_a_word_or_a_number_is_not_verified(said: str, quote: str) -> None:
    call = call_of([("agent", said, 0.0, 2.0)])
    assert looked_up(Finding(0, quote), call).verification is Verification.UNVERIFIED


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("Yes, I want that one. Hundred percent.", "Yes, I want that one."),
        ("We close at five. Million thanks.", "We close at five"),
        ("I want this one, thousand thanks", "I want this one"),
        ("That is one hundred. Five dollars more is fine.", "Five dollars more is fine"),
        ("it is twenty five dollars today", "twenty five dollars"),
    ],
)
def test_a_sign_keeps_the_number_at_the_edge_of_a_quote_apart_from_what_follows(said: str, quote: str) -> None:
    call = call_of([("agent", said, 0.0, 2.0)])
    found = looked_up(Finding(0, quote), call)
    assert (found.quote, found.verification) == (quote, Verification.EXACT)
