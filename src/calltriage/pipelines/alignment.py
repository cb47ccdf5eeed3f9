"""Matches turns of the live transcript with lines of the corrected transcript, which is made from the recording."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from calltriage.matching.folding import exact_line
from calltriage.matching.numbers import in_digits
from calltriage.pipelines.turns import Turn

MOST_WORDS = 8_000
"""A call with more words is not compared: the time grows with the square of the number of words."""
SHARE = 0.3
"""Least share of the shorter one's words that a turn and a line must have in common to match."""

Group = tuple[tuple[Turn, ...], tuple[Turn, ...]]
"""Turns of the live transcript, and the matching lines of the corrected one."""


def aligned(live: Sequence[Turn], redone: Sequence[Turn], language: str) -> list[Group] | None:
    """Groups of matching turns and lines, in order. None if a transcript is too long.

    Numbers are compared digit by digit, however they are written. A turn and a line without a common word match if they
    were spoken at the same time.
    """
    if max(sum(turn.words for turn in turns) for turns in (live, redone)) > MOST_WORDS:
        return None
    links = _links(_words(live, language), _words(redone, language))
    taken = {one for one, _ in links}, {other for _, other in links}
    links |= set(_by_time(live, redone, *taken))
    return _groups(live, redone, links)


def _words(turns: Sequence[Turn], language: str) -> list[tuple[str, int]]:
    return [(word, number) for number, turn in enumerate(turns) for word in _pieces(turn, language)]


def _pieces(turn: Turn, language: str) -> Iterator[str]:
    """The words of a turn; a number becomes its single digits."""
    for word in spoken_in_digits(turn.spoken, language).split():
        yield from word if word.isdecimal() else (word,)


@lru_cache(maxsize=5_000)
def spoken_in_digits(text: str, language: str) -> str:
    """A text's line with its numbers in digits. Cached: both transcripts often hold the same text."""
    return in_digits(exact_line(text), language)


def _links(live: list[tuple[str, int]], redone: list[tuple[str, int]]) -> set[tuple[int, int]]:
    """Pairs of a turn and a line that share words of the longest common subsequence of the transcripts."""
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415  native code

    shared = Counter[tuple[int, int]]()
    for block in LCSseq.opcodes([word for word, _ in live], [word for word, _ in redone]):
        if block.tag == "equal":
            for step in range(block.src_end - block.src_start):
                shared[live[block.src_start + step][1], redone[block.dest_start + step][1]] += 1
    sizes = Counter(number for _, number in live), Counter(number for _, number in redone)
    return {pair for pair, count in shared.items() if count >= SHARE * min(sizes[0][pair[0]], sizes[1][pair[1]])}


def _by_time(
    live: Sequence[Turn], redone: Sequence[Turn], taken: set[int], taken_redone: set[int]
) -> Iterator[tuple[int, int]]:
    """Pairs of an unmatched turn and an unmatched line that were spoken at the same time."""
    left = [number for number, turn in enumerate(live) if turn.has_words and number not in taken]
    others = [number for number, turn in enumerate(redone) if turn.has_words and number not in taken_redone]
    for number in left:
        for other in others:
            if _together(live[number], redone[other]):
                yield number, other


def _together(one: Turn, other: Turn) -> bool:
    """Whether two turns overlap for at least half of the shorter one."""
    if one.start_s is None or one.end_s is None or other.start_s is None or other.end_s is None:
        return False
    overlap = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    return overlap > 0 and overlap >= min(one.end_s - one.start_s, other.end_s - other.start_s) / 2


def _groups(live: Sequence[Turn], redone: Sequence[Turn], links: set[tuple[int, int]]) -> list[Group]:
    """The connected components of the links, in the order of their turns."""
    group_of = dict[tuple[str, int], int]()
    members = defaultdict[int, set[tuple[str, int]]](set)
    for number, (one, other) in enumerate(sorted(links)):
        joined = {group_of[end] for end in (("live", one), ("redone", other)) if end in group_of}
        whole = {("live", one), ("redone", other)}.union(*(members.pop(group) for group in joined))
        members[number] = whole
        group_of.update(dict.fromkeys(whole, number))
    return [
        (
            tuple(live[number] for side, number in sorted(whole) if side == "live"),
            tuple(redone[number] for side, number in sorted(whole) if side == "redone"),
        )
        for whole in sorted(members.values(), key=min)
    ]
