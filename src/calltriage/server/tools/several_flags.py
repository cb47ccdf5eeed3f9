"""Several flags in one call: each moment is looked up before the first flag is written, and each has its own outcome."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import Field

from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Tool
from calltriage.operations.calls import Turn
from calltriage.operations.fields import CallId, FlagType, MessageText, Note, TurnIndex
from calltriage.operations.flags import AddFlag
from calltriage.server.context import Invocation
from calltriage.server.tools.flag_moments import Moment, Sought

MOST_FLAGS = 20


class Place(Tool):
    """Where in a call a flag points, and why."""

    quote: Annotated[MessageText, Field(min_length=1)] | None = None
    message_index: TurnIndex | None = None
    note: Note | None = None

    def sought(self, call_id: str) -> Sought:
        """The moment, in this call."""
        return Sought(call_id, self.quote, self.message_index, None, lambda _: None)


class MomentRef(Place):
    """One more moment of a flag's type; of the flag's own call unless it says another one."""

    call_id: CallId | None = None


class FlagRef(Place):
    """A flag, as one of several."""

    call_id: CallId
    type: FlagType


async def moments_of(work: Invocation, sought: list[Sought], argument: str, *, first: int = 0) -> list[Moment]:
    """The moments meant; each call is read once. Raises the CallError of the first that cannot be found. From index `first`
    on, the error names `argument` and the place in it; moments before that have arguments of their own."""
    names = list(dict.fromkeys(one.call_id for one in sought if one.is_of_a_turn))
    read = await at_once(*(_turns(work, name, sought) for name in names))
    turns = dict(zip(names, read, strict=True))
    found = list[Moment]()
    for n, one in enumerate(sought):
        try:
            here = turns.get(one.call_id, [])
            if isinstance(here, CallError) and one.is_of_a_turn:
                raise here
            found.append(await one.moment_in([] if isinstance(here, CallError) else here))
        except CallError as error:
            error.outcome = "not_committed"
            if n >= first:
                error.field = argument
                error.details = {**error.details, "place": n - first}
            raise
    return found


async def _turns(work: Invocation, call_id: str, sought: list[Sought]) -> list[Turn] | CallError:
    try:
        return await next(one for one in sought if one.call_id == call_id and one.is_of_a_turn).turns(work)
    except CallError as error:
        return error


async def flagged_each(operations: list[AddFlag], add: Callable[[AddFlag], Awaitable[JsonObject]]) -> list[JsonObject]:
    """What became of each flag, in order. A failure is returned, not raised, since others may be added already."""
    return [await _flagged(one, add) for one in operations]


async def _flagged(operation: AddFlag, add: Callable[[AddFlag], Awaitable[JsonObject]]) -> JsonObject:
    try:
        return await add(operation)
    except CallError as error:
        where = {"call_id": operation.call_id, "message_index": operation.message_index}
        return {name: value for name, value in where.items() if value is not None} | error.as_part()


def failed(flags: list[JsonObject]) -> list[JsonObject]:
    """Those of the flags that were not written, or may not have been."""
    return [one for one in flags if one["outcome"] not in {"committed", "replayed"}]
