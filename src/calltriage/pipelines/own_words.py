"""The words of a turn that a masked quote stands for.

A flag shows what was said, and a finding of a file with `redact` has its quote with masks. The built-in masks know which
part of the turn each of them replaces. A finding's id is made of the words as they were said: it tells equal masks of a turn
apart, it shows where a quote cut a number, and it finds the words behind masks of a user's function.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from calltriage.pipelines.findings import MOST_QUOTE, quote_stands_in
from calltriage.pipelines.redaction import Masked, masked

MOST_TRIED, EACH = 500_000, 100
"""Most characters of a turn's spans that are compared with an id, about a tenth of a second; each span costs EACH more."""
_WORD = re.compile(r"\w+")

Span = tuple[int, int]
"""Begin and end of a part of a turn's text."""


def own_words(text: str, quote: str, known: Sequence[str], is_it: Callable[[str], bool]) -> str | None:
    """The words of a turn's text that a quote stands for; None if that is not known.

    Args:
        text: the turn, as it was said.
        quote: words of the turn, or such words with masks.
        known: values that the built-in redactor masks besides numbers and addresses.
        is_it: whether words are those that the finding's id is made of.
    """
    if quote and quote in text and is_it(quote):
        return quote
    hidden = masked(text, known)
    spans = [hidden.original(at, at + len(quote)) for at in _places(hidden.text, quote)]
    tries = chain(spans, _cut(hidden, text, quote), _behind(text, quote))
    left = MOST_TRIED
    for begin, end in tries:
        left -= end - begin + EACH
        if left < 0:
            break
        if is_it(text[begin:end]):
            return text[begin:end]
    if len(spans) == 1:
        return text[slice(*spans[0])]
    return quote if quote_stands_in(text, quote) else None


def _places(text: str, quote: str) -> Iterator[int]:
    at = text.find(quote) if quote else -1
    while at >= 0:
        yield at
        at = text.find(quote, at + 1)


def _cut(hidden: Masked, text: str, quote: str) -> Iterator[Span]:
    """Spans that begin or end within what a mask at an edge of the quote replaces."""
    for at in _places(hidden.text, quote):
        stop = at + len(quote)
        begin, end = hidden.original(at, stop)
        first = next(((began, ended) for start, after, began, ended in hidden.places if start <= at < after), None)
        last = next(((began, ended) for start, after, began, ended in hidden.places if start < stop <= after), None)
        begins = [begin] if first is None else [word.start() for word in _WORD.finditer(text, *first)]
        ends = [end] if last is None else [word.end() for word in _WORD.finditer(text, *last)]
        yield from _forward(begins, ends)


def _behind(text: str, quote: str) -> Iterator[Span]:
    """Spans that begin and end as the quote does, as far as that is the turn's; then all others."""
    words = [word.span() for word in _WORD.finditer(text)]
    begins, ends = [begin for begin, _ in words], [end for _, end in words]
    head = quote[: _standing(lambda size: quote[:size] in text, len(quote))]
    tail = quote[len(quote) - _standing(lambda size: quote[len(quote) - size :] in text, len(quote)) :]
    tail = tail.rstrip(" .,!?;:…")
    as_quoted = (
        [begin for begin in begins if text.startswith(head, begin)] if head else begins,
        [end for end in ends if text.endswith(tail, 0, end)] if tail else ends,
    )
    yield from _forward(*as_quoted)
    yield from _forward(begins, ends)


def _standing(stands: Callable[[int], bool], most: int) -> int:
    """The greatest size up to `most` that stands; a smaller one stands, too."""
    return bisect_left(range(1, most + 1), 1, key=lambda size: int(not stands(size)))


def _forward(begins: Sequence[int], ends: Sequence[int]) -> Iterator[Span]:
    """Spans of a quote's length from one of the begins to one of the ends, both in order."""
    for begin in begins:
        last = bisect_right(ends, begin + MOST_QUOTE)
        yield from ((begin, end) for end in ends[bisect_right(ends, begin) : last])
