"""The redactor that a pipeline's file names, opened: the built-in one, or a user's function in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from calltriage.errors import DetectorFailed, DetectorOff, SettingsError
from calltriage.leaves.strict_json import is_array
from calltriage.pipelines.child import Child
from calltriage.pipelines.redaction import (
    BUILT_IN,
    BuiltIn,
    Masked,
    RedactionError,
    Redactor,
    RedactorOff,
    told_as,
    with_known,
)
from calltriage.pipelines.references import Reference


@dataclass(frozen=True)
class Hook:
    """A user's function that takes a text and returns it masked. The known values are masked before it gets the text."""

    child: Child

    async def mask(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Masked]:
        first = [with_known(text, known) for text in texts]
        try:
            answer = await self.child.ask({"texts": [one.text for one in first]})
        except DetectorFailed as error:
            why = f"{str(error).rstrip('.')}; the text is not used."
            off = isinstance(error, DetectorOff)
            raise (RedactorOff(why, str(self.child.reference)) if off else RedactionError(why)) from error
        told = answer.get("texts")
        if not is_array(told) or len(told) != len(first):
            raise RedactionError("The redactor gave no text; the text is not used.")
        return [told_as(one, str(text)) for one, text in zip(first, told, strict=True)]


@asynccontextmanager
async def opened_redactor(named: str | None, folder: Path, deadline_s: float) -> AsyncGenerator[Redactor | None]:
    """The redactor that `redact` of a file names, while the block runs: None, `builtin`, or `module:function`.

    Args:
        folder: modules in it come first.
        deadline_s: seconds that a user's function may take for the texts of a call.

    Raises SettingsError for any other name, and for a function that cannot be imported.
    """
    if named is None:
        yield None
        return
    if named == BUILT_IN:
        yield BuiltIn()
        return
    reference = Reference.of(named)
    if reference is None:
        raise SettingsError(f"redact must be {BUILT_IN!r} or module:function.")
    child = Child(reference, {}, folder, deadline_s, what="redactor")
    try:
        await child.describe()
        yield Hook(child)
    finally:
        with anyio.CancelScope(shield=True):
            await child.close()
