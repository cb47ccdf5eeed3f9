"""Detectors that ask an endpoint. Those that ask the same endpoint about the same calls share a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import anyio
from pydantic import AfterValidator, StringConstraints

from calltriage.errors import DetectorError, DetectorFailed
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import place
from calltriage.pipelines.calls import Call, Turn
from calltriage.pipelines.chat.answers import Judgement
from calltriage.pipelines.chat.endpoint import Endpoint, added, identity
from calltriage.pipelines.chat.kept import Answers, Known, free
from calltriage.pipelines.chat.questions import INSTRUCTIONS, messages, question_key
from calltriage.pipelines.detecting import Detector, Examined, Options, Usage, Verdict, checked_options, version_hash
from calltriage.pipelines.expressions import checked, holds
from calltriage.pipelines.findings import Finding, is_kind, quote_stands_in
from calltriage.pipelines.redaction import Masked, Redactor, known_values

K = TypeVar("K")

REMEMBERED = 64
"""Calls whose answers, or failures, are kept in memory for the other detectors of a panel."""
MOST_PROMPT = 20_000
"""Most characters of a prompt."""
USUAL_CALL = 6_000
"""Assumed length of a transcript in characters, for estimates of cost before calls are read."""
CHARACTERS_A_TOKEN = 3
"""Less than the usual average, so that estimates of cost are too high rather than too low."""
LONGEST_CALL = 400_000
"""Most characters of a transcript that is sent; a longer call is not offered."""


def _kind(text: str) -> str:
    if not is_kind(text):
        raise ValueError("must be lower-case letters, digits, and _ . : -")
    return text


class ChatOptions(Options):
    """Options of a detector that asks an endpoint."""

    endpoint: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """Name of an [endpoint.…] table of the file, or `replay:FILE` for a cassette."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """File with the question, relative to the pipeline's file."""
    kind: Annotated[str, AfterValidator(_kind)] | None = None
    """Kind of its findings; None: made of the detector's name."""
    speaker: Literal["agent", "caller", "any"] = "any"
    """Whose turns may be quoted."""
    when: Annotated[str, AfterValidator(checked)] | None = None
    """Expression (see `expressions`): calls that do not fulfil it are not sent."""
    confirm: Literal["second_pass"] | None = None
    """second_pass: ask again about the findings, and keep those that are found again."""


@dataclass(frozen=True)
class Criterion:
    """The question of one detector."""

    name: str
    options: ChatOptions
    text: str
    """The prompt."""


@dataclass(frozen=True)
class _Shown:
    """A call as the model gets it. `turns`: the masked texts. `said`: index, speaker and masked text of each turn."""

    turns: tuple[Masked, ...]
    said: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class _Said:
    text: str
    user: str | None = None


@dataclass(frozen=True)
class _Failure:
    """A request that failed, which the detectors of a panel share. `told`: those that have heard of it."""

    error: DetectorFailed
    told: set[str]


@dataclass
class Panel:
    """Detectors whose questions are sent in one request.

    Attributes:
        criteria: their questions.
        endpoint: where they are sent; None for a cassette.
        answers: the cache or cassette.
        redactor: masks what is sent; None: nothing is masked.
    """

    criteria: Sequence[Criterion]
    endpoint: Endpoint | None
    answers: Answers
    redactor: Redactor | None = None
    _held: OrderedDict[str, dict[str, Judgement]] = field(
        default_factory=OrderedDict[str, dict[str, Judgement]], init=False, repr=False
    )
    _failed: OrderedDict[str, _Failure] = field(default_factory=OrderedDict[str, _Failure], init=False, repr=False)
    _turns: dict[str, anyio.Lock] = field(default_factory=dict[str, anyio.Lock], init=False, repr=False)

    @property
    def usd(self) -> float:
        """Most USD that a call of usual length costs, with all questions and second passes. 0 without a price."""
        if self.endpoint is None or self.endpoint.price is None:
            return 0.0
        prompt = len(INSTRUCTIONS) + USUAL_CALL + sum(len(one.text) for one in self.criteria)
        return self.requests * self.endpoint.price.of(prompt // CHARACTERS_A_TOKEN, self.endpoint.max_tokens)

    @property
    def requests(self) -> int:
        """Most requests for a call, without repeats: one for all questions, and one for second passes."""
        return 0 if self.endpoint is None else 1 + any(one.options.confirm for one in self.criteria)

    async def examine(self, name: str, call: Call) -> Examined:
        """The model's answer to the detector's question. The first detector that asks is charged for all of the panel.

        Raises DetectorFailed, and Deferred if the money is spent: once for each detector of the panel. One that asks again
        begins another try.
        """
        if sum(len(turn.text) for turn in call.turns) > LONGEST_CALL:
            return Examined(verdict=Verdict.NOT_OFFERED, why=f"The transcript has more than {LONGEST_CALL} characters.")
        shown = await self._shown(call)
        turn = self._turns.setdefault(call.content_hash, anyio.Lock())
        try:
            async with turn:
                judgements, usage = await self._shared(name, call, shown)
        finally:
            if not turn.locked():
                self._turns.pop(call.content_hash, None)
        return self._examined(judgements[name], shown, call, usage)

    async def _shared(self, name: str, call: Call, shown: _Shown) -> tuple[dict[str, Judgement], Usage]:
        """What the panel knows of the call already, or the answer to a request. Its failure is kept for the others."""
        if (held := self._held.get(call.content_hash)) is not None:
            return held, Usage()
        failed = self._failed.get(call.content_hash)
        if failed is not None and name not in failed.told:
            failed.told.add(name)
            raise failed.error.with_traceback(None)
        try:
            judgements, usage = await self._judged(call, shown)
        except DetectorFailed as error:
            _keep(self._failed, call.content_hash, _Failure(error, {name}))
            raise
        _keep(self._held, call.content_hash, judgements)
        return judgements, usage

    async def _judged(self, call: Call, shown: _Shown) -> tuple[dict[str, Judgement], Usage]:
        judgements, usage = await self._asked(call, {one.name: one.text for one in self.criteria}, shown)
        doubted = [one for one in self.criteria if one.options.confirm and judgements[one.name].findings]
        if doubted:
            found: JsonObject = {one.name: judgements[one.name].model_dump() for one in doubted}
            again, more = await self._asked(call, {one.name: one.text for one in doubted}, shown, found)
            judgements = {**judgements, **{name: _both(judgements[name], second) for name, second in again.items()}}
            usage = added(usage, more)
        return judgements, usage

    async def _asked(
        self, call: Call, asked: dict[str, str], shown: _Shown, found: JsonObject | None = None
    ) -> tuple[dict[str, Judgement], Usage]:
        """Answers from the cache or cassette, else from the endpoint. `found`: findings of the first pass."""
        sent = messages(asked, shown.said, found)
        key = question_key(sent)
        if (known := await self.answers.get(call.call_id, key)) is not None:
            return known.judgements, free(known.usage)
        if self.endpoint is None:  # a cassette raises for what it does not know
            raise AssertionError
        judgements, usage = await self.endpoint.ask(sent, list(asked))
        await self.answers.keep(call.call_id, key, Known(judgements, usage))
        return judgements, usage

    async def _shown(self, call: Call) -> _Shown:
        masked = [Masked(turn.text) for turn in call.turns]
        if self.redactor is not None:
            masked = await self.redactor.mask([turn.text for turn in call.turns], known_values(call))
        said = tuple((turn.index, turn.speaker, one.text) for turn, one in zip(call.turns, masked, strict=True))
        return _Shown(tuple(masked), said)

    def _examined(self, judgement: Judgement, shown: _Shown, call: Call, usage: Usage) -> Examined:
        found = tuple(_finding(one.turn, one.quote, one.note, shown, call.turns) for one in judgement.findings)
        why = "The model cannot tell from the transcript." if judgement.verdict == "cannot_tell" else ""
        return Examined(found, Verdict(judgement.verdict), why, usage=usage)


def _keep(kept: OrderedDict[str, K], content_hash: str, one: K) -> None:
    """Keep what is known of a call, for the last REMEMBERED calls."""
    kept[content_hash] = one
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)


def _both(first: Judgement, second: Judgement) -> Judgement:
    """The findings of the first pass that the second one has, too."""
    kept = {(one.turn, one.quote) for one in second.findings}
    findings = [one for one in first.findings if (one.turn, one.quote) in kept]
    return Judgement(verdict="found" if findings else "not_found", findings=findings)


def _finding(index: int, quote: str, note: str, shown: _Shown, turns: Sequence[Turn]) -> Finding:
    """A finding with the original words for a quote of the masked text. A quote that no masked turn has stays as it is."""
    order = [index, *(number for number in range(len(turns)) if number != index)]
    for number in order:
        if not 0 <= number < len(turns) or not shown.turns[number].places:
            continue
        text = shown.turns[number].text
        at = text.find(quote) if quote_stands_in(text, quote) else -1
        span = (at, at + len(quote)) if at >= 0 else place([_Said(text)], 0, quote)
        if span is not None:
            begin, end = shown.turns[number].original(*span)
            return Finding(index, turns[number].text[begin:end], note)
    return Finding(index, quote, note)


def criterion(name: str, options: dict[str, object], folder: Path) -> Criterion:
    """Check the options of a chat detector and read its prompt. Raises DetectorError."""
    made = checked_options(name, ChatOptions, options)
    assert isinstance(made, ChatOptions)  # noqa: S101
    path = folder / made.prompt
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise DetectorError(f"The prompt {made.prompt} cannot be read ({told}).", path=("prompt",)) from None
    if not text.strip() or len(text) > MOST_PROMPT:
        raise DetectorError(f"The prompt {made.prompt} must have 1 to {MOST_PROMPT} characters.", path=("prompt",))
    return Criterion(name, made, text)


def detector_of(asked: Criterion, panel: Panel) -> Detector:
    """The detector for a question of a panel."""
    is_first = asked is panel.criteria[0]  # those that share a request cost it once
    model = "" if panel.endpoint is None else identity(panel.endpoint)
    return Detector(
        name=asked.name,
        kinds=(asked.options.kind or _as_kind(asked.name),),
        version="1",
        version_hash=version_hash("chat", "1", asked.options, asked.text, model),
        run=partial(_run, asked, panel),
        is_model=True,
        speaker=asked.options.speaker,
        requests=panel.requests if is_first else 0,
        usd=panel.usd if is_first else 0.0,
    )


async def _run(asked: Criterion, panel: Panel, call: Call) -> Examined:
    if asked.options.when is not None and not holds(asked.options.when, call):
        return Examined(verdict=Verdict.NOT_OFFERED, why=f"The call does not fulfil: {asked.options.when}")
    return await panel.examine(asked.name, call)


def _as_kind(name: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name.lower())[:64]
