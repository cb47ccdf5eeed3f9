"""Detectors by name: those of the package, those of installed packages (entry points), and functions of the user's own."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from calltriage.errors import DetectorError
from calltriage.pipelines.detecting import Detector, Rule, adapted, nearest
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
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Reference:
    """A function outside the package, `module:function`. Nothing of it is imported here."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


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
    if _REFERENCE.fullmatch(use):
        return Reference(*use.split(":"))
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if (value := installed.get(use)) is not None:
        if _REFERENCE.fullmatch(value):
            return Reference(*value.split(":"))
        raise DetectorError(f"The entry point {use!r} of an installed package does not name module:function.")
    hint = nearest(use, [*BUILT_INS, *installed])
    raise DetectorError(f"There is no detector {use!r}. {hint} A function of your own is named as module:function.")


def load(reference: Reference) -> Rule:
    """Import a function outside the package. Raises DetectorError that says what is missing."""
    try:
        module = import_module(reference.module)
    except ModuleNotFoundError as error:
        if error.name is not None and reference.module.startswith(error.name):
            raise DetectorError(
                f"There is no module {reference.module!r}. Install it, or run from its folder, or set PYTHONPATH."
            ) from None
        raise DetectorError(f"The module {reference.module!r} needs {error.name!r}, which is not installed.") from None
    except Exception as error:
        raise DetectorError(f"The module {reference.module!r} cannot be imported: {type(error).__name__}.") from error
    found = getattr(module, reference.function, None)
    if isinstance(found, Rule):
        return found
    if found is not None:
        raise DetectorError(f"{reference} is not declared with @detector(version=…, kind=…).")
    rules = [name for name, value in vars(module).items() if isinstance(value, Rule)]
    raise DetectorError(
        f"The module {reference.module!r} has no {reference.function!r}. {nearest(reference.function, rules)}"
    )


@asynccontextmanager
async def opened(spec: Spec) -> AsyncGenerator[list[Detector]]:
    """The detectors of a pipeline's file, in its order, while the block runs. Raises SpecError, a line a fault."""
    made, faults = list[Detector](), list[str]()
    for index, detect in enumerate(spec.detect):
        try:
            made.append(_prepared(spec, detect))
        except DetectorError as error:
            faults.append(spec.fault(("detect", index, *(error.path or ("use",))), f"is wrong. {error}"))
    if faults:
        raise SpecError("\n".join(faults))
    yield made


def _prepared(spec: Spec, detect: Detect) -> Detector:
    found = find(detect.use)
    rule = found if isinstance(found, Rule) else load(found)
    made = rule.configured(detect.options, name=detect.known_as, most=spec.limits.findings_per_call, folder=spec.folder)
    return adapted(made, severity=detect.severity, group_by=detect.group_by, was=detect.was)
