"""What a prompt is: a way through a case, its steps, and what it puts before the agent."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Tool
from calltriage.server.context import Invocation
from calltriage.server.tools.evidence import GetEvidenceTool


@dataclass(frozen=True)
class Step:
    """One step, and the tools that it needs; where one of them is not offered the step is left out."""

    words: str
    needs: tuple[str, ...] = ()


class Prompt(Tool, effect=Effect.READ):
    """A way through a case."""

    purpose: ClassVar[str]
    rests_on: ClassVar[type[Tool]] = GetEvidenceTool
    """The tool whose answer it puts before the agent."""

    @abstractmethod
    def reads(self) -> str:
        """URI of the resource that it puts before the agent."""

    async def besides(self, work: Invocation) -> JsonObject | None:  # noqa: ARG002  most need nothing more
        """What else there is to read, in a holder of strangers' words."""
        return None

    @abstractmethod
    def steps(self) -> tuple[Step, ...]: ...
