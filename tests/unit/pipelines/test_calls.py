"""A call as detectors see it."""

from __future__ import annotations

import pytest
from pipeline_calls import BEGAN, Said, call_of, vendor_call

from calltriage.pipelines.calls import Timing, view_of
from calltriage.pipelines.detectors.silences import agent_silence
from calltriage.pipelines.findings import verified


def test_each_side_is_called_the_same_whatever_the_source_calls_it() -> None:
    call = call_of(
        [("assistant", "hello"), ("user", "hi"), ("robot", "how can I help"), ("Dr. Grey", "one"), ("", "two")]
    )

    assert [turn.speaker for turn in call.turns] == ["agent", "caller", "agent", "dr. grey", "unknown"]
    assert [turn.index for turn in call.agent_turns] == [0, 2]
    assert [turn.index for turn in call.caller_turns] == [1]


def test_times_are_exact_where_each_spoken_turn_has_begin_and_end() -> None:
    call = call_of([("agent", "hello", 0.5, 1.0), ("caller", "[noise]"), ("caller", "hi there", 2.0, 2.5)])

    assert call.timing is Timing.EXACT
    assert [(turn.start_s, turn.end_s) for turn in call.turns] == [(0.5, 1.0), (None, None), (2.0, 2.5)]


def test_ends_are_estimated_at_three_words_a_second_and_not_past_the_next_turn() -> None:
    call = call_of([("agent", "one two three four five six", 1.0), ("caller", "a b c", 2.5), ("agent", "d e f", 10.0)])

    assert call.timing is Timing.ESTIMATED
    assert [turn.end_s for turn in call.turns] == [2.5, 3.5, 11.0]


def test_a_turns_instant_stands_for_its_begin() -> None:
    rows = [{"user": "user", "text": "hello there", "created_at": "2026-05-06T10:00:04+00:00"}]
    call = view_of(vendor_call([], transcripts=rows))

    assert (call.timing, call.turns[0].start_s) == (Timing.ESTIMATED, 4.0)


@pytest.mark.parametrize(
    "turns",
    [
        [("agent", "hello"), ("caller", "hi there", 3.0)],
        [("agent", "hello", 7.0), ("caller", "hi there", 7.0)],
        [("agent", "hello", 9.0), ("caller", "hi there", 3.0)],
        [],
    ],
    ids=["one without", "all alike", "backwards", "no turns"],
)
def test_times_that_cannot_be_true_are_none(turns: list[tuple[str, str]]) -> None:
    call = call_of(turns)

    assert call.timing is Timing.NONE
    assert {(turn.start_s, turn.end_s) for turn in call.turns} <= {(None, None)}


def test_a_field_is_found_by_its_name_by_a_path_and_by_its_place_in_the_metadata() -> None:
    call = call_of([], metadata={"branch": "north", "a": {"b": 1}}, answered_by="human")
    names = ("branch", "metadata.branch", "a.b", "metadata.a.b", "answered_by", "metadata", "metadata.answered_by")

    assert [call.value(name) for name in names] == ["north", "north", 1, 1, "human", None, None]


def test_a_sound_is_not_spoken_and_its_mark_is_no_word() -> None:
    call = call_of([("caller", "[noise]"), ("caller", "<unk> yes please [cough]"), ("caller", "it's twenty-five")])

    assert [turn.words for turn in call.turns] == [0, 2, 2]


def test_the_hash_of_a_call_changes_with_what_detectors_see_and_with_nothing_else() -> None:
    turns = [("agent", "hello")]
    first = call_of(turns, recording_url="https://a.example/1?signature=a", updated_at="2026-05-06")
    again = call_of(turns, recording_url="https://a.example/1?signature=b", updated_at="2026-05-07")
    others = [
        call_of([("agent", "hello you")]),
        call_of(turns),
        call_of(turns, recording_url="https://a.example/1", metadata={"pathway_id": "p"}),
        call_of(turns, recording_url="https://a.example/1", answered_by="voicemail"),
        call_of(turns, recording_url="https://a.example/1", corrected=[("agent", "hello", 1.0, 2.0)]),
    ]

    assert first.content_hash == again.content_hash
    assert len({first.content_hash, *(call.content_hash for call in others)}) == 6


def test_a_fact_is_looked_up_in_the_metadata_and_then_in_the_record() -> None:
    call = call_of([], metadata={"line": {"name": "refunds"}, "a.b": 1}, answered_by="human", status=None)

    assert [call.value(name) for name in ("line.name", "a.b", "answered_by", "status", "line.no.more")] == [
        "refunds", 1, "human", None, None,
    ]  # fmt: skip


def test_a_call_ended_when_its_vendor_says_or_as_long_after_its_begin_as_it_lasted() -> None:
    said = call_of([], end_at="2026-05-06T10:07:00+00:00", call_length=1)
    counted = call_of([], call_length=1.5)

    assert said.began is not None
    assert said.began.isoformat() == BEGAN
    assert [str(call.ended) for call in (said, counted, call_of([]))] == [
        "2026-05-06 10:07:00+00:00", "2026-05-06 10:01:30+00:00", "None",
    ]  # fmt: skip


BLAND = [
    {"user": "user", "text": "what are your hours", "created_at": "2026-05-06T10:00:02+00:00"},
    {"user": "user", "text": "mm hmm", "created_at": "2026-05-06T10:00:08+00:00"},
    {"user": "assistant", "text": "We open at nine thirty", "created_at": "2026-05-06T10:00:16+00:00"},
]
"""Turns as a vendor writes them during a call: with the instant at which each was written, and no end."""


async def test_turns_get_the_times_of_the_recordings_lines_that_hold_their_words() -> None:
    redone: list[Said] = [("0", "What are your hours?", 1.5, 6.25), ("1", "We open at 9:30.", 15.0, 17.0)]

    call = call_of([], corrected=redone, transcripts=BLAND)

    assert (call_of([], transcripts=BLAND).timing, call.timing) == (Timing.ESTIMATED, Timing.EXACT)
    assert [(turn.start_s, turn.end_s) for turn in call.turns] == [(1.5, 6.25), (None, None), (15.0, 17.0)]
    made = agent_silence.configured()
    found = verified(call, made, (await made.examine(call)).findings[0])
    assert (found.turn, found.timing, found.review_only) == (2, Timing.EXACT, False)
    assert found.note == "The agent was silent for 8.8 s before this turn."


@pytest.mark.parametrize(
    "redone",
    [
        [("0", "What are your hours?", 1.5, 6.25)],
        [("0", "What are your hours?", 1.5, 6.25), ("1", "We open at 9:30.", 15.0)],
        [("0", "Something else entirely", 1.5, 6.25), ("1", "was said on this one", 15.0, 17.0)],
        [],
    ],
    ids=["a turn is not in it", "without an end", "another call's", "empty"],
)
def test_times_stay_estimated_where_the_recording_does_not_tell_those_of_each_turn(redone: list[Said]) -> None:
    call = call_of([], corrected=redone, transcripts=BLAND)

    assert call.timing is Timing.ESTIMATED
    assert call.turns[0].start_s == 2.0
