"""What pipelines found, for agents: findings with their turns, and verdicts that are kept apart from people's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Required, TypedDict

from pydantic import Field, StringConstraints

from calltriage.errors import CallError, Conflict, NotFound, SettingsError, SpecError, StoreError, TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect
from calltriage.operations.calls import GetCall
from calltriage.operations.fields import TEXT, CallId, DetectorName, Form, Limit, Note, PipelineName
from calltriage.server.answers.results import untrusted
from calltriage.server.answers.shapes import Page, SaidTurn
from calltriage.server.context import Invocation, Workflow, numbered

if TYPE_CHECKING:  # the database library comes with them
    from calltriage.pipelines.parts import Parts
    from calltriage.pipelines.reviewing import Reviewer

ORIGIN = "call parties and detectors"
AROUND = 2
"""Turns on either side of a finding's that are shown."""
MOST_NAMES = 50
"""Names that an error lists."""
ROW = ("id", "state", "pipeline", "detector", "kind", "call_id", "turn", "quote", "note", "severity", "issue_id", "why")
AN_ID = "must be a finding's id or its beginning: 6 or more of 0 to 9 and a to f"
FindingId = Annotated[str, StringConstraints(max_length=64), Form(r"^[0-9a-f]{6,}$", AN_ID)]
State = Literal["new", "accepted", "filed", "dismissed", "unverified", "stale", "counted", "suppressed"]
Quote = Annotated[str, StringConstraints(min_length=1, max_length=2000), TEXT]
A_TIME = "must be a span such as 24h or 7d, or a day (YYYY-MM-DD)"
Since = Annotated[
    str, StringConstraints(max_length=10), Form(r"^([0-9]{1,5}[mhd]|[0-9]{4}-[0-9]{2}-[0-9]{2})$", A_TIME, "^[0-9]")
]


class FindingRow(TypedDict, total=False):
    """A finding: words that a turn has, and what became of it."""

    id: Required[str]
    state: Required[str]
    pipeline: str
    detector: str
    kind: str
    call_id: str
    turn: int
    quote: str
    note: str
    severity: str
    issue_id: str
    why: str


class FindingRows(Page, total=False):
    """Findings, newest first."""

    items: Required[list[FindingRow]]


class Verdict(TypedDict, total=False):
    """What somebody said of a finding. `counts`: the last of a person, else the last of an agent."""

    verdict: Required[str]
    role: Required[str]
    at: str
    reason: str
    counts: bool


class OneFinding(TypedDict, total=False):
    """A finding with the turns around it and the verdicts on it."""

    finding: Required[FindingRow]
    turns: Required[list[SaidTurn]]
    reviews: Required[list[Verdict]]


class Reviewed(TypedDict, total=False):
    """A verdict that is on record."""

    outcome: Required[str]
    id: str
    state: str
    issue_id: str
    call_id: str
    detector: str
    turn: int
    note: str


@asynccontextmanager
async def opened_parts(work: Invocation) -> AsyncGenerator["Parts"]:
    """The parts of pipelines on the server's client. Raises Conflict (`pipeline_error`) for what an operator has to mend."""
    from calltriage.pipelines.parts import open_parts  # noqa: PLC0415  the database library comes with it

    try:
        async with open_parts(work.server.client) as parts:
            yield parts
    except SettingsError as error:
        what = "This pipeline cannot run" if isinstance(error, SpecError) else "Pipelines cannot be used here"
        raise Conflict(f"{what}: {error}", code="pipeline_error", outcome="not_committed") from None


def unknown_pipeline(names: list[str]) -> NotFound:
    """The error of a name that no pipeline has. `names`: of those that ran."""
    words = "No pipeline of this name has run here. " + (
        "These have." if names else "None has: an operator runs a file with `calltriage pipeline run FILE`."
    )
    return NotFound(words, field="pipeline", allowed=names[:MOST_NAMES] or None)


async def read_finding(parts: "Parts", finding_id: str) -> JsonObject:
    """The finding with an id, or with the beginning of one. Raises NotFound and Conflict."""
    from calltriage.pipelines import reviewing  # noqa: PLC0415

    try:
        return await reviewing.found(parts.ledger, finding_id)
    except NotFound:
        find = TryNext(tool=ListFindingsTool.tool_name(), arguments={})
        raise NotFound("No finding has this id.", field="finding_id", try_next=find) from None


def finding_row(finding: JsonObject) -> JsonObject:
    """The members of a finding that agents see, without the empty ones."""
    return {name: finding[name] for name in ROW if finding.get(name) not in (None, "")}


class ListFindingsTool(Workflow, effect=Effect.READ):
    """List what pipelines and their detectors found, newest first. Findings in state new wait for a verdict.

    More than limit: narrow. Where a detector found nothing, nobody has said that all is well.
    """

    result: ClassVar[object] = FindingRows

    state: State | None = None
    pipeline: PipelineName | None = Field(default=None, description="Only of this pipeline.")
    detector: DetectorName | None = Field(default=None, description="Its name.")
    call_id: CallId | None = None
    limit: Limit | None = Field(default=None, description="Default 20.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import findings  # noqa: PLC0415
        from calltriage.pipelines.reviewing import check_names  # noqa: PLC0415

        narrowed = self.model_dump(include={"state", "pipeline", "detector", "call_id"})
        wanted = findings.Wanted(**narrowed, limit=self.limit or 20)
        async with opened_parts(work) as parts:
            rows, total = await parts.ledger.read(partial(findings.page, ledger=parts.ledger, wanted=wanted))
            if not total:
                await check_names(parts.ledger, self.pipeline, self.detector)
        items = [finding_row(row) for row in rows]
        return untrusted(ORIGIN, items=items, returned=len(items), total=total, complete=len(items) == total)


class GetFindingTool(Workflow, effect=Effect.READ):
    """Read one finding with its turns and the verdicts on it, people's and agents'."""

    result: ClassVar[object] = OneFinding

    finding_id: FindingId = Field(description="Its id, or the beginning of it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import reviews  # noqa: PLC0415

        async with opened_parts(work) as parts:
            row = await read_finding(parts, self.finding_id)
            said = await parts.ledger.read(partial(reviews.of_finding, ledger=parts.ledger, finding_id=row["id"]))
            turns = await _around(work, row)
        counting = reviews.counting(said)
        verdicts = [_verdict(one) | ({"counts": True} if one is counting else {}) for one in said]
        return untrusted(ORIGIN, finding=finding_row(row), turns=turns, reviews=verdicts)


def _verdict(one: JsonObject) -> JsonObject:
    """The members of a verdict that agents see, without the empty ones."""
    return {name: one[name] for name in ("verdict", "role", "at", "reason") if one[name] is not None}


async def _around(work: Invocation, finding: JsonObject) -> list[JsonObject]:
    """The finding's turn and those beside it. Empty for a finding without a turn, and for a call that is gone."""
    at: int = finding["turn"] or 0
    try:
        call = None if finding["turn"] is None else await work.server.client.send(GetCall(call_id=finding["call_id"]))
    except (NotFound, ValueError):
        call = None
    if call is None or call.transcripts is None:
        return []
    began: datetime | None = call.began
    first = max(0, at - AROUND)
    return [numbered(n, turn, began) for n, turn in enumerate(call.transcripts[first : at + AROUND + 1], first)]


class ReviewFindingTool(Workflow, effect=Effect.ADD):
    """Give a verdict on a finding: whether its detector is right, and why. Read it first (get_finding).

    It is kept apart from people's verdicts and decides nothing.
    """

    result: ClassVar[object] = Reviewed

    finding_id: FindingId
    verdict: Literal["right", "wrong", "expected", "minor", "duplicate"] = Field(
        description="wrong: not what the detector says; expected, minor, duplicate: right, but no issue."
    )
    reason: Note | None = Field(default=None, description="What in the turns shows it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines import reviewing  # noqa: PLC0415

        async with opened_parts(work) as parts:
            row = await read_finding(parts, self.finding_id)
            if work.is_of_person:
                return await self._decided(parts, row, reviewing.Reviewer(work.who, "human"))
            agent = reviewing.Reviewer("agent", "agent")
            row = await reviewing.review(parts.ledger, row, agent, self.verdict, self.reason, client=parts.client)
        note = "On record as an agent's verdict. A person decides with calltriage pipeline accept or dismiss."
        return {"outcome": _outcome(row), "id": row["id"], "state": row["state"], "note": note}

    async def _decided(self, parts: "Parts", row: JsonObject, person: "Reviewer") -> JsonObject:
        """Keep a person's verdict and do what follows from it: a finding that is right is filed; what was filed stays filed,
        and the note says how to undo it."""
        from calltriage.pipelines import reviewing  # noqa: PLC0415

        undo = await reviewing.undoing(parts.ledger, row) if self.verdict in reviewing.DISMISS_REASONS else []
        row = await reviewing.review(parts.ledger, row, person, self.verdict, self.reason, client=parts.client)
        notes, outcome = undo, _outcome(row)
        if row["state"] == "accepted":
            try:
                row = await reviewing.file_accepted(parts, row)
            except (CallError, StoreError) as error:
                notes = [f"It could not be filed now: {error} The next run files it."]
        issue = {} if row["issue_id"] is None else {"issue_id": row["issue_id"]}
        told = {"note": " ".join(notes)} if notes else {}
        return {"outcome": outcome, "id": row["id"], "state": row["state"], **issue, **told}


def _outcome(reviewed: JsonObject) -> str:
    return "replayed" if reviewed.get("replayed") else "committed"


class ReportMissedTool(Workflow, effect=Effect.ADD):
    """Tell that a detector missed a moment, which its quote shows. A turn with a finding of it: review_finding."""

    result: ClassVar[object] = Reviewed

    call_id: CallId
    detector: DetectorName = Field(description="Its name, as findings have it.")
    quote: Quote = Field(description="Words of the one turn meant.")
    reason: Note | None = Field(default=None, description="What shows it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines import reviewing  # noqa: PLC0415

        async with opened_parts(work) as parts:
            said = await reviewing.missed(
                parts, self.call_id, self.detector, self.quote, reviewer=reviewing.Reviewer("agent", "agent"),
                note=self.reason,
            )  # fmt: skip
        return {"outcome": "committed", **{name: said[name] for name in ("call_id", "detector", "turn")}}


PIPELINE_TOOLS = (
    ListFindingsTool,
    GetFindingTool,
    ReviewFindingTool,
    ReportMissedTool,
)
