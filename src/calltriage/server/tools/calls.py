"""Reading what is known about a call besides its words."""

from typing import Annotated, ClassVar, Required, TypedDict

from calltriage.errors import TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import calls
from calltriage.operations.base import Effect
from calltriage.operations.fields import CallId
from calltriage.server.answers.results import BUDGET, MOST, Bundle, untrusted
from calltriage.server.answers.shapes import Advice, Shown
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.transcripts import GetTranscriptTool, MaxTokens, said_of_source

WORDS = ("transcripts", "concatenated_transcript", "transcript_source")
"""Fields that hold what was said, and where from."""
NAMES = 60
"""Tokens kept back for the names of fields that are too long to show."""


class CallRecord(TypedDict, total=False):
    """What an API says of a call, further fields of its own among it, and the names of what is too long to show."""

    facts: Required[Annotated[calls.Call, Shown(without=frozenset({"call_id", *WORDS}), is_open=True)]]
    left_out: list[str]


class CallFacts(TypedDict, total=False):
    """What is known about a call."""

    call_id: Required[str]
    turns: Required[int]
    transcript_source: str
    call: Required[CallRecord]
    complete: Required[bool]
    try_next: Advice


class GetCallTool(Workflow, effect=Effect.READ):
    """Read what is known about a call besides its words: when, how long, who, status, summary, variables, analysis.

    For what was said use get_transcript.
    """

    result: ClassVar[object] = CallFacts

    call_id: CallId
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Invocation) -> JsonObject:
        call = await work.server.client.send(calls.GetCall(call_id=self.call_id))
        turns = len(call.transcripts or [])
        bundle = Bundle(self.max_tokens, gaps=2, call_id=self.call_id, turns=turns, **said_of_source(call))
        fields = call.model_dump(mode="json", exclude_none=True, exclude={"call_id", *WORDS})
        facts, unshown = bundle.facts(fields, spare=NAMES)
        # Names are the vendor's words too: they stand in the holder.
        names = [name for name in unshown if bundle.affords(name)]
        larger = {"call_id": self.call_id, "max_tokens": MOST}
        more = {"try_next": TryNext(tool=self.tool_name(), arguments=larger)} if self.max_tokens < MOST else {}
        bundle.lacks("fields", len(unshown), **more)
        bundle.body["call"] = untrusted("call parties", facts=facts, **({"left_out": names} if names else {}))
        body = bundle.done()
        if turns:
            body["try_next"] = TryNext(tool=GetTranscriptTool.tool_name(), arguments={"call_id": self.call_id})
        return body
