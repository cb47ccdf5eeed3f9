"""Detectors by name: those of the package, those of installed packages (entry points), and functions of the user's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.metadata import entry_points

from calltriage.errors import DetectorError
from calltriage.pipelines import child
from calltriage.pipelines.detecting import Detector, Rule, adapted, nearest
from calltriage.pipelines.references import Reference
from calltriage.pipelines.spec import Detect, Spec, SpecError

ENTRY_POINTS = "calltriage.detectors"
BUILT_INS = {
    "agent_silence": "silences",
    "answer_latency": "silences",
    "talk_over": "silences",
    "digits_differ": "heard",
    "agent_loop": "repeats",
    "caller_repeats": "repeats",
    "contradicts_record": "records",
    "required": "phrases",
    "forbidden": "phrases",
    "before": "phrases",
    "metadata": "facts",
    "asks_for_human": "word_lists",
    "anger": "word_lists",
    "promise": "word_lists",
    "open_question": "word_lists",
}
"""Rules of the package, and the module of each."""


def built_ins() -> dict[str, Rule]:
    """The rules of the package by name."""
    return {name: built_in(name) for name in BUILT_INS}


def built_in(name: str) -> Rule:
    """A rule of the package. Raises KeyError for a name that is none."""
    rule = getattr(import_module(f"calltriage.pipelines.detectors.{BUILT_INS[name]}"), name)
    assert isinstance(rule, Rule)  # noqa: S101  the table above and the modules are one
    return rule


def find(use: str) -> Rule | Reference:
    """What a pipeline's file means by `use`. Raises DetectorError with the nearest name."""
    if use in BUILT_INS:
        return built_in(use)
    if (named := Reference.of(use)) is not None:
        return named
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if (value := installed.get(use)) is not None:
        if (named := Reference.of(value)) is not None:
            return named
        raise DetectorError(f"The entry point {use!r} of an installed package does not name module:function.")
    hint = nearest(use, [*BUILT_INS, *installed])
    raise DetectorError(f"There is no detector {use!r}. {hint} A function of your own is named as module:function.")


@asynccontextmanager
async def opened(spec: Spec) -> AsyncGenerator[list[Detector]]:
    """The detectors of a pipeline's file, in its order, while the block runs. Raises SpecError, a line a fault."""
    async with AsyncExitStack() as stack:
        made, faults = list[Detector](), list[str]()
        for index, detect in enumerate(spec.detect):
            try:
                made.append(await _prepared(spec, detect, stack))
            except DetectorError as error:
                faults.append(spec.fault(("detect", index, *(error.path or ("use",))), f"is wrong. {error}"))
        if faults:
            raise SpecError("\n".join(faults))
        yield made


async def _prepared(spec: Spec, detect: Detect, stack: AsyncExitStack) -> Detector:
    found, most = find(detect.use), spec.limits.findings_per_call
    if isinstance(found, Rule):
        made = found.configured(detect.options, name=detect.known_as, most=most, folder=spec.folder)
    else:
        deadline_s = spec.limits.seconds_per_call.total_seconds()
        made = await stack.enter_async_context(
            child.opened(
                found, detect.options, name=detect.known_as, folder=spec.folder, deadline_s=deadline_s, most=most
            )
        )
    return adapted(made, severity=detect.severity, group_by=detect.group_by, was=detect.was)
