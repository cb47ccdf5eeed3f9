"""The form of a model's answer, and reading an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.detecting import MOST_FINDINGS

MOST_CHARACTERS = 200_000
"""Characters of an answer that are read; the rest is ignored."""
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


class AnswerError(Exception):
    """An answer does not have the required form. The message says why and has no words of the answer."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Moment(_Part):
    """A moment that a model found: the index of the turn, a quote of it, and why it matters."""

    turn: int
    quote: Annotated[str, StringConstraints(max_length=2_000)]
    note: Annotated[str, StringConstraints(max_length=2_000)]


class Judgement(_Part):
    """A model's answer to one question about a call."""

    verdict: Literal["found", "not_found", "cannot_tell"]
    findings: Annotated[list[Moment], Field(max_length=MOST_FINDINGS)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.verdict == "found") is not bool(self.findings):
            raise ValueError("`findings` must hold something if `verdict` is found, and nothing otherwise")
        return self


_judgements = TypeAdapter(dict[str, Judgement])


def schema_of(questions: Sequence[str]) -> JsonObject:
    """The JSON Schema of an answer to these questions (names), in the subset that strict endpoints take: all members are
    required, others are forbidden, and there are no bounds."""
    moment = _object({"turn": {"type": "integer"}, "quote": {"type": "string"}, "note": {"type": "string"}})
    verdict = {"type": "string", "enum": ["found", "not_found", "cannot_tell"]}
    judgement = _object({"verdict": verdict, "findings": {"type": "array", "items": moment}})
    return _object(dict.fromkeys(questions, judgement))


def _object(properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_answer(text: str, questions: Sequence[str]) -> dict[str, Judgement]:
    """The judgements in an answer, by question. Text around the JSON object is ignored. Raises AnswerError."""
    plain = _THOUGHTS.sub("", text[:MOST_CHARACTERS])
    begin, end = plain.find("{"), plain.rfind("}")
    if begin < 0 or end < begin:
        raise AnswerError("it holds no JSON object")
    try:
        value = json.loads(plain[begin : end + 1])
    except (ValueError, RecursionError):
        raise AnswerError("it is no JSON, or was cut off") from None
    try:
        judgements = _judgements.validate_python(value)
    except ValidationError as error:
        raise AnswerError(_told(error)) from None
    if set(judgements) != set(questions):
        raise AnswerError(f"its members must be exactly {', '.join(questions)}")
    return judgements


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(
        str(part) for part in first["loc"] if isinstance(part, int) or re.fullmatch(r"[a-z_0-9]{1,20}", part)
    )
    return f"{where or 'the answer'}: {first['msg'].removeprefix('Value error, ')}"
