"""The user's functions: named `module:function`, imported where they run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from calltriage.errors import DetectorError
from calltriage.leaves.nearest import nearest
from calltriage.pipelines.detecting import Rule
from calltriage.pipelines.raised import raised

FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Reference:
    """The name of a user's function. Making one imports nothing."""

    module: str
    function: str

    @classmethod
    def of(cls, text: str) -> Reference | None:
        """The reference for a text of the form `module:function`; None for any other text."""
        return cls(*text.split(":")) if FORM.fullmatch(text) else None

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


def load(reference: Reference) -> Rule:
    """Import a user's detector. Raises DetectorError, which says what is wrong."""
    found = _imported(reference)
    if isinstance(found, Rule):
        return found
    raise DetectorError(f"{reference} is not declared with @detector(version=…, kind=…).")


def load_function(reference: Reference) -> Callable[..., Any]:
    """Import a user's function. Raises DetectorError, which says what is wrong."""
    found = _imported(reference)
    if callable(found):
        return found
    raise DetectorError(f"{reference} is no function.")


def _imported(reference: Reference) -> object:
    try:
        module = import_module(reference.module)
    except ModuleNotFoundError as error:
        if error.name is not None and reference.module.startswith(error.name):
            raise DetectorError(
                f"There is no module {reference.module!r}. Put it beside the pipeline's file, or install it."
            ) from None
        raise DetectorError(f"The module {reference.module!r} needs {error.name!r}, which is not installed.") from None
    except Exception as error:
        raise DetectorError(f"The module {reference.module!r} cannot be imported: {raised(error)}.") from error
    found = getattr(module, reference.function, None)
    if found is None:
        rules = [name for name, value in vars(module).items() if isinstance(value, Rule)]
        hint = nearest(reference.function, rules)
        raise DetectorError(f"The module {reference.module!r} has no {reference.function!r}. {hint}")
    return found
