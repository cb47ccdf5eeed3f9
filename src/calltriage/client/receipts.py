"""What an answer of 2xx says: the operation's result, a failure all the same, or nothing at all."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from calltriage.client.answers import Answer, error_facts, failure, read_json
from calltriage.errors import CallError, EmptyAnswer, Outcome, UnreadableAnswer
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.operations.base import Effect, Operation
from calltriage.operations.results import read_result

logger = logging.getLogger(__name__)

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

STATUS_OF = {
    "bad_request": 400,
    "auth_failure": 401,
    "forbidden": 403,
    "not_found": 404,
    "call_not_attached": 409,
    "session_busy": 409,
    "session_closed": 409,
    "2320000": 400,
    "2320001": 401,
    "2320002": 403,
    "2320004": 409,
    "2320009": 404,
}
"""Error codes of both contracts and the status that each comes with (bland-triage, section 2; talkdesk, section 9)."""

FAILURE_WORDS = frozenset({"code", "error", "errors", "fields", "message", "ok", "status", "success"})
"""Members of a failure's body in the shapes seen (bland-triage, section 2; talkdesk, section 9)."""


@dataclass(frozen=True)
class Receipt(Generic[R_co]):
    """A result and, for a write, whether it was done now or found done (`committed`, `replayed`).

    `api_time` is when the API says that it answered.
    """

    result: R_co
    outcome: Outcome | None
    api_time: datetime | None = None


def receipt_of_nothing(outcome: Outcome | None, api_time: datetime | None = None) -> Receipt[Any]:
    """The receipt of an operation that has no result."""
    return Receipt(None, outcome, api_time)


def receipt_of(operation: Operation[R], answer: Answer) -> Receipt[R]:
    """Read a success.

    Raises:
        CallError: the body is a failure's. Its outcome is `unknown` unless the failure's code says `not_committed`.
        EmptyAnswer: a write's body is empty where the contract has one.
        UnreadableAnswer: the body cannot be read. A write that the API says it did stays done: its outcome is then
            `committed` or `replayed`.
    """
    outcome: Outcome | None = None
    if operation.effect is not Effect.READ:
        outcome = "replayed" if answer.status in operation.success[1:] else "committed"
    body, is_json = _parsed(answer)
    if is_json:
        _refuse_failure(operation, answer, body)
    if operation.result_type() is None:
        return receipt_of_nothing(outcome, answer.api_time)
    if is_json and outcome is not None and _is_empty(body, envelope=operation.envelope):
        raise EmptyAnswer("The API answered without a word.", status=answer.status, outcome="unknown")
    try:
        return Receipt(_result(operation, body), outcome, answer.api_time)
    except (ValueError, KeyError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        logger.warning("unreadable answer to %s: status %d", operation.tool_name(), answer.status)
        raise UnreadableAnswer(
            "The API said it succeeded, but its answer cannot be read."
            if outcome
            else "The API's answer breaks its contract. Try once more, then ask the operator to run: calltriage doctor",
            status=answer.status,
            outcome=outcome,
        ) from error


def _refuse_failure(operation: Operation[object], answer: Answer, body: object) -> None:
    """Raise the error that a body tells of although its status is one of success."""
    if not is_object(body) or not _says_failure(body):
        return
    if not _says_result(body, operation.result_type(), envelope=operation.envelope):
        raise _failure(operation, answer)
    if operation.effect is not Effect.READ:
        raise UnreadableAnswer("The API says success and failure at once.", status=answer.status, outcome="unknown")


def _result(operation: Operation[R], body: Any) -> R:
    """The result in a body. Raises ValueError, KeyError or TypeError for a body that has none."""
    if body is None:  # a page of HTML is no empty list
        raise ValueError("no JSON")
    return read_result(operation.result_type(), body["data"] if operation.envelope else body)


def _parsed(answer: Answer) -> tuple[Any, bool]:
    """The body, and whether it is JSON. A body without a character counts as null."""
    if answer.body is None:
        return None, False
    try:
        return read_json(answer.body.strip() or b"null"), True
    except ValueError:
        return None, False


def _says_failure(body: JsonObject) -> bool:
    """Whether a body holds an error in a shape seen, or in one of its kind."""
    status = body.get("status")
    return bool(
        body.get("errors")
        or body.get("error")
        or {"code", "message"} <= body.keys()
        or False in (body.get("success"), body.get("ok"))
        or (
            status in ("error", "failure", "failed")
            if isinstance(status, str)
            else isinstance(status, int) and status >= 400
        )
    )


def _says_result(body: JsonObject, result_type: object, *, envelope: bool) -> bool:
    """Whether a body that holds an error has anything of the result too; a call's record has a status and an error."""
    return bool(body.get("data") if envelope else body.keys() & (_names(result_type) - FAILURE_WORDS))


def _names(result_type: object) -> set[str]:
    """Names of a result's members on the wire; none for what is not an object."""
    if not (isinstance(result_type, type) and issubclass(result_type, BaseModel)):
        return set()
    return {field.alias or name for name, field in result_type.model_fields.items()}


def _is_empty(body: object, *, envelope: bool) -> bool:
    return not body or (envelope and is_object(body) and body.get("data", body) is None)


def _failure(operation: Operation[object], answer: Answer) -> CallError:
    """The error for a failure's body, by the status that its code comes with where that is documented."""
    status = STATUS_OF.get((error_facts(answer)[0] or "").lower(), answer.status)
    return failure(replace(answer, status=status), type(operation))
