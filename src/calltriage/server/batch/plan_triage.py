"""Plans many writes. Each is tried by its own tool on the state that the writes before it would leave."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import anyio
from pydantic import Field, StringConstraints

from calltriage.client.diverted import Diverted
from calltriage.errors import CallError, Conflict, Rejected, TryNext
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.base import Effect, Tool
from calltriage.operations.fields import Form
from calltriage.operations.results import Result
from calltriage.server.answers.results import BUDGET, Bundle, advising
from calltriage.server.answers.shapes import Advice, Failure, Gap
from calltriage.server.batch.foresight import Foresight
from calltriage.server.batch.plans import ID_PATTERN, Plan, Plans, Write
from calltriage.server.batch.writes import (
    MAKES,
    PLANNABLE,
    Asked,
    Made,
    asked,
    resolved,
    tool_of,
    understood_of,
)
from calltriage.server.call.arguments import checked
from calltriage.server.call.hints import advise
from calltriage.server.call.table import perform, schema_of
from calltriage.server.context import Invocation, Workflow

MOST_WRITES = 200
APPLY = "apply_plan"
UNKNOWN = "unknown"
"""Stands for the name of a tool that no plan may hold: that name may be a stranger's words."""
THERE = "nothing: it is there already"
UNDONE = "The write is not made."
PlanId = Annotated[
    str, StringConstraints(max_length=16), Form(ID_PATTERN, "must be a plan_id as plan_triage answered it")
]


class PlannedWrite(Tool):
    """One intended write: a tool's name, and what it is called with."""

    tool: Annotated[str, StringConstraints(max_length=64)]
    arguments: JsonObject


class Foreseen(Result):
    """What one write would do."""

    write: int
    """Its number, from 1."""
    tool: str
    would: str
    note: str | None = None
    """What was read into its arguments."""


class Problem(Result):
    """Why a write would not be carried out, and what to do."""

    write: int
    tool: str
    error: Failure
    """As the tool itself would answer. `instead` is the write to put in its place."""


class PlanShown(Result):
    """A plan: what is wrong with it first, then what each write would do, in order."""

    writes: int
    """How many there are."""
    ready: int
    """How many of them can be applied."""
    problems: list[Problem]
    plan: list[Foreseen]
    complete: bool
    plan_id: str | None = None
    seal: str | None = None
    """What apply_plan takes; there is none where no write can be applied."""
    good_for_s: int | None = None
    omitted: list[Gap] | None = None
    note: str | None = None
    try_next: Advice | None = None


class PlanTriageTool(Workflow, effect=Effect.READ):
    """Plan a batch of up to 200 intended changes and check them all first, before any is made, a dry run of writes:
    create_issue, update_issue, attach_resource, add_flag, update_flag, link_issue, add_comment, in order.

    Nothing is written. Answers what each would do, each problem with what to do about it, and the seal that apply_plan
    takes to carry out those without problems. "$3" as an issue or flag id is what write 3 makes.
    """

    result: ClassVar[object] = PlanShown
    bounded: ClassVar[bool] = False

    writes: Annotated[list[PlannedWrite], Field(min_length=1, max_length=MOST_WRITES)] | None = Field(
        default=None, description="Each with the name and the arguments of its tool."
    )
    plan_id: PlanId | None = Field(default=None, description="Instead: show a kept plan again.")
    from_write: Annotated[int, Field(ge=1, le=MOST_WRITES)] | None = Field(
        default=None, description="Show from this write on."
    )

    async def run(self, work: Invocation) -> JsonObject:
        plans = Plans.of(work)
        if (self.writes is None) == (self.plan_id is None):
            raise Rejected("Pass either writes or plan_id.", field="writes")
        if self.plan_id is not None:
            return _shown(await plans.find(self.plan_id), self.from_write or 1)
        planned = await _Planning(work).every(self.writes or [])
        if all(write.error is not None for write in planned):
            return _shown(Plan("", "", 0, planned), 1)
        return _shown(await plans.keep(planned), self.from_write or 1)


@dataclass
class _Planning:
    """Plans writes one after the other.

    Attributes:
        work: the tool call.
        foresight: what would be there after the writes so far.
        made: kind and id of what they would make, by number; None for a write that has a problem.
    """

    work: Invocation
    foresight: Foresight = field(init=False)
    made: dict[int, tuple[Made | None, str] | None] = field(default_factory=dict[int, Any])

    def __post_init__(self) -> None:
        self.foresight = Foresight(self.work.server.client)

    async def every(self, writes: list[PlannedWrite]) -> list[Write]:
        planned = list[Write]()
        for number, write in enumerate(writes, 1):
            planned.append(await self._one(number, write))
            await self.work.progress(number, len(writes), "checking")
        return planned

    async def _one(self, number: int, write: PlannedWrite) -> Write:
        self.made[number] = None
        own, tool, note = write.arguments, None, ""
        try:
            tool = tool_of(write.tool, self.work.server.offered)
            own, note = understood_of(tool, own)
            one = asked(tool, own, self._resolve)
            body, would = await tried(one, self.work, self.foresight, number)
        except CallError as error:
            name = write.tool if write.tool in PLANNABLE else UNKNOWN
            return Write(name, own, error=self._problem(error, tool, own))
        self.made[number] = (MAKES.get(write.tool), str(body.get("id", "")))
        return Write(write.tool, own, would, [step.kept() for step in self.foresight.steps], note=note)

    def _resolve(self, number: int, kind: Made) -> str:
        """Placeholder id of what an earlier write would make. Raises Rejected (`bad_reference`) if it makes none of this
        kind."""
        if number not in self.made or number == len(self.made):
            why = "There is no earlier write of this number; only those before this one can be named."
        elif (found := self.made[number]) is None:
            why = f"Write {number} has a problem itself. Mend that one first."
        elif found[0] != kind:
            why = f"Write {number} makes no {kind}."
        else:
            return found[1]
        raise Rejected(f"${number}: {why}", code="bad_reference")

    def _problem(self, error: CallError, tool: type[Tool] | None, own: JsonObject) -> JsonObject:
        """The error as its tool would answer it. Advice to call the same tool becomes `instead`: the write to put in its
        place."""
        if tool is not None:
            with suppress(Rejected):
                own = resolved(tool, own, self._resolve)
            advise(error, tool, own, lambda meant: checked(tool, schema_of(tool), meant))
        body: JsonObject = advising(error.body(), self.work.server.offered)
        body.pop("outcome", None)
        names = {found[1]: f"${number}" for number, found in self.made.items() if found is not None and found[0]}
        body |= {name: _named(body[name], names) for name in ("try_next", "instead") if name in body}
        if tool is not None and body.get("try_next", {}).get("tool") == tool.tool_name():
            body["instead"] = body.pop("try_next")
        return body


def _named(advice: JsonObject, names: dict[str, str]) -> JsonObject:
    """Advice with `$3` for the placeholder id of what write 3 would make."""
    arguments = {
        name: names.get(value, value) if isinstance(value, str) else value
        for name, value in advice["arguments"].items()
    }
    return {**advice, "arguments": arguments}


async def tried(one: Asked, work: Invocation, foresight: Foresight, number: int = 0) -> tuple[JsonObject, str]:
    """Try a write; nothing is sent but reads. Returns what it would answer, and what it would do in words; its requests are
    then in `foresight.steps`. Raises the CallError that its tool would raise."""
    foresight.steps, foresight.number = [], number
    client = Diverted(work.server.client, foresight.carry)
    server = replace(work.server, client=client, journal=None, turn=anyio.Lock())
    body = await perform(one.tool, one.given, Invocation(server, work.files, work.who, work.progress))
    refuse_undone(body)
    return body, "; then ".join(step.words for step in foresight.steps) or THERE


def refuse_undone(body: JsonObject) -> None:
    """Raise Conflict if an answer says that a write was not made, or only in part."""
    outcome = body.get("outcome")
    failed = failed_parts(body)
    if outcome in {"committed", "replayed"} and not failed:
        return
    raise Conflict(
        f"{len(failed)} of its parts fail. {body.get('note', '')}".strip() if failed else str(body.get("note", UNDONE)),
        code=failed[0]["error"]["code"] if failed else "look_alike_open",
        outcome="unknown" if outcome == "unknown" else "not_committed",
        details={"parts": failed} if failed else {name: body[name] for name in ("similar",) if name in body},
    )


def failed_parts(body: JsonObject) -> list[JsonObject]:
    """The parts of an answer that have an error."""
    parts = [part for value in body.values() for part in (value if is_array(value) else [value])]
    return [part for part in parts if is_object(part) and "error" in part]


def _shown(plan: Plan, first: int) -> JsonObject:
    """A plan from one write on, as much of it as fits."""
    numbered = [*enumerate(plan.writes, 1)]
    head: JsonObject = {"writes": len(numbered), "ready": plan.ready}
    if plan.plan_id:
        head |= {"plan_id": plan.plan_id, "seal": plan.seal, "good_for_s": plan.good_for_s}
    bundle = Bundle(BUDGET - 200, gaps=1, **head)
    problems = [{"write": n, "tool": one.tool, "error": one.error} for n, one in numbered if one.error and n >= first]
    rows = [_row(n, one) for n, one in numbered if not one.error and n >= first]
    bundle.body |= {"problems": bundle.as_many(problems), "plan": bundle.as_many(rows)}
    left: list[JsonObject] = [*problems[len(bundle.body["problems"]) :], *rows[len(bundle.body["plan"]) :]]
    if left:
        on: JsonObject = {"plan_id": plan.plan_id, "from_write": min(one["write"] for one in left)}
        how = {"try_next": TryNext(PlanTriageTool.tool_name(), on)} if plan.plan_id else {}
        bundle.lacks("plan", len(left), **how)
    return {**bundle.done(), **_advice(plan)}


def _row(number: int, write: Write) -> JsonObject:
    note = {"note": write.note} if write.note else {}
    return {"write": number, "tool": write.tool, "would": write.would, **note}


def _advice(plan: Plan) -> JsonObject:
    """What to do with a plan."""
    if not plan.plan_id:
        return {"note": "No write can be applied, so there is no seal. Mend the problems, then plan again."}
    bad = len(plan.writes) - plan.ready
    arguments = {"plan_id": plan.plan_id, "seal": plan.seal}
    if bad:
        return {
            "note": f"apply_plan leaves out the {bad} writes with problems. Mend them and plan anew, or apply the rest."
        }
    return {"try_next": TryNext(APPLY, arguments)}
