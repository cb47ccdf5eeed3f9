"""A pipeline's report, for agents, for the board and as an MCP resource: what was found, how sure that is, how much of it
people have seen.

The resource of a report is this tool's answer. The tool is there, too, since many hosts know tools alone, and since it also
narrows to a time and reads all pipelines.
"""

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Required, TypedDict

from pydantic import Field

from calltriage.errors import Rejected, SettingsError
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect
from calltriage.operations.fields import PipelineName
from calltriage.server.answers.results import untrusted
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.pipelines import ORIGIN, FindingRow, Since, finding_row, opened_parts, unknown_pipeline

if TYPE_CHECKING:  # the database library comes with it
    from calltriage.pipelines.reports.figures import DetectorFigures

SINCE = "30d"
"""How far back a report looks unless the caller says."""


class DetectorFigure(TypedDict, total=False):
    """One detector in the time. `calls`: that it examined. `failed`: those on which it failed. `precision`: of its present
    version, by people's verdicts, in its 95 % interval."""

    detector: Required[str]
    calls: Required[int]
    failed: int
    findings: Required[int]
    states: dict[str, int]
    seen: int
    reviewed: int
    precision: float
    low: float
    high: float


class IncidentRow(TypedDict, total=False):
    """A fault that calls share, and its issue."""

    fingerprint: str
    ticket: str
    issue_id: str
    state: str
    detector: str
    kind: str
    key: str
    findings: int
    calls: int
    last_call_at: str
    muted: str


class ReportShown(TypedDict, total=False):
    """A report. `waiting`: the newest findings without a verdict. `pipelines`: all that ever ran."""

    since: Required[str]
    until: Required[str]
    calls: Required[int]
    usd: float
    detectors: Required[list[DetectorFigure]]
    days: dict[str, int]
    incidents: list[IncidentRow]
    waiting: list[FindingRow]
    pipelines: list[str]


class GetPipelineReportTool(Workflow, effect=Effect.READ):
    """Read what pipelines found in a time: by detector with the precision that people's verdicts give, by day, incidents
    with their issues, what waits."""

    result: ClassVar[object] = ReportShown

    pipeline: PipelineName | None = Field(default=None, description="Only of this one.")
    since: Since | None = Field(default=None, description=f"Default {SINCE}.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import runs  # noqa: PLC0415
        from calltriage.pipelines.reports.figures import gathered  # noqa: PLC0415
        from calltriage.pipelines.windows import window  # noqa: PLC0415

        async with opened_parts(work) as parts:
            names = await runs.pipelines(parts.ledger)
            if self.pipeline is not None and self.pipeline not in names:
                raise unknown_pipeline(names)
            try:
                begin = window(parts.ledger.clock(), since=self.since or SINCE).since
            except SettingsError as error:
                raise Rejected(str(error), field="since") from None
            read = partial(gathered, ledger=parts.ledger, since=begin or "", pipeline=self.pipeline, whole=False)
            found = await parts.ledger.read(read)
        return untrusted(
            ORIGIN,
            since=found.since,
            until=found.until,
            calls=found.calls,
            usd=found.usd,
            detectors=[_figure(one) for one in found.detectors],
            days={day: sum(found.by_day[day].values()) for day in found.days},
            incidents=[_incident(one) for one in found.incidents],
            waiting=[finding_row(one) for one in found.waiting],
            pipelines=names,
        )


def _incident(one: JsonObject) -> JsonObject:
    return {name: one[name] for name in IncidentRow.__annotations__ if one[name] not in (None, "")}


def _figure(one: "DetectorFigures") -> JsonObject:
    """A detector's figures; no precision where no person gave a verdict."""
    sure: JsonObject = {}
    if one.precision is not None:
        sure = {"precision": round(one.precision, 3), "low": round(one.low, 3), "high": round(one.high, 3)}
    return {
        "detector": one.name, "calls": one.examined, "findings": one.found, "states": one.states, "seen": one.seen,
        "reviewed": one.reviewed, **({"failed": one.failed} if one.failed else {}), **sure,
    }  # fmt: skip
