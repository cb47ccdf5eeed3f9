"""The rule `contradicts_record`: it compares values that the agent states with the call's record or a table."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import PrivateAttr, StringConstraints, ValidationInfo, model_validator

from calltriage.matching.folding import loose_line
from calltriage.pipelines.calls import AGENT, CALLER, Call, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.values import names_after, recorded, same, stated
from calltriage.pipelines.detectors.wording import Several, first_words, phrases
from calltriage.pipelines.findings import Finding

QUOTED_WORDS = 30
"""Most words of a turn that a finding quotes."""
MOST_TABLE = 8 * 2**20
"""Most bytes of a table."""
NAME_LIKENESS = 75
"""Least likeness, 0 to 100, of a spoken name to the recorded one: transcripts write names by their sound."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class RecordOptions(Options):
    """Options of contradicts_record."""

    kind: Literal["time", "money", "phone", "number", "name"]
    near: Several
    """Phrases, one of which the agent says in the passage with the value; for a name, the phrase right before it."""
    fact: Name | None = None
    """Field of the call's metadata or record with the right value."""
    table: str | None = None
    """CSV file, relative to the pipeline's file, with the right values instead."""
    match: Name | None = None
    """Name of the table's column and of the call's field whose values must be equal in the row."""
    column: Name | None = None
    """Column of the table with the right value."""

    _rows: dict[str, str] = PrivateAttr(default_factory=dict[str, str])
    _sources: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> Self:
        if (self.fact is None) is (self.table is None):
            raise ValueError("set `fact`, or `table` with `match` and `column`")
        if self.table is not None:
            if self.match is None or self.column is None:
                raise ValueError("`table` needs `match` and `column`")
            folder = info.context.get("folder") if isinstance(info.context, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            self._read(folder if isinstance(folder, Path) else Path())
        return self

    def _read(self, folder: Path) -> None:
        path = folder / (self.table or "")
        try:
            data = path.read_bytes() if path.stat().st_size <= MOST_TABLE else None
        except OSError as error:
            raise ValueError(f"the table {self.table} cannot be read ({error.strerror})") from None
        if data is None:
            raise ValueError(f"the table {self.table} is larger than {MOST_TABLE // 2**20} MiB")
        try:
            rows = csv.DictReader(data.decode("utf-8-sig").splitlines())
        except UnicodeDecodeError:
            raise ValueError(f"the table {self.table} is no UTF-8 text") from None
        missing = [name for name in (self.match, self.column) if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"the table {self.table} has no column {missing[0]!r}")
        self._rows.update({row[self.match or ""]: row[self.column or ""] for row in rows})
        self._sources = (hashlib.sha256(data).hexdigest(),)

    @property
    def sources(self) -> tuple[str, ...]:
        return self._sources

    def right(self, call: Call) -> object:
        """The right value for a call; None if there is none."""
        if self.fact is not None:
            return call.value(self.fact)
        key = call.value(self.match or "")
        return None if key is None else self._rows.get(str(key))


@detector(version=1, kind="contradicts_record", options=RecordOptions)
def contradicts_record(call: Call, options: RecordOptions) -> Iterator[Finding]:
    """The agent states another value than the record: a time, an amount of money, a telephone number, a number or a name.

    The rule looks at passages, the agent's turns until the caller speaks, that have one of the phrases `near`. Each value of
    the `kind` in such a passage must equal the right value; spoken and written forms are equal ("eleven a m", 11:00 AM). A
    name follows one of `near`, and equals the right one at 75 % likeness. The right value is a `fact` of the call, or comes
    from a CSV `table`. A value that is never said is no contradiction. One finding for a turn.
    Times: none are needed.
    """
    right = options.right(call)
    if right is None or str(right).strip() == "":
        return
    language = call.language
    told = str(right)[:100]
    near = phrases(*options.near)
    for passage in _passages(call):
        if not any(near.found(turn) for turn in passage):
            continue
        for turn in passage:
            if _contradicts(turn, right, options, language):
                note = f"The record says {told}; the agent says otherwise."
                yield Finding(turn, first_words(turn, QUOTED_WORDS), note)


def _passages(call: Call) -> Iterator[list[Turn]]:
    """The passages of the agent: its turns until the caller says something."""
    passage = list[Turn]()
    for turn in call.turns:
        if turn.speaker == CALLER and turn.has_words and passage:
            yield passage
            passage = []
        if turn.speaker == AGENT and turn.has_words:
            passage.append(turn)
    if passage:
        yield passage


def _contradicts(turn: Turn, right: object, options: RecordOptions, language: str) -> bool:
    if options.kind == "name":
        return any(not _is_named(words, str(right)) for words in names_after(turn.text, options.near))
    wanted = recorded(options.kind, right, language)
    said = stated(options.kind, turn.text, language)
    return bool(wanted) and any(not any(same(options.kind, one, other) for other in wanted) for one in said)


def _is_named(words: list[str], name: str) -> bool:
    from rapidfuzz.fuzz import ratio  # noqa: PLC0415  native code

    parts = loose_line(name).split()
    return any(ratio(word, part) >= NAME_LIKENESS for word in words for part in parts)
