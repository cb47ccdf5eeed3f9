"""Masks personal data in texts: card, account and telephone numbers, written or spoken, e-mail addresses, and personal
values of the call's record.

A masked text knows which part of the original each mask replaces, so that a quote of it can be found in the original.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from calltriage.errors import CalltriageError
from calltriage.leaves.strict_json import is_object
from calltriage.matching.folding import exact_line, folded
from calltriage.matching.numbers import in_digits, language_of
from calltriage.pipelines.calls import Call
from calltriage.pipelines.findings import Verified

BUILT_IN = "builtin"
LEAST_DIGITS, MOST_DIGITS = 7, 19
"""A number with at least so many digits is masked; a card number has at most so many."""
CARD_DIGITS = 13
"""Least digits of a card number."""
MOST_TOKENS = 60
"""Most words and figures of one number; a longer row of them counts as several numbers."""
LEAST_VALUE = 3
"""Least characters of a value of the record that is masked: shorter ones are parts of other words."""
PERSONAL = re.compile(r"name|phone|number|e-?mail|address|account|card|birth|ssn|iban|^(from|to)$", re.IGNORECASE)
"""Names of the record's fields whose values are masked."""
IMPERSONAL = re.compile(r"agent|assistant|voice|pathway|company|campaign|batch|model|file|event", re.IGNORECASE)
"""Names that match PERSONAL and are no person's."""
MARK = 6
"""Characters of a finding's fingerprint that follow a masked key or value of its group."""
ENDINGS = "com|net|org|edu|gov|info|biz|io|co|us|uk|de|fr|es|it|nl|eu"
_WRITTEN_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_SPOKEN_EMAIL = re.compile(
    r"\b(?:\w+ (?:dot|underscore|dash|hyphen) ){0,3}(?:\w ){0,20}\w{1,64} at (?:\w+ ){1,3}(?:dot|point) (?:"
    + ENDINGS
    + r")\b",
    re.IGNORECASE,
)
_PIECE = re.compile(r"\w+|\W")
MOST_COMPARED = 8_000
"""Most words and signs of a text that are compared with what a user's redactor made of them."""
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_BETWEEN = re.compile(
    r"[\s.,:;/|\\()+#*_~'\"-"
    "\u00ad\u00b7\u2010-\u2015\u2019\u2022\u2026\u2027\u2043\u2219\u2212\u25cf\u200b-\u200d\u2060\ufe63\uff0d\ufeff]*"
)
"""What may be between the parts of one number: blanks, and signs such as dashes, bullets and those that nobody sees."""
JOINING = {"oh", "o", "and", "double", "triple", "null", "naught"}
"""Words within numbers that change them: zeros and repeats."""
FILLING = {
    "dash", "hyphen", "minus", "slash", "dot", "underscore", "space", "strich", "bindestrich", "guion", "guión", "tiret",
    "trattino", "streepje", "uh", "uhh", "uhm", "um", "umm", "er", "erm", "eh", "ah", "hm", "hmm", "mm", "mhm", "euh", "äh",
    "ähm",
}  # fmt: skip
"""Words within numbers that do not change them: signs that are spoken, and what people say while they think."""
_NOISE = re.compile(r"[\[<(][^\W\d_]{1,30}(?:[ _-][^\W\d_]{1,30}){0,2}[\]>)]")
"""A note of the transcription, such as [noise]."""


@dataclass(frozen=True)
class Masked:
    """A text with masks.

    Attributes:
        text: the text with masks.
        places: for each mask, in order: its begin and end in `text`, and begin and end of what it replaces in the original.
    """

    text: str
    places: tuple[tuple[int, int, int, int], ...] = ()

    def original(self, begin: int, end: int) -> tuple[int, int]:
        """The span of the original for a span of `text`. A mask that is touched counts whole."""
        return self._before(begin), self._after(end)

    def part(self, begin: int, end: int) -> str:
        """The part of `text` for a span of the original. A mask whose original is touched is included whole."""
        first = last = 0
        for start, stop, began, ended in self.places:
            first = stop - ended if ended <= begin else start - begin if began < begin else first
            last = stop - ended if ended <= end else stop - end if began < end else last
        return self.text[begin + first : end + last]

    def _before(self, at: int) -> int:
        shift = 0
        for start, stop, began, ended in self.places:
            if at < start:
                break
            if at < stop:
                return began
            shift = ended - stop
        return at + shift

    def _after(self, at: int) -> int:
        shift = 0
        for start, stop, _, ended in self.places:
            if at <= start:
                break
            if at < stop:
                return ended
            shift = ended - stop
        return at + shift


class Redactor(Protocol):
    """Masks texts."""

    async def mask(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Masked]:
        """Mask texts of one call. `known`: values that are masked wherever they are. Raises RedactionError if the user's
        code fails."""
        ...


class RedactionError(CalltriageError):
    """A user's redactor failed. The text must be neither stored nor sent."""


class RedactorOff(RedactionError):
    """A user's redactor hung too often and masks no further text. `redactor`: its name in the pipeline's file."""

    def __init__(self, message: str, redactor: str) -> None:
        super().__init__(message)
        self.redactor = redactor


class BuiltIn:
    """Masks numbers of 7 digits or more, written or spoken, e-mail addresses, and the known values."""

    async def mask(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Masked]:
        return [masked(text, known) for text in texts]


def masked(text: str, known: Sequence[str] = ()) -> Masked:
    """A text with the masks of the built-in redactor; see BuiltIn."""
    return _masked(text, [*_values(text, known), *_emails(text), *_numbers(text)])


def with_known(text: str, known: Sequence[str]) -> Masked:
    """A text in which only the known values are masked."""
    return _masked(text, list(_values(text, known)))


def told_as(first: Masked, told: str) -> Masked:
    """The masked text that somebody made of `first`: words that differ are masks of what stands there in the original.

    Linear in the length of what is equal at both ends; between them words are compared, MOST_COMPARED at most, and a longer
    part counts as one mask.
    """
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415  native code

    whole, theirs = _PIECE.findall(first.text), _PIECE.findall(told)
    ours = _without_masked(first, whole)
    same = _same(ours, theirs)
    rest = min(len(ours), len(theirs)) - same
    last = min(rest, _same(ours[::-1], theirs[::-1]))
    mine, other = ours[same : len(ours) - last], theirs[same : len(theirs) - last]
    differing: list[tuple[int, int, int, int]] = [(0, len(mine), 0, len(other))] if mine or other else []
    if max(len(mine), len(other)) <= MOST_COMPARED:
        edits = Levenshtein.opcodes(mine, other)
        differing = _joined(
            [(it.src_start, it.src_end, it.dest_start, it.dest_end) for it in edits if it.tag != "equal"]
        )
    ends, others = _ends(whole), _ends(theirs)
    places = list[tuple[int, int, int, int]]()
    for began, ended, start, stop in differing:
        original = first.original(ends[same + began], ends[same + ended])
        places.append((others[same + start], others[same + stop], *original))
    return Masked(told, tuple(places))


def _without_masked(first: Masked, pieces: Sequence[str]) -> list[str]:
    """Pieces of a masked text, those of its masks replaced with what equals no piece: a mask that is told again is one."""
    return [
        "" if any(start < end and at < stop for start, stop, *_ in first.places) else piece
        for piece, at, end in zip(pieces, _ends(pieces), _ends(pieces)[1:], strict=False)
    ]


def _same(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many pieces at the beginning are equal."""
    return next(
        (at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other),
        min(len(ours), len(theirs)),
    )


def _joined(spans: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Differences, those that touch as one."""
    joined = list[tuple[int, int, int, int]]()
    for began, ended, start, stop in spans:
        if joined and (joined[-1][1], joined[-1][3]) == (began, start):
            joined[-1] = (joined[-1][0], ended, joined[-1][2], stop)
        else:
            joined.append((began, ended, start, stop))
    return joined


def _ends(pieces: Sequence[str]) -> list[int]:
    """Where each piece begins in the text, and where the text ends."""
    return [0, *accumulate(len(piece) for piece in pieces)]


def known_values(call: Call) -> tuple[str, ...]:
    """Personal values of a call's metadata and record, such as names, numbers and addresses, longest first."""
    found = {value for facts in (call.metadata, call.record) for value in _personal(facts)}
    parts = {part for value in found for part in value.split() if part[:1].isupper() and part.isalpha()}
    return tuple(sorted((one for one in found | parts if len(one) >= LEAST_VALUE), key=len, reverse=True))


def _personal(facts: object, depth: int = 0) -> Iterator[str]:
    if not is_object(facts) or depth > 4:
        return
    for name, value in facts.items():
        if isinstance(value, str) and PERSONAL.search(name) and not IMPERSONAL.search(name) and len(value) <= 200:
            yield value.strip()
        yield from _personal(value, depth + 1)


async def redacted(found: Verified, redactor: Redactor | None, call: Call) -> Verified:
    """A finding with masks in quote, note, key and group. Its ids stay those of the original words. Raises RedactionError.

    A masked key or value of the group ends in the beginning of the finding's fingerprint: one number looks the same in each
    run, and two numbers look different. It tells nothing that the fingerprint, which people see, does not.
    """
    if redactor is None:
        return found
    key, said = found.key or "", _turn_of(found, call)
    texts = [found.quote if said is None else said, found.note, key, *found.group.values()]
    masks = await redactor.mask(texts, known_values(call))
    mark = found.fingerprint.partition(":")[2][:MARK]

    def marked(value: str, hidden: Masked) -> str:
        return value if hidden.text == value else f"{hidden.text} {mark}"

    group = {name: marked(value, hidden) for (name, value), hidden in zip(found.group.items(), masks[3:], strict=True)}
    quote = masks[0].text
    if said is not None:  # alone the quote may hold a part of a number that is too short to be masked
        at = said.find(found.quote)
        quote = masks[0].part(at, at + len(found.quote))
    return replace(
        found, quote=quote, note=masks[1].text, key=None if found.key is None else marked(key, masks[2]), group=group
    )


def _turn_of(found: Verified, call: Call) -> str | None:
    """The text of a finding's turn; None if the quote does not stand in it."""
    said = call.turns[found.turn].text if found.turn is not None and 0 <= found.turn < len(call.turns) else ""
    return said if found.quote in said and said else None


Span = tuple[int, int, str]
"""Begin and end of a part of a text that is masked, and its mask."""


def _values(text: str, known: Sequence[str]) -> Iterator[Span]:
    lowered = text.casefold() if len(text.casefold()) == len(text) else text
    for value in known:
        wanted = value.casefold()
        at = lowered.find(wanted)
        while at >= 0 and wanted:
            end = at + len(wanted)
            if not (lowered[at - 1 : at].isalnum() or lowered[end : end + 1].isalnum()):
                yield at, end, "[known]"
            at = lowered.find(wanted, end)


def _emails(text: str) -> Iterator[Span]:
    for pattern in (_WRITTEN_EMAIL, _SPOKEN_EMAIL):
        for found in pattern.finditer(text):
            yield found.start(), found.end(), "[e-mail]"


def _numbers(text: str) -> Iterator[Span]:
    language = language_of([folded(text)])
    for run in _runs(text, language):
        begin, end = run[0].start(), run[-1].end()
        words = [token[0] for token in run if token[0].casefold() not in FILLING]
        said = text[begin:end] if len(words) == len(run) and not _NOISE.search(text, begin, end) else " ".join(words)
        digits = re.sub(r"\D", "", in_digits(exact_line(said), language))
        if len(digits) >= LEAST_DIGITS:
            yield begin, end, _name(digits)


def _runs(text: str, language: str) -> Iterator[list[re.Match[str]]]:
    """Runs of tokens that may be one number: digits and spoken numbers with only blanks, signs, notes of the transcription
    and words of JOINING and FILLING between them."""
    text = _NOISE.sub(lambda noise: noise[0] if _tells_number(noise[0], language) else " " * len(noise[0]), text)
    run = list[re.Match[str]]()
    for token in _TOKEN.finditer(text):
        adjoins = bool(run) and _adjoins(text, run[-1], token)
        word = token[0].casefold()
        is_number = _is_number(word, language)
        joins = word in FILLING or (word in JOINING and not (word == "and" and run and run[-1][0].isdigit()))
        if run and (len(run) == MOST_TOKENS or not (adjoins and (is_number or joins))):
            yield from _trimmed(run, language)
            run = []
        if is_number or (run and adjoins) or word in ("double", "triple"):
            run.append(token)
    yield from _trimmed(run, language)


def _adjoins(text: str, before: re.Match[str], token: re.Match[str]) -> bool:
    """Whether a token may belong to the number that ends before it. A colon in a time of day keeps numbers apart."""
    begin, end = before.end(), token.start()
    if text[begin:end] == ":" and len(before[0]) <= 2 and len(token[0]) == 2:
        return False
    return _BETWEEN.fullmatch(text, begin, end) is not None


def _tells_number(noise: str, language: str) -> bool:
    return any(_is_number(word[0].casefold(), language) for word in _TOKEN.finditer(noise))


def _trimmed(run: list[re.Match[str]], language: str) -> Iterator[list[re.Match[str]]]:
    while run and not _is_number(run[-1][0].casefold(), language):
        run.pop()
    if run:
        yield run


@lru_cache(maxsize=5_000)
def _is_number(token: str, language: str) -> bool:
    return token.isdigit() or in_digits(exact_line(token), language).strip().isdigit()


def _name(digits: str) -> str:
    """The mask of a number by its digits: `[card]` if they pass the Luhn check, else by their count."""
    if CARD_DIGITS <= len(digits) <= MOST_DIGITS:
        return "[card]" if _luhn(digits) else "[account]"
    return "[phone]" if 10 <= len(digits) < CARD_DIGITS else "[number]"


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def _masked(text: str, spans: Iterable[Span]) -> Masked:
    """Put masks into a text. Overlapping ones become one mask."""
    joined = list[Span]()
    for begin, end, mask in sorted(spans):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end), joined[-1][2])
        else:
            joined.append((begin, end, mask))
    pieces, places, at, length = list[str](), list[tuple[int, int, int, int]](), 0, 0
    for begin, end, mask in joined:
        pieces += [text[at:begin], mask]
        length += begin - at
        places.append((length, length + len(mask), begin, end))
        length += len(mask)
        at = end
    return Masked("".join([*pieces, text[at:]]), tuple(places))
