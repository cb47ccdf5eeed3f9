"""What pipelines found, for agents: findings with their turns, verdicts that are kept apart from people's, runs by name."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Required, TypedDict

from pydantic import Field, StringConstraints

from calltriage.errors import CallError, Conflict, NotFound, SettingsError, StoreError
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect
from calltriage.operations.calls import GetCall
from calltriage.operations.fields import TEXT, CallId, Form, Limit, Note, Word
from calltriage.server.answers.results import untrusted
from calltriage.server.answers.shapes import Page, SaidTurn
from calltriage.server.context import Invocation, Workflow, numbered

if TYPE_CHECKING:  # the database library comes with them
    from calltriage.pipelines.parts import Parts
    from calltriage.pipelines.reviewing import Reviewer
    from calltriage.pipelines.tallies import DetectorTally

ORIGIN = "call parties and detectors"
AROUND = 2
"""Turns on either side of a finding's that are shown."""
MOST_CALLS = 200
"""Calls that one invocation examines."""
ROW = ("id", "state", "detector", "kind", "call_id", "turn", "quote", "note", "severity", "issue_id", "why")
AN_ID = "must be a finding's id or its beginning: 6 or more of 0 to 9 and a to f"
FindingId = Annotated[str, StringConstraints(max_length=64), Form(r"^[0-9a-f]{6,}$", AN_ID)]
State = Literal["new", "accepted", "filed", "dismissed", "unverified", "stale", "counted", "suppressed"]
Quote = Annotated[str, StringConstraints(min_length=1, max_length=2000), TEXT]
RunId = Annotated[str, StringConstraints(max_length=64), Form(r"^[A-Za-z0-9_-]+$", "must be a run's id as it was read")]
A_TIME = "must be a span such as 24h or 7d, or a day (YYYY-MM-DD)"
Since = Annotated[
    str, StringConstraints(max_length=10), Form(r"^([0-9]{1,5}[mhd]|[0-9]{4}-[0-9]{2}-[0-9]{2})$", A_TIME, "^[0-9]")
]


class FindingRow(TypedDict, total=False):
    """A finding: words that a turn has, and what became of it."""

    id: Required[str]
    state: Required[str]
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
    """What somebody said of a finding."""

    verdict: Required[str]
    role: Required[str]
    at: str


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


class RunShown(TypedDict, total=False):
    """A run, and how far it is."""

    id: Required[str]
    pipeline: Required[str]
    state: Required[str]
    mode: str
    found: int
    requests: int
    calls: dict[str, int]
    why: str
    errors: dict[str, int]


class DetectorShown(TypedDict, total=False):
    """What one detector found in a run."""

    detector: Required[str]
    calls: Required[int]
    found_in: Required[int]
    findings: Required[int]
    unverified: int
    failed: int
    not_offered: int
    examples: list[FindingRow]


class RunMade(TypedDict, total=False):
    """What a run came to."""

    outcome: Required[str]
    dry_run: Required[bool]
    calls: Required[int]
    detectors: Required[list[DetectorShown]]


@asynccontextmanager
async def opened_parts(work: Invocation) -> AsyncGenerator["Parts"]:
    """The parts of pipelines on the server's client. Raises Conflict (`pipeline_error`) for what an operator has to mend."""
    from calltriage.pipelines.parts import open_parts  # noqa: PLC0415  the database library comes with it

    try:
        async with open_parts(work.server.client) as parts:
            yield parts
    except SettingsError as error:
        raise Conflict(
            f"Pipelines cannot be used here: {error}", code="pipeline_error", outcome="not_committed"
        ) from None


def finding_row(finding: JsonObject) -> JsonObject:
    """The members of a finding that agents see, without the empty ones."""
    return {name: finding[name] for name in ROW if finding.get(name) not in (None, "")}


class ListFindingsTool(Workflow, effect=Effect.READ):
    """List what pipelines and their detectors found, newest first. Findings in state new wait for a verdict.

    More than limit: narrow. Where a detector found nothing, nobody has said that all is well.
    """

    result: ClassVar[object] = FindingRows

    state: State | None = None
    pipeline: Word | None = Field(default=None, description="Only of this pipeline.")
    detector: Word | None = Field(default=None, description="Its name.")
    call_id: CallId | None = None
    limit: Limit | None = Field(default=None, description="Default 20.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import findings  # noqa: PLC0415

        narrowed = self.model_dump(include={"state", "pipeline", "detector", "call_id"})
        wanted = findings.Wanted(**narrowed, limit=self.limit or 20)
        async with opened_parts(work) as parts:
            rows, total = await parts.ledger.read(partial(findings.page, ledger=parts.ledger, wanted=wanted))
        items = [finding_row(row) for row in rows]
        return untrusted(ORIGIN, items=items, returned=len(items), total=total, complete=len(items) == total)


class GetFindingTool(Workflow, effect=Effect.READ):
    """Read one finding with its turns and the verdicts on it, people's and agents'."""

    result: ClassVar[object] = OneFinding

    finding_id: FindingId = Field(description="Its id, or the beginning of it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines import reviewing  # noqa: PLC0415
        from calltriage.pipelines.ledger import reviews  # noqa: PLC0415

        async with opened_parts(work) as parts:
            row = await reviewing.found(parts.ledger, self.finding_id)
            said = await parts.ledger.read(partial(reviews.of_finding, ledger=parts.ledger, finding_id=row["id"]))
            turns = await _around(work, row)
        verdicts = [{name: one[name] for name in ("verdict", "role", "at")} for one in said]
        return untrusted(ORIGIN, finding=finding_row(row), turns=turns, reviews=verdicts)


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
            row = await reviewing.found(parts.ledger, self.finding_id)
            if work.is_of_person:
                return await self._decided(parts, row, reviewing.Reviewer(work.who, "human"))
            agent = reviewing.Reviewer("agent", "agent")
            row = await reviewing.review(parts.ledger, row, agent, self.verdict, self.reason, client=parts.client)
        note = "On record as an agent's verdict. A person decides with calltriage pipeline accept or dismiss."
        return {"outcome": "committed", "id": row["id"], "state": row["state"], "note": note}

    async def _decided(self, parts: "Parts", row: JsonObject, person: "Reviewer") -> JsonObject:
        """Keep a person's verdict and do what follows from it: a finding that is right is filed; what was filed stays filed,
        and the note says how to undo it."""
        from calltriage.pipelines import reviewing  # noqa: PLC0415

        undo = await reviewing.undoing(parts.ledger, row) if self.verdict in reviewing.DISMISS_REASONS else []
        row = await reviewing.review(parts.ledger, row, person, self.verdict, self.reason, client=parts.client)
        notes = undo
        if row["state"] == "accepted":
            try:
                row = await reviewing.file_accepted(parts, row)
            except (CallError, StoreError) as error:
                notes = [f"It could not be filed now: {error} The next run files it."]
        issue = {} if row["issue_id"] is None else {"issue_id": row["issue_id"]}
        told = {"note": " ".join(notes)} if notes else {}
        return {"outcome": "committed", "id": row["id"], "state": row["state"], **issue, **told}


class ReportMissedTool(Workflow, effect=Effect.ADD):
    """Tell that a detector missed a moment, which its quote names."""

    result: ClassVar[object] = Reviewed

    call_id: CallId
    detector: Word = Field(description="Its name, as findings have it.")
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


class RunPipelineTool(Workflow, effect=Effect.ADD):
    """Run a pipeline, known by its name since its operator ran it: its detectors examine what came since.

    A dry run unless dry_run is false; then findings are kept, and what needs no person goes where its pipeline says, once.
    """

    result: ClassVar[object] = RunMade
    bounded: ClassVar[bool] = False

    pipeline: Word = Field(description="Its name.")
    since: Since | None = Field(default=None, description="24h, 7d or a day.")
    call_id: CallId | None = Field(default=None, description="This call alone.")
    limit: Annotated[int, Field(ge=1, le=MOST_CALLS)] | None = Field(default=None, description="Calls, default 50.")
    dry_run: bool = Field(default=True, description="Default true.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import runs  # noqa: PLC0415
        from calltriage.pipelines.pipeline import Pipeline  # noqa: PLC0415
        from calltriage.pipelines.spec import parse_spec  # noqa: PLC0415

        async with opened_parts(work) as parts:
            known = await runs.newest(parts.ledger, 1, self.pipeline)
            if not known:
                raise NotFound(
                    "No pipeline of this name has run here. An operator starts one with: calltriage pipeline run FILE",
                    field="pipeline",
                    outcome="not_committed",
                )
            made = await Pipeline(parse_spec(known[0].spec)).run(
                work.server.client, since=self.since, call=self.call_id, limit=self.limit or 50, dry_run=self.dry_run
            )
        return {
            "outcome": "not_committed" if self.dry_run else "committed",
            "dry_run": self.dry_run,
            "calls": made.tally.calls,
            "detectors": [_tally(one) for one in made.tally.detectors.values()],
        }


def _tally(one: "DetectorTally") -> JsonObject:
    """What a detector found in a run, with examples in callers' words."""
    counts = {name: getattr(one, name) for name in ("calls", "found_in", "findings", "unverified", "failed")}
    examples = [
        {"id": found.verified.finding_id, "state": "new", "call_id": found.verified.call_id, "quote": found.verified.quote,
         "note": found.verified.note, **({} if found.verified.turn is None else {"turn": found.verified.turn})}
        for found in one.examples
    ]  # fmt: skip
    return untrusted(ORIGIN, detector=one.name, **counts, not_offered=one.not_offered, examples=examples)


class GetRunTool(Workflow, effect=Effect.READ):
    """Read how far a pipeline's run is, and why it stopped."""

    result: ClassVar[object] = RunShown

    run_id: RunId = Field(description="As calltriage pipeline status shows it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import runs  # noqa: PLC0415

        async with opened_parts(work) as parts:
            try:
                run = await runs.get(parts.ledger, self.run_id)
            except SettingsError:
                raise NotFound("No run has this id.", field="run_id") from None
            errors = await runs.errors_of(parts.ledger, self.run_id)
        shown = {name: getattr(run, name) for name in ("id", "pipeline", "state", "mode", "found", "requests", "why")}
        shown |= {"calls": dict(run.counts), "errors": errors or None}
        return {name: value for name, value in shown.items() if value is not None}


PIPELINE_TOOLS = (
    ListFindingsTool,
    GetFindingTool,
    ReviewFindingTool,
    ReportMissedTool,
    RunPipelineTool,
    GetRunTool,
)
