"""Applies a plan: its writes one after the other, each once, as far as the deadline allows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, Required, TypedDict

import anyio
from pydantic import Field, StringConstraints

from calltriage.client.client import Client
from calltriage.client.diverted import Diverted
from calltriage.client.limits import deadline_in
from calltriage.client.receipts import Receipt
from calltriage.errors import CallError, Conflict, Outcome, RateLimited, Rejected, TryNext
from calltriage.leaves.strict_json import JsonArray, JsonObject
from calltriage.operations.base import Effect, Operation, Tool
from calltriage.operations.results import Result
from calltriage.server.answers.results import BUDGET, Bundle, advising
from calltriage.server.answers.shapes import Advice, Failure, Gap
from calltriage.server.batch.foresight import Foresight, differs
from calltriage.server.batch.plan_triage import APPLY, MOST_WRITES, PlanId, refuse_undone, tried
from calltriage.server.batch.plans import Course, Plan, Plans, Write
from calltriage.server.batch.undo import undoing
from calltriage.server.batch.writes import PLANNABLE, Asked, Made, asked, references, tool_of
from calltriage.server.call.table import perform
from calltriage.server.call.write_record import Caller, performed
from calltriage.server.context import Invocation, Workflow, note_of

RESERVE_S = 10.0
"""No write begins in the last so many seconds of a call's time, or in the last third if that is less."""
RESTS_ON = frozenset({"update_issue", "add_flag", "update_flag"})
"""Tools whose writes were decided on an issue's state, which is checked again; the others fail where they do not fit."""
NOT_MADE = "It was not made, nor were those after it."
MAYBE_MADE = "It was begun before that, in a call that was cut off, and may be made; those after it were not."
UNSETTLED = "What became of the write at stopped_at is not known. Call again: it is looked for, and never made twice."
UNNOTED = (
    "The last write was made, but the plan's folder could not note it. Ask the operator to run: calltriage doctor. Call "
    "again later: the write is recognised."
)

State = Literal["applied", "more", "stopped"]


class WriteOutcome(Result):
    """What became of one write."""

    write: int
    tool: str
    outcome: Outcome
    id: str | None = None
    """Of what it made."""
    triage_id: str | None = None
    updated_at: str | None = None
    """Of the issue that issue_id names, for expect_updated_at; given if nobody else changed it."""
    note: str | None = None
    error: Failure | None = None


class UndoStep(TypedDict, total=False):
    """A call that takes back what one write did; `offered` says whether this server offers the tool."""

    write: Required[int]
    tool: Required[str]
    arguments: Required[JsonObject]
    offered: Required[bool]


class Applied(Result):
    """How far a plan was applied."""

    outcome: Outcome
    """Of this call: committed where it made a write, replayed where all were made before."""
    state: State
    """applied: nothing is left to do. more: call again. stopped: a write could not be made as planned, or it is unknown
    whether it was."""
    done: int
    """Writes that are made."""
    of: int
    """Writes that the plan can make."""
    outcomes: list[WriteOutcome]
    complete: bool
    stopped_at: int | None = None
    retry_after_s: float | None = None
    undo: list[UndoStep] | None = None
    omitted: list[Gap] | None = None
    note: str | None = None
    try_next: Advice | None = None


class ApplyPlanTool(Workflow, effect=Effect.CHANGE):
    """Apply a batch that was planned: carry it out in order, each step exactly once, as far as the time of a call goes.
    While state is more, call again.

    Stops where a step would not do any more what was planned. A plan that was cut off goes on where it ended; nothing
    of it happens twice. undo lists the calls that take it back, and does nothing.
    """

    result: ClassVar[object] = Applied

    plan_id: PlanId
    seal: Annotated[str, StringConstraints(max_length=64)] = Field(description="As plan_triage answered it.")
    from_write: Annotated[int, Field(ge=1, le=MOST_WRITES)] | None = Field(
        default=None, description="Show outcomes from this write on; default: of this call."
    )
    undo: bool = Field(default=False, description="List what would undo it instead.")

    async def run(self, work: Invocation) -> JsonObject:
        plans = Plans.of(work)
        plan = await plans.find(self.plan_id, self.seal)
        if self.undo:
            return self._undo(plan, await plans.outcomes(plan), work)
        ends = deadline_in(math.inf)
        reserve = min(RESERVE_S, (ends - anyio.current_time()) / 3)
        async with plans.applying(plan, ends - reserve, work.server.sleep) as course:
            applying = _Applying(work, course, ends - reserve)
            before = len(course.outcomes)
            await applying.go_on()
            return self._told(applying, before)

    def _told(self, applying: "_Applying", before: int) -> JsonObject:
        """How far it is, and what became of the writes of this call, as many as fit."""
        plan, done, failed = applying.plan, applying.course.outcomes, applying.failed
        state: State = "stopped" if applying.stopped else "more" if len(done) < plan.ready else "applied"
        new = len(done) - before
        outcome = "unknown" if failed and failed[1]["outcome"] == "unknown" else "committed" if new else "replayed"
        if not done and outcome == "replayed":
            outcome = "not_committed"
        head: JsonObject = {"outcome": outcome, "state": state, "done": len(done), "of": plan.ready}
        if failed:
            head["stopped_at"] = failed[0]
        if applying.retry_after_s is not None:
            head["retry_after_s"] = applying.retry_after_s
        rows = dict(_rows(plan, done, failed))
        first = self.from_write or (applying.first if before else None) or 1
        bundle = Bundle(BUDGET - 300, gaps=1, **head)
        wanted = [row for number, row in sorted(rows.items()) if number >= first]
        bundle.body["outcomes"] = shown = bundle.as_many(wanted)
        again: JsonObject = {"plan_id": plan.plan_id, "seal": plan.seal}
        if len(shown) < len(wanted):
            again["from_write"] = wanted[len(shown)]["write"]
            bundle.lacks("outcomes", len(wanted) - len(shown), try_next=TryNext(APPLY, again))
        note = {"note": applying.note} if applying.note else {}
        on = {"try_next": TryNext(APPLY, again)} if state == "more" else {}
        return {**bundle.done(), **note, **on}

    def _undo(self, plan: Plan, outcomes: dict[int, JsonObject], work: Invocation) -> JsonObject:
        """What would undo the plan, the last write first; nothing is written now."""
        steps, remain = undoing(plan, outcomes)
        first = self.from_write or MOST_WRITES
        wanted = [{**one, "offered": one["tool"] in work.server.offered} for one in steps if one["write"] <= first]
        head = {"outcome": "not_committed", "state": "applied" if len(outcomes) == plan.ready else "more"}
        bundle = Bundle(BUDGET - 300, gaps=1, **head, done=len(outcomes), of=plan.ready, outcomes=[])
        bundle.body["undo"] = shown = bundle.as_many(wanted)
        if len(shown) < len(wanted):
            on = {"plan_id": plan.plan_id, "seal": plan.seal, "undo": True, "from_write": wanted[len(shown)]["write"]}
            bundle.lacks("undo", len(wanted) - len(shown), try_next=TryNext(APPLY, on))
        numbers = ", ".join(map(str, remain))
        stay = f" What writes {numbers} did stays: no call takes it back." if remain else ""
        return {**bundle.done(), "note": f"Nothing was written. Make these calls in this order.{stay}"}


@dataclass
class _Applying:
    """One call that applies a plan.

    Attributes:
        work: the tool call.
        course: what was done of the plan.
        until: time on the event loop's clock from which no write begins.
        stopped: whether a write cannot be made as planned.
        failed: number and answer of the write that it ended at; None if none failed.
        retry_after_s: seconds to wait before the next call; None if none are needed.
        first: number of the first write of this call.
        note: sentence to add to the answer.
    """

    work: Invocation
    course: Course
    until: float
    stopped: bool = False
    failed: tuple[int, JsonObject] | None = None
    retry_after_s: float | None = None
    first: int | None = None
    note: str = ""
    _seen: JsonObject = field(default_factory=JsonObject)

    @property
    def plan(self) -> Plan:
        return self.course.plan

    async def go_on(self) -> None:
        """Carry out writes until all are, the time is over, or one fails."""
        for number, write in enumerate(self.plan.writes, 1):
            if write.error is not None or number in self.course.outcomes:
                continue
            if anyio.current_time() >= self.until or not await self._has_quota(write):
                return
            self.first = self.first or number
            try:
                body = await self._carried_out(number, write)
            except CallError as error:
                self._end_at(number, error)
                return
            try:
                await self.course.end(number, body)
            except CallError:
                self.note = UNNOTED
                return
            await self.work.progress(len(self.course.outcomes), self.plan.ready, "applying")

    async def _has_quota(self, write: Write) -> bool:
        """Wait until the quota allows a call of the write's tool, and count it; False if that is after `until`."""
        while True:
            try:
                self.work.server.quota.take(self.work.who, PLANNABLE[write.tool])
                return True
            except RateLimited as error:
                wait = error.retry_after_s or 1.0
                if anyio.current_time() + wait >= self.until:
                    self.retry_after_s = wait
                    return False
                await self.work.server.sleep(wait)

    async def _carried_out(self, number: int, write: Write) -> JsonObject:
        """Make one write. Returns what is kept of its answer; raises the CallError that it ended in."""
        tool = tool_of(write.tool, self.work.server.offered)
        one = asked(tool, _without_condition(write.arguments), self._made)
        again = number in self.course.begun
        if write.tool in RESTS_ON:
            there = await self._as_planned(one, write, again=again)
            if there is not None:
                return _kept(tool, there, [])
        if not again:
            await self.course.begin(number)
        noted = _Noted(self.work.server.client, again=again)
        server = replace(self.work.server, client=Diverted(self.work.server.client, noted.carry))
        work = Invocation(server, self.work.files, self.work.who, _silent)
        body = await performed(
            tool,
            work,
            lambda: perform(tool, one.given, work),
            arguments=one.own,
            key=f"plan {self.plan.plan_id} write {number}",
            caller=Caller(self.work.who),
        )
        refuse_undone(body)
        return _kept(tool, body, noted.made)

    async def _as_planned(self, one: Asked, write: Write, *, again: bool) -> JsonObject | None:
        """Check that a write would still do what was planned. Returns its answer if nothing is left to do, else None.

        A write that was begun before (`again`) may be done already: only an update_issue is checked then.
        Raises Conflict (`plan_outdated`) if it would do something else.
        """
        foresight = Foresight(self.work.server.client, self._seen)
        if again and write.tool != "update_issue":
            return None
        body, _ = await tried(one, self.work, foresight)
        if differs(write.steps, foresight.steps):
            raise Conflict(
                f"What this write was decided on has changed since it was planned. {MAYBE_MADE if again else NOT_MADE} "
                "Look at the present state, then plan the rest anew.",
                code="plan_outdated",
                outcome="unknown" if again else "not_committed",
            )
        return body if not foresight.steps else None

    def _made(self, number: int, kind: Made) -> str:
        """Id of what an earlier write made. Raises Rejected (`bad_reference`) if it was not made."""
        found = self.course.outcomes.get(number, {}).get("id")
        if not isinstance(found, str):
            raise Rejected(f"Write {number}, whose {kind} this one needs, was not made.", code="bad_reference")
        return found

    def _end_at(self, number: int, error: CallError) -> None:
        """Note the write that the call ended at. An error that passes by itself lets the next call try again; any other
        stops the plan."""
        outcome = error.outcome or "not_committed"
        answer = {**advising(error.as_part(), self.work.server.offered), "outcome": outcome}
        self.failed = (number, answer)
        self.retry_after_s = error.retry_after_s
        # If a look-up did not tell the outcome, the next may not, either: advice to call again could repeat forever.
        self.stopped = outcome == "unknown" or not (error.retryable or error.code == "in_flight")
        if outcome == "unknown" and error.code != "plan_outdated":
            self.note = UNSETTLED
        elif self.stopped:
            self.note = (
                f"Nothing after write {number} was made. To go on, plan the rest anew.{self._waiting_for(number)}"
            )

    def _waiting_for(self, number: int) -> str:
        """Which writes name what this one would have made."""
        waiting = [
            str(later)
            for later, one in enumerate(self.plan.writes, 1)
            if one.error is None and number in references(PLANNABLE[one.tool], one.arguments)
        ]
        return f" These need what it would have made: {', '.join(waiting)}." if waiting else ""


@dataclass
class _Noted:
    """Carries operations out, and notes what they made or removed: operation, issue and id."""

    client: Client
    again: bool
    made: list[list[str]] = field(default_factory=list[list[str]])

    async def carry(self, operation: Operation[object], /) -> Receipt[Any]:
        receipt = await self.client.deliver(operation)
        # A replay of a write that was cut off is the plan's own write.
        is_own = receipt.outcome == "committed" or (self.again and receipt.outcome == "replayed")
        if operation.effect is not Effect.READ and is_own:
            named = getattr(operation, "flag_id", "") if receipt.result is None else getattr(receipt.result, "id", "")
            self.made.append([operation.tool_name(), getattr(operation, "issue_id", ""), named])
        return receipt


async def _silent(_done: float, _total: float | None, _message: str) -> None:
    """Reports no progress: the plan does."""


def _without_condition(arguments: JsonObject) -> JsonObject:
    """The arguments without expect_updated_at. It was checked when the write was planned; the plan's own writes change that
    time, and changes by others are found by what the write rests on."""
    return {name: value for name, value in arguments.items() if name != "expect_updated_at"}


def _kept(tool: type[Tool], body: JsonObject, made: list[list[str]]) -> JsonObject:
    """What is kept of a write's answer: ids, the outcome and our note; no words of others, such as a flag's note."""
    kept = {name: body[name] for name in ("outcome", "id", "triage_id") if isinstance(body.get(name), str)}
    issues: JsonArray = body.get("issues") or []
    own: JsonObject = issues[0] if issues else {}  # that of issue_id
    if "triage_id" in body and isinstance(body.get("updated_at"), str):
        kept["updated_at"] = body["updated_at"]
    elif "updated_at" in own:
        kept["updated_at"] = own["updated_at"]
    if isinstance(note := body.get(note_of(tool)), str):
        kept["note"] = note
    return kept | {"made": made}


def _rows(
    plan: Plan, done: dict[int, JsonObject], failed: tuple[int, JsonObject] | None
) -> Iterator[tuple[int, JsonObject]]:
    """What is known of each write, by number."""
    for number, write in enumerate(plan.writes, 1):
        row = {"write": number, "tool": write.tool}
        if write.error is not None:
            code = write.error["code"]
            yield (
                number,
                {**row, "outcome": "not_committed", "note": f"Left out: it has a problem in the plan ({code})."},
            )
        elif number in done:
            yield number, {**row, **{name: value for name, value in done[number].items() if name != "made"}}
        elif failed is not None and failed[0] == number:
            yield number, {**row, **failed[1]}
