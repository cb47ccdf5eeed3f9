"""The program that runs a user's detector or redactor: one line of JSON in, one line out.

`child.py` starts it; it ends with its input. What the user's code prints is dropped, since it may hold callers' words. A
timer ends the process when the import or a call takes too long, in case the process that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

import anyio
from pydantic import TypeAdapter

from calltriage.errors import CalltriageError, DetectorError
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.calls import Call
from calltriage.pipelines.detecting import Detector
from calltriage.pipelines.raised import raised
from calltriage.pipelines.references import Reference, load, load_function

_call = TypeAdapter(Call)


def main() -> None:
    """Answer questions until the input ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115  until the process ends
    questions = sys.stdin.buffer
    about: JsonObject = json.loads(questions.readline())
    sys.path[:0] = [about["folder"]]
    _within(about["start_s"])
    try:
        described, answered = (_redactor if about["what"] == "redactor" else _detector)(about)
    except DetectorError as error:
        _answer(out, {"refused": str(error), "path": list(error.path)})
        return
    _answer(out, described)
    _within(0)
    for line in questions:
        _within(about["deadline_s"])
        _answer(out, answered(json.loads(line)))
        _within(0)


Made = tuple[JsonObject, Callable[[JsonObject], JsonObject]]
"""What a function declares, and what answers a question with it."""


def _detector(about: JsonObject) -> Made:
    rule = load(Reference(about["module"], about["function"]))
    made = rule.configured(about["options"], most=about["most"], folder=Path(about["folder"]))
    return _described(made), lambda asked: anyio.run(_looked_at, made, _call.validate_python(asked["call"]))


def _redactor(about: JsonObject) -> Made:
    named = Reference(about["module"], about["function"])
    function = load_function(named)
    return {}, lambda asked: _masked(named, function, asked["texts"])


def _masked(named: Reference, function: Callable[[str], object], texts: list[str]) -> JsonObject:
    """Each text as the function tells it. A failure says which error it was and where, and no word of the text."""
    try:
        told = [function(text) for text in texts]
    except Exception as error:  # noqa: BLE001  a user's function
        return {"failed": f"Redactor {named} raised {raised(error)}"}
    return (
        {"texts": told} if all(isinstance(text, str) for text in told) else {"failed": f"Redactor {named} gave no text"}
    )


def _described(made: Detector) -> JsonObject:
    names = ("version", "version_hash", "needs", "needs_corrected", "review_only", "states_facts")
    return {"kinds": list(made.kinds), **{name: getattr(made, name) for name in names}}


async def _looked_at(made: Detector, call: Call) -> JsonObject:
    began = time.perf_counter()
    try:
        examined = await made.examine(call)
        return {"examined": {**asdict(examined), "ms": round((time.perf_counter() - began) * 1000, 3)}}
    except CalltriageError as error:
        return {"failed": str(error)}


def _answer(out: IO[bytes], answer: JsonObject) -> None:
    out.write(json.dumps(answer, default=str).encode() + b"\n")


def _within(seconds: float) -> None:
    """End the process after so many seconds by a signal (not on Windows); 0 stops the timer."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
