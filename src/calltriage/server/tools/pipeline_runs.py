"""Runs of pipelines, for agents: begun by the pipeline's name, and read by their ids."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Required, TypedDict

import anyio
import anyio.to_thread
from pydantic import Field, StringConstraints

from calltriage.errors import Conflict, NotFound, Rejected, SettingsError, SpecError, first_of
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect
from calltriage.operations.fields import CallId, Form, PipelineName
from calltriage.server.answers.results import untrusted
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.pipelines import ORIGIN, Since, finding_row, opened_parts, unknown_pipeline

if TYPE_CHECKING:  # the database library comes with them
    from collections.abc import Mapping

    from calltriage.pipelines.ledger import Ledger
    from calltriage.pipelines.ledger.runs import Run
    from calltriage.pipelines.pipeline import Pipeline, Report
    from calltriage.pipelines.tallies import DetectorTally

MOST_CALLS = 200
"""Calls that one invocation examines."""
FIRST = "24h"
"""How far back a pipeline looks of which no run has ended, unless the caller says."""
GRACE_S = 5.0
"""Seconds that a run has after the server was told to end. Then it is paused."""
HASH = 12
"""Characters of a hash that are shown."""
GONE = "There is no such call."
REASON = 300
"""Characters of a reason that are shown."""
UNKNOWN = "It is not known with which versions of its detectors the file ran, so its text alone was compared."
RunId = Annotated[str, StringConstraints(max_length=64), Form(r"^[A-Za-z0-9_-]+$", "must be a run's id as it was read")]


class Unexamined(TypedDict):
    """Why a detector did not examine calls. `verdict`: failed, not_offered."""

    detector: str
    verdict: str
    calls: int
    why: str


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
    unexamined: list[Unexamined]


class Example(TypedDict, total=False):
    """A finding of a run. `id` and `state` are those of the ledger, in which a dry run's are not."""

    id: str
    state: str
    call_id: Required[str]
    turn: int
    quote: str
    note: str
    issue_id: str
    why: str


class Mean(TypedDict):
    """The mean of what a detector measured in so many calls."""

    name: str
    unit: str
    calls: int
    mean: float


class DetectorShown(TypedDict, total=False):
    """What one detector found in a run. `why`: the last reason of a failure, or of what it was not offered."""

    detector: Required[str]
    version: str
    calls: Required[int]
    found_in: Required[int]
    findings: Required[int]
    unverified: int
    failed: int
    not_offered: int
    why: str
    measures: list[Mean]
    examples: list[Example]


class RunMade(TypedDict, total=False):
    """What a run came to. `filed`: findings that are filed and that wait, issues that are new and reopened. `unsettled`:
    calls left out. `waiting_before`: findings of earlier runs. `changed`: the file, or a detector's version, is another than
    the last run's."""

    outcome: Required[str]
    dry_run: Required[bool]
    spec_hash: Required[str]
    changed: Required[bool]
    since: str
    run_id: str
    state: str
    why: str
    filed: dict[str, int]
    waiting_before: int
    unsettled: int
    taken_up: list[str]
    calls: Required[int]
    detectors: list[DetectorShown]
    note: str


class RunPipelineTool(Workflow, effect=Effect.ADD):
    """Run the file of a pipeline that its operator has run, as it is now: its detectors examine calls made since its last
    run ended.

    A dry run unless dry_run is false; then findings are kept, and what needs no person goes where its pipeline says, once.
    A file, or a detector's code, that was changed since then is run dry alone.
    """

    result: ClassVar[object] = RunMade
    bounded: ClassVar[bool] = False

    pipeline: PipelineName = Field(description="Its name.")
    since: Since | None = Field(default=None, description="24h, 7d or a day, instead.")
    call_id: CallId | None = Field(default=None, description="This call alone.")
    limit: Annotated[int, Field(ge=1, le=MOST_CALLS)] | None = Field(
        default=None, description="Calls, oldest first; default 50."
    )
    dry_run: bool = Field(default=True, description="Default true.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import runs  # noqa: PLC0415

        async with opened_parts(work) as parts:
            known = await runs.newest(parts.ledger, 1, self.pipeline)
            if not known:
                raise unknown_pipeline(await runs.pipelines(parts.ledger))
            loaded = await _loaded(known[0])
            ran_with = await runs.last_versions(parts.ledger, self.pipeline, loaded.spec_hash)
            changed = loaded.spec_hash != known[0].spec_hash or await _has_others(work, loaded, ran_with)
            told: JsonObject = {"dry_run": self.dry_run, "spec_hash": loaded.spec_hash[:HASH], "changed": changed}
            if changed and not self.dry_run:
                raise Conflict(
                    "The pipeline's file, or the code of one of its detectors, was changed since its last run, and nobody "
                    "has run it so. A dry run shows what it finds now. Its operator runs it first: calltriage pipeline run "
                    "FILE",
                    code="pipeline_changed",
                    field="dry_run",
                    outcome="not_committed",
                )
            since, until = self.since, None
            if since is None and self.call_id is None:
                until = await runs.examined_until(parts.ledger, self.pipeline)
                since = until or FIRST
            told |= {} if since is None else {"since": since}
            told |= {} if changed or ran_with is not None else {"note": UNKNOWN}
            return told | await self._carried_out(work, parts.ledger, loaded, since, is_next=until is not None)

    async def _carried_out(
        self, work: Invocation, ledger: "Ledger", loaded: "Pipeline", since: str | None, *, is_next: bool
    ) -> JsonObject:
        """Run it, and tell what it came to; what is left if the server ends meanwhile."""
        made = None
        asked = partial(loaded.run, since=since, call=self.call_id, limit=self.limit or 50, is_next=is_next)
        try:
            window = loaded.window(**asked.keywords)
        except SettingsError as error:
            if self.since is not None:
                raise Rejected(str(error), field="since") from None
            return {"outcome": "not_committed", "calls": 0, "note": "No call has settled since then."}
        try:
            async with anyio.create_task_group() as tasks:

                async def end() -> None:
                    await work.server.ending.wait()
                    await work.server.sleep(GRACE_S)
                    carrying.cancel()

                tasks.start_soon(end)
                with anyio.CancelScope() as carrying:
                    made = await asked(work.server.client, dry_run=self.dry_run)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        if made is not None:
            is_gone = self.call_id is not None and made.has_gone
            if is_gone and not made.taken_up:
                raise NotFound(GONE, field="call_id", outcome="not_committed")
            return await _came_to(ledger, made) | ({"note": GONE} if is_gone else {})
        return await _left(ledger, loaded, window.asked)


async def _has_others(work: Invocation, loaded: "Pipeline", versions: "Mapping[str, str] | None") -> bool:
    """Whether the file's detectors are of other versions now. No, if those are not known with which it ran.

    Raises SpecError for a detector that cannot be made.
    """
    from calltriage.pipelines.pipeline import opened_detectors, versions_of  # noqa: PLC0415

    if versions is None:
        return False
    async with opened_detectors(work.server.client, loaded.spec, is_dry=True) as detectors:
        return versions_of(detectors) != versions


async def _loaded(run: "Run") -> "Pipeline":
    """The pipeline's file where its operator ran it, as it is now. Raises SpecError."""
    from calltriage.pipelines.pipeline import AGENT, Pipeline  # noqa: PLC0415

    if run.origin.file is None:
        raise SpecError(
            "It is not known where the file of this pipeline is, since an earlier calltriage or a program ran it. Its "
            "operator runs it once more: calltriage pipeline run FILE"
        )
    path = Path(run.origin.file)
    if not await anyio.Path(path).is_file():
        raise SpecError(
            f"{path.name} is not where its operator ran it, or that was on another machine. Its operator runs it once from "
            "where it is now: calltriage pipeline run FILE"
        )
    loaded = await anyio.to_thread.run_sync(Pipeline.load, path)
    if loaded.spec.name != run.pipeline:
        raise SpecError(f"{path.name} is the file of another pipeline now. Ask for that one by its name.")
    return Pipeline(loaded.spec, AGENT)


async def _came_to(ledger: "Ledger", made: "Report") -> JsonObject:
    from calltriage.pipelines.ledger import findings  # noqa: PLC0415

    tallies, kept = made.tally.detectors.values(), dict[str, JsonObject]()
    if made.run is not None:
        ids = [found.verified.finding_id for one in tallies for found in one.examples]
        kept = await ledger.read(partial(findings.by_ids, ledger=ledger, ids=ids))
    counts = {"unsettled": made.unsettled, "waiting_before": made.waiting_before}
    shown = {
        "calls": made.tally.calls,
        **{name: n for name, n in counts.items() if n},
        "detectors": [_tally(one, kept) for one in tallies],
    }
    if made.run is None:
        return {"outcome": "not_committed", **shown}
    why = {} if made.run.why is None else {"why": made.run.why}
    filed = {} if made.filed is None else {"filed": vars(made.filed)}
    before = {"taken_up": [one.id for one in made.taken_up]} if made.taken_up else {}
    return {"outcome": "committed", "run_id": made.run.id, "state": made.run.state, **why, **filed, **before, **shown}


async def _left(ledger: "Ledger", loaded: "Pipeline", asked: str) -> JsonObject:
    """What is told of a run that the server's end cut off. A dry run leaves nothing."""
    from calltriage.pipelines.ledger import runs  # noqa: PLC0415

    found = [run for run in await runs.open_of(ledger, [loaded.spec_hash]) if run.window["asked"] == asked]
    if not found:
        return {"outcome": "not_committed", "calls": 0, "note": "The server ended meanwhile. Nothing was kept."}
    run = await runs.get(ledger, found[-1].id)
    note = "The server ended meanwhile. The same call, and any run of the file, goes on with what is left."
    return {"outcome": "committed", "run_id": run.id, "state": run.state, "calls": run.ended, "note": note}


def _tally(one: "DetectorTally", kept: dict[str, JsonObject]) -> JsonObject:
    """What a detector found in a run, with examples in callers' words, as they are in the ledger if they were `kept`."""
    counts = {name: getattr(one, name) for name in ("calls", "found_in", "findings", "unverified", "failed")}
    examples = [
        {"call_id": each.call_id, "quote": each.quote, "note": each.note,
         **({} if each.turn is None else {"turn": each.turn}), **_stands(each.finding_id, kept)}
        for each in (found.verified for found in one.examples)
    ]  # fmt: skip
    version = one.version_hash[:HASH]
    why = {"why": one.why[:REASON]} if one.why and (one.failed or one.not_offered) else {}
    means = [
        {"name": each.name, "unit": each.unit, "calls": each.calls, "mean": round(each.mean, 3)}
        for each in one.measures.values()
    ]
    measured = {"measures": means} if means else {}
    return untrusted(
        ORIGIN, detector=one.name, version=version, **counts, not_offered=one.not_offered, **why, **measured,
        examples=examples,
    )  # fmt: skip


def _stands(finding_id: str, kept: dict[str, JsonObject]) -> JsonObject:
    """How a finding stands in the ledger; empty for one that is not in it."""
    row = finding_row(kept.get(finding_id, {}))
    return {name: row[name] for name in ("id", "state", "issue_id", "why") if name in row}


class GetRunTool(Workflow, effect=Effect.READ):
    """Read how far a pipeline's run is, why it stopped, and why detectors did not examine calls."""

    result: ClassVar[object] = RunShown

    run_id: RunId = Field(description="As run_pipeline or calltriage pipeline status shows it.")

    async def run(self, work: Invocation) -> JsonObject:
        from calltriage.pipelines.ledger import results, runs  # noqa: PLC0415

        async with opened_parts(work) as parts:
            try:
                run = await runs.get(parts.ledger, self.run_id)
            except SettingsError:
                raise NotFound("No run has this id.", field="run_id") from None
            errors = await runs.errors_of(parts.ledger, self.run_id)
            asked = {"ledger": parts.ledger, "run_id": run.id, "versions": run.origin.versions}
            left_out = await parts.ledger.read(partial(results.reasons, **asked))
        shown = {name: getattr(run, name) for name in ("id", "pipeline", "state", "mode", "found", "requests", "why")}
        unexamined = [{**vars(one), "why": one.why[:REASON]} for one in left_out]
        shown |= {"calls": dict(run.counts), "errors": errors or None, "unexamined": unexamined or None}
        return untrusted(ORIGIN, **{name: value for name, value in shown.items() if value is not None})


RUN_TOOLS = (RunPipelineTool, GetRunTool)
