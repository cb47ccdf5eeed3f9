"""The moment of a call that a flag points at, found by the words that were said or by the turn's index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anyio import to_thread

from calltriage.errors import NotFound, Rejected, TryNext, UnreadableAnswer
from calltriage.leaves.gate import storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import Near, across, around, nearest, part, place, quoted
from calltriage.operations.calls import GetCall, Turn
from calltriage.server.answers.results import untrusted
from calltriage.server.context import Invocation, numbered
from calltriage.server.tools.transcripts import GetTranscriptTool

SURE, APART = 0.8, 0.2
"""Least likeness of a turn that is taken for the quoted one, and how much less like every other turn must be."""
MOST_TURNS = 5
"""Turns that an error shows."""


@dataclass(frozen=True)
class Moment:
    """What a flag points at.

    Attributes:
        index: of the turn; None for the whole call, and for words whose turn is not known.
        text: what was said there.
        unverified: fields of the flag that the transcript does not confirm.
    """

    index: int | None = None
    text: str | None = None
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sought:
    """Where an agent says that a moment is.

    Attributes:
        call_id: of the call.
        quote: words of one turn.
        message_index: of the turn.
        message_text: words that no turn may have; the moment is then unverified.
        same_call: makes the advice to repeat the call without the quote and with another place.
    """

    call_id: str
    quote: str | None
    message_index: int | None
    message_text: str | None
    same_call: Callable[[JsonObject], TryNext | None]

    async def moment(self, work: Invocation) -> Moment:
        """The moment meant. Raises Rejected if the call has no such moment, or several."""
        return await self.moment_in(await self.turns(work) if self.is_of_a_turn else [])

    @property
    def is_of_a_turn(self) -> bool:
        """Whether a turn is meant, not the whole call."""
        return (self.quote, self.message_text, self.message_index) != (None, None, None)

    async def moment_in(self, turns: list[Turn]) -> Moment:
        """The moment meant, in the turns of the call. Raises Rejected if there is no such moment, or several."""
        words = self.quote or self.message_text
        if words is None and self.message_index is None:
            return Moment()
        if self.quote is not None and self.message_text is not None:
            raise Rejected(
                "Pass quote for words that a turn has, or message_text for a moment that none has, not both.",
                field="message_text",
                outcome="not_committed",
            )
        is_within = self.message_index is None or self.message_index < len(turns)
        if not is_within and self.message_text is None:
            raise Rejected(
                f"The transcript has {len(turns)} turns, counted from 0. If it is not the whole call, pass message_text "
                "besides.",
                field="message_index",
                outcome="not_committed",
                try_next=TryNext(tool=GetTranscriptTool.tool_name(), arguments={"call_id": self.call_id}),
            )
        if self.message_index is not None and words is None:
            return Moment(self.message_index, _storable(turns[self.message_index].text))
        if not is_within:
            return Moment(self.message_index, self.message_text, ("message_index", "message_text"))
        # A search through a long call takes a while; other calls must not wait for it.
        return await to_thread.run_sync(self._quoted, turns, words or "")

    async def turns(self, work: Invocation) -> list[Turn]:
        """The turns of the call. Empty if they cannot be read and message_text is given, which needs no turn."""
        try:
            return (await work.server.client.send(GetCall(call_id=self.call_id))).transcripts or []
        except (NotFound, UnreadableAnswer):
            if self.message_text is None:
                raise
            return []

    def _quoted(self, turns: list[Turn], quote: str) -> Moment:
        """The one turn that holds the words, with the part in which they stand. If message_index names a turn, a part that
        is nearly the words is enough. Raises Rejected if no turn or several hold the words, but not for message_text, which
        no turn needs to hold."""
        at = self.message_index
        hits = [n for n in quoted(turns, quote) if at is None or n == at]
        if at is not None and not hits and (sure := _sure(nearest(turns[at : at + 1], quote))) is not None:
            return Moment(at, _storable(part(turns[at].text, sure.start, sure.end)))
        if not hits and self.message_text is not None:
            return Moment(at, self.message_text, ("message_text",))
        if len(hits) != 1:
            raise self._no_single_turn(turns, hits, quote)
        text, where = turns[hits[0]].text, place(turns, hits[0], quote)
        return Moment(hits[0], _storable(text if where is None else part(text, *where)))

    def _no_single_turn(self, turns: list[Turn], hits: list[int], quote: str) -> Rejected:
        """The error for a quote that is not one turn's, with the turns that may be meant. If one turn is surely meant
        (`_sure`), it advises the call that flags it."""
        run = [] if hits else across(turns, quote)
        near = [] if hits or run else nearest(turns, quote)
        parts = [(n, (place(turns, n, quote) or (0, 0))[0]) for n in hits[:MOST_TURNS]]
        parts += [(n, 0) for n in run]
        parts += [(one.index, one.start) for one in near[:MOST_TURNS]]
        found = [{**numbered(n, turns[n]), **around(turns[n].text, start)} for n, start in parts]
        counted = {"returned": len(found), "total": len(hits)} if hits else {}
        error = Rejected(
            _refusal(len(hits), run, self.message_index),
            code="quote_ambiguous" if hits else "quote_not_found",
            field="quote" if self.message_text is None else "message_text",
            outcome="not_committed",
            details={"candidates": untrusted("call parties", **counted, turns=found)},
        )
        if (sure := _sure(near)) is not None:
            error.try_next = self._flagging(sure, turns[sure.index].text)
        return error

    def _flagging(self, near: Near, text: str) -> TryNext | None:
        """The call that flags the part of a turn that is nearly the quote. If that part is the whole turn, its index is
        enough."""
        advice = self.same_call({"message_index": near.index})
        if advice is None or part(text, near.start, near.end) == text.strip():
            return advice
        arguments = {**advice["arguments"], "quote": _storable(text[near.start : near.end])}
        return TryNext(advice["tool"], arguments, origin="call parties")


def _refusal(hits: int, run: list[int], named: int | None) -> str:
    """What is wrong with a quote that matches `hits` turns, or runs over the turns in `run`."""
    if hits:
        return f"The quote matches {hits} turns. Pass the message_index of the one you mean besides."
    if run:
        turns = ", ".join(map(str, run))
        return f"The quote runs over turns {turns}, and a flag marks one. Quote the words of one, or pass its message_index."
    if named is not None:
        return f"The quote does not stand in turn {named}. Leave message_index out, or pass words that were said there."
    return "The quote matches no turn. Pass the message_index of the turn you mean, or words that were said."


def _sure(near: list[Near]) -> Near | None:
    """The turn that is surely meant, if one is nearly the quote and no other one comes near."""
    if not near or near[0].likeness < SURE or near[0].contrary:
        return None
    return None if any(one.likeness >= near[0].likeness - APART for one in near[1:]) else near[0]


def _storable(text: str) -> str | None:
    """Words as a flag can store them: cut to the contract's limit, with escapes for characters that no API takes. None for
    no words."""
    return storable(text)[:10_000] or None
