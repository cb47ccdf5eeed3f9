"""The rule `digits_differ`: it compares the live transcript with the corrected one, which is made from the recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from calltriage.matching.numbers import language_of
from calltriage.pipelines.alignment import Group, aligned, spoken_in_digits
from calltriage.pipelines.calls import Call, Turn
from calltriage.pipelines.detecting import detector
from calltriage.pipelines.detectors.wording import first_words
from calltriage.pipelines.findings import Finding

QUOTED_WORDS = 30
"""Most words of a turn that a finding quotes."""
WORDLIKE = {"1", "1st", "2nd"}
"""Numbers that are often plain words: "a new one", "one second", "the first account"."""


@detector(version=1, kind="digits_differ", needs_corrected=True)
def digits_differ(call: Call) -> Iterator[Finding]:
    """The live transcript has another number than the recording: the agent may have acted on a wrong number.

    The numbers of each turn, spoken or written, are compared as digits with those of the matching lines of the corrected
    transcript: lines with the same words, or spoken at the same time. A single "one" or "first" does not count: it is often
    no number. One finding for a turn. Calls of more than 8,000 words are not compared.
    Times: none are needed; without them, a turn that shares no word with the corrected transcript is not compared.
    """
    language = language_of(turn.text for turn in call.corrected or ())
    for group in aligned(call.turns, call.corrected or (), language) or ():
        yield from _different(group, language)


def _different(group: Group, language: str) -> Iterator[Finding]:
    if [turn.line for turn in group[0]] == [turn.line for turn in group[1]]:
        return
    heard, said = (Counter(_numbers(turns, language)) for turns in group)
    wrong, missed = heard - said, said - heard
    in_a_row = ["".join(_numbers(turns, language)) for turns in group]
    if not {*wrong, *missed} - WORDLIKE or in_a_row[0] == in_a_row[1]:  # one number may be spread over several turns
        return
    turn = next((turn for turn in group[0] if wrong.keys() & {*_numbers([turn], language)}), group[0][0])
    note = f"Heard {_told(wrong)}, where the recording has {_told(missed)}."
    yield Finding(turn, first_words(turn, QUOTED_WORDS), note)


def _numbers(turns: Sequence[Turn], language: str) -> list[str]:
    """The numbers of some turns as digits, in order."""
    lines = (spoken_in_digits(turn.spoken, language) for turn in turns)
    return [piece for line in lines for piece in line.split() if piece[:1].isdigit()]


def _told(found: Counter[str]) -> str:
    return ", ".join(sorted(found.elements())) or "no number"
