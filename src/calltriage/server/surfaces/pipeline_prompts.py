"""Prompts about what pipelines found. They are there with the toolset `pipelines` alone, whose tools they name."""

from typing import ClassVar
from urllib.parse import quote

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Tool
from calltriage.operations.fields import DetectorName, PipelineName
from calltriage.server.answers.results import untrusted
from calltriage.server.context import Invocation
from calltriage.server.surfaces.procedures import Prompt, Step
from calltriage.server.tools.pipelines import GetFindingTool


class ReviewFindings(Prompt):
    """Review what a pipeline found: read each finding that waits with its turns, and give a verdict with its reason."""

    rests_on: ClassVar[type[Tool]] = GetFindingTool
    purpose: ClassVar[str] = "Review the findings of this pipeline that wait for a verdict."

    pipeline: PipelineName = Field(title="Pipeline", description="The pipeline's name.")
    detector: DetectorName | None = Field(
        default=None, title="Detector", description="Findings of this detector alone."
    )

    def reads(self) -> str:
        return _report_of(self.pipeline)

    async def besides(self, work: Invocation) -> JsonObject | None:  # noqa: ARG002  the report says the rest
        return None if self.detector is None else untrusted("whoever picked the prompt", detector=self.detector)

    def steps(self) -> tuple[Step, ...]:
        only = " Take those of the detector that stands below." if self.detector else ""
        return (
            Step(f"Find what waits: list_findings with state new.{only}", ("list_findings",)),
            Step("Read each one with its turns before you judge: get_finding.", ("get_finding",)),
            Step("Ask of each: do the words of this turn show what the detector says? A quote out of its context shows "
                 "nothing; read more with get_transcript.", ("get_transcript",)),
            Step("Give a verdict with its reason: review_finding. wrong is a finding that is not what the detector says; "
                 "expected, minor and duplicate are right, but no issue. Leave out what you cannot tell.",
                 ("review_finding",)),
            Step("Where a turn shows the fault and no finding names it: report_missed.", ("report_missed",)),
            Step("Answer with a table: finding, verdict, reason in one sentence. Say that a person decides."),
        )  # fmt: skip


class TuneDetector(Prompt):
    """Find out why a detector of a pipeline is wrong or misses moments, and propose a change of its options."""

    rests_on: ClassVar[type[Tool]] = GetFindingTool
    purpose: ClassVar[str] = (
        "Propose how to change this detector's options so that it is wrong less often and misses less."
    )

    pipeline: PipelineName = Field(title="Pipeline", description="The pipeline's name.")
    detector: DetectorName = Field(title="Detector", description="The detector's name.")

    def reads(self) -> str:
        return _report_of(self.pipeline)

    async def besides(self, work: Invocation) -> JsonObject | None:  # noqa: ARG002  the report says the rest
        return untrusted("whoever picked the prompt", detector=self.detector)

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("The detector's name stands below, its figures in the report. Read what it found and people dismissed: "
                 "list_findings with its name and state dismissed. why wrong speaks against it; expected and minor do not.",
                 ("list_findings",)),
            Step("Read at least five wrong ones and five right ones with their turns: get_finding.", ("get_finding",)),
            Step("Name what the wrong ones have in common, and which option of the detector would leave them out."),
            Step("Try it: an operator changes the file where it is, and run_pipeline runs it dry, with since far enough "
                 "back for the calls of the findings above. changed says that the file or a detector's code is another "
                 "than ran last; if it is false, the change has not reached the file.", ("run_pipeline",)),
            Step("Answer with the change of the file as TOML, the findings that it would leave out and those it must keep, "
                 "and the command that proves it: calltriage pipeline eval FILE --labels L.jsonl --against OLD.toml. "
                 "Few verdicts prove little: say how many there are."),
        )  # fmt: skip


def _report_of(pipeline: str) -> str:
    return f"triage://pipelines/{quote(pipeline, safe='')}/report"


OF_PIPELINES: dict[str, type[Prompt]] = {prompt.tool_name(): prompt for prompt in (ReviewFindings, TuneDetector)}
"""Those of the toolset `pipelines`."""
