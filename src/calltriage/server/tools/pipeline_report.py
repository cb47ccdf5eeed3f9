"""A pipeline's report, for agents and for the board: what was found, how sure that is, how much of it people have seen."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Required, TypedDict

from pydantic import Field

from calltriage.errors import Rejected, SettingsError
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect
from calltriage.operations.fields import Word
from calltriage.server.answers.results import untrusted
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.pipelines import ORIGIN, Since, opened_parts

if TYPE_CHECKING:  # the database library comes with it
    from calltriage.pipelines.reports.figures import DetectorFigures

INCIDENT = ("ticket", "issue_id", "state", "detector", "kind", "calls", "last_call_at")


class DetectorFigure(TypedDict, total=False):
    """One detector in the time. `precision`: of its present version, by people's verdicts, in its 95 % interval."""

    detector: Required[str]
    calls: Required[int]
    findings: Required[int]
    states: dict[str, int]
    seen: int
    reviewed: int
    precision: float
    low: float
    high: float


class IncidentRow(TypedDict, total=False):
    """A fault that calls share, and its issue."""

    ticket: str
    issue_id: str
    state: str
    detector: str
    kind: str
    calls: int
    last_call_at: str


class ReportShown(TypedDict, total=False):
    """A report. `pipelines`: all that ever ran."""

    since: Required[str]
    until: Required[str]
    calls: Required[int]
    detectors: Required[list[DetectorFigure]]
    days: dict[str, int]
    incidents: list[IncidentRow]
    pipelines: list[str]


class GetPipelineReportTool(Workflow, effect=Effect.READ):
    """Read what pipelines found in a time: by detector with the precision that people's verdicts give, by day, incidents
    with their issues."""

    result: ClassVar[object] = ReportShown

    pipeline: Word | None = Field(default=None, description="Only of this one.")
    since: Since | None = Field(default=None, description="Default 7d.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import runs  # noqa: PLC0415
        from calltriage.pipelines.reports.figures import gathered  # noqa: PLC0415
        from calltriage.pipelines.windows import window  # noqa: PLC0415

        try:
            begin = window(datetime.now(UTC), since=self.since or "7d").since
        except SettingsError as error:
            raise Rejected(str(error), field="since") from None
        async with opened_parts(work) as parts:
            read = partial(gathered, ledger=parts.ledger, since=begin or "", pipeline=self.pipeline)
            found, names = await parts.ledger.read(read), await runs.pipelines(parts.ledger)
        return untrusted(
            ORIGIN,
            since=found.since,
            until=found.until,
            calls=found.calls,
            detectors=[_figure(one) for one in found.detectors],
            days={day: sum(found.by_day[day].values()) for day in found.days},
            incidents=[{name: one[name] for name in INCIDENT if one[name] is not None} for one in found.incidents],
            pipelines=names,
        )


def _figure(one: DetectorFigures) -> JsonObject:
    """A detector's figures; no precision where no person gave a verdict."""
    sure: JsonObject = {}
    if one.precision is not None:
        sure = {"precision": round(one.precision, 3), "low": round(one.low, 3), "high": round(one.high, 3)}
    return {
        "detector": one.name, "calls": one.examined, "findings": one.found, "states": one.states, "seen": one.seen,
        "reviewed": one.reviewed, **sure,
    }  # fmt: skip
