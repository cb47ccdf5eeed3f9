"""The rules `asks_for_human`, `anger`, `promise` and `open_question`: lists of English words. Their findings are for review
only, since lists miss all that they do not name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from calltriage.pipelines.calls import CALLER, Call, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import Phrase, Phrases, first_words, phrases
from calltriage.pipelines.findings import Finding

HUMAN = (
    "speak to a human", "talk to a human", "speak with a human", "talk with a human", "a real person", "an actual person",
    "a real human", "a live person", "a live agent", "a human being", "speak to someone", "talk to someone",
    "speak to somebody", "talk to somebody", "speak to a person", "talk to a person", "speak to an agent",
    "talk to an agent", "speak to a representative", "talk to a representative", "customer service representative",
    "speak to a manager", "talk to a manager", "speak to your manager", "speak to a supervisor", "talk to a supervisor",
    "connect me to", "transfer me", "put me through", "get me a person", "not a robot", "not a machine", "operator please",
    "representative please", "agent please", "are you a robot", "am i talking to a robot",
)  # fmt: skip
"""How callers ask for a person."""
ANGER = (
    "this is ridiculous", "ridiculous", "unacceptable", "fed up", "sick of this", "sick and tired", "are you kidding",
    "are you serious", "you're not listening", "you are not listening", "i already told you", "i just told you",
    "i've told you", "for the last time", "waste of time", "wasting my time", "terrible service", "worst service",
    "horrible", "useless", "incompetent", "stupid", "idiot", "shut up", "what the hell", "the hell", "bullshit", "fuck",
    "fucking", "shit", "damn it", "goddamn", "pissed off", "i'm angry", "i am angry", "i'm furious", "so frustrating",
    "i'm frustrated", "i want to complain", "file a complaint", "i'll sue", "my lawyer",
)  # fmt: skip
"""Words of angry callers."""
PROMISE = (
    "i will call you", "i'll call you", "we will call you", "we'll call you", "will call you back", "get back to you",
    "someone will", "somebody will", "we will send", "we'll send", "i will send", "i'll send", "you will receive",
    "you'll receive", "you should receive", "you should be able to receive", "will be delivered", "will arrive",
    "should arrive", "i will make sure", "i'll make sure", "we will make sure", "we'll make sure", "i will follow up",
    "i'll follow up", "i promise", "i guarantee", "we guarantee", "i will email", "i'll email", "we will email",
    "we'll email", "i will text", "i'll text", "will be refunded", "we will refund", "we'll refund", "i'll have someone",
)  # fmt: skip
"""How agents promise something for the time after the call."""
QUESTION = re.compile(
    r" (?:what|when|where|which|who|whom|whose|why|how|can|could|would|will|do|does|did|is|are|am|was|were|should|may)"
    r" (?:[^ ]+ )+"
)
"""Matches the beginning of a question with at least one word after the question word."""
PLEASANTRIES = re.compile(r" (?:how are you|is that (?:all|it)|will that be all|can i go) ")


class ListOptions(Options):
    """Options of the rules with lists."""

    also: tuple[Phrase, ...] = ()
    """Further phrases."""


def _hits(turns: Sequence[Turn], wanted: Phrases, note: str) -> Iterator[Finding]:
    for turn in turns:
        if found := wanted.found(turn):
            yield Finding(turn, found, note)


@detector(version=1, kind="asks_for_human", options=ListOptions, review_only=True)
def asks_for_human(call: Call, options: ListOptions) -> Iterator[Finding]:
    """The caller asks for a person, and the call was never transferred (`transferred_at` and `transferred_to` are missing).

    A list of English phrases; `also` adds to it. One finding for each turn with a phrase.
    Times: none are needed.
    """
    if call.value("transferred_at") is None and call.value("transferred_to") is None:
        note = "The caller asks for a person; the call was not transferred."
        yield from _hits(call.caller_turns, phrases(*HUMAN, *options.also), note)


@detector(version=1, kind="anger", options=ListOptions, review_only=True)
def anger(call: Call, options: ListOptions) -> Iterator[Finding]:
    """The caller uses words of anger.

    A list of English words; `also` adds to it. Anger without such words is not found. One finding for each turn.
    Times: none are needed.
    """
    yield from _hits(call.caller_turns, phrases(*ANGER, *options.also), "The caller uses words of anger.")


@detector(version=1, kind="promise", options=ListOptions, review_only=True)
def promise(call: Call, options: ListOptions) -> Iterator[Finding]:
    """The agent promises something that happens after the call, which somebody has to keep.

    A list of English phrases; `also` adds to it. One finding for each turn.
    Times: none are needed.
    """
    yield from _hits(
        call.agent_turns, phrases(*PROMISE, *options.also), "The agent promises this; somebody has to keep it."
    )


@detector(version=1, kind="open_question", review_only=True)
def open_question(call: Call) -> Iterator[Finding]:
    """The call ends with a question of the caller.

    The last turn with words is the caller's. It ends with a question mark, or begins with a question word and has at least
    three words. A farewell after the question hides it.
    Times: none are needed.
    """
    last = next((turn for turn in reversed(call.turns) if turn.has_words), None)
    if last is None or last.speaker != CALLER:
        return
    line = last.line
    asks = last.text.rstrip().endswith(("?", "？", "؟")) or (QUESTION.match(line) and last.words >= 3)
    if asks and not PLEASANTRIES.search(line):
        yield Finding(last, first_words(last), "The call ends with this question.")
