"""Reading what a vendor answers: bounded, one JSON reader, one place that turns a status into an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, cast

import httpx2

from calltriage.client.retries import retry_after_seconds
from calltriage.errors import (
    Blocked,
    CallError,
    Conflict,
    Forbidden,
    NotFound,
    Outcome,
    RateLimited,
    Rejected,
    ServerFailure,
    StorageUnavailable,
    Unauthenticated,
    UnreadableAnswer,
)
from calltriage.leaves import strict_json
from calltriage.leaves.strict_json import is_array, is_object
from calltriage.leaves.surrogates import all_escaped
from calltriage.operations.base import STORAGE_BUSY, STORAGE_FAILED, Effect, Operation
from calltriage.operations.fields import A_CURSOR, MAX_BODY


@dataclass(frozen=True)
class Answer:
    """An answer, its body read within the cap; `body` is None when it was too large or is not here (`broke_off`)."""

    status: int
    headers: httpx2.Headers
    body: bytes | None
    broke_off: bool = False

    @property
    def api_time(self) -> datetime | None:
        """When the API says that it answered: the `Date` header (RFC 9110, section 6.6.1), in whole seconds."""
        dates = self.headers.get_list("date")
        return _moment(dates[-1]) if dates else None


@lru_cache(maxsize=16)
def _moment(date: str) -> datetime | None:
    """The instant that a header says; answers of one second say the same."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC)
    except (ValueError, OverflowError):
        return None


async def read_answer(response: httpx2.Response) -> Answer:
    """Read a streamed response up to the cap. A body that breaks off is an answer all the same: its status stands."""
    chunks: list[bytes] = []
    size = 0
    is_plain = "content-encoding" not in response.headers
    pieces = aiter(cast("httpx2.AsyncByteStream", response.stream)) if is_plain else response.aiter_bytes()
    try:
        async for chunk in pieces:
            size += len(chunk)
            if size > MAX_BODY:
                return Answer(response.status_code, response.headers, None)
            chunks.append(chunk)
    except (httpx2.TransportError, httpx2.DecodingError):
        return Answer(response.status_code, response.headers, None, broke_off=True)
    return Answer(response.status_code, response.headers, b"".join(chunks))


def read_json(body: bytes | None) -> Any:
    """What a vendor sends, read strictly. Lone surrogates become visible escapes. Raises ValueError."""
    if body is None:
        raise ValueError("the body is incomplete or too large")
    value = strict_json.read_json(body)
    return all_escaped(value) if re.search(rb"\\u[dD][89a-fA-F]", body) else value


VENDOR_CODES = {
    "call_not_attached": "call_not_attached",
    "session_busy": "session_busy",
    "session_closed": "session_closed",
    "2320004": "name_conflict",
}
"""Vendor error codes that say more than the status does, and our word for each. A code that is not listed is not shown:
it is text from outside."""

MESSAGES: dict[str, str] = {
    "call_not_attached": "The call is not attached to this issue. Attach it first.",
    "session_busy": "A run is in flight in this session. Wait until the issue is no longer processing.",
    "session_closed": "The session has ended. Create another one.",
    "name_conflict": "An attachment of this name exists already. Choose another name.",
}

COMPARE = "Compare it with the tool's schema"

BY_STATUS: dict[int, tuple[type[CallError], str]] = {
    400: (Rejected, "The API refused the input. Compare each argument with the tool's schema."),
    401: (
        Unauthenticated,
        "The API does not accept the configured credentials. Ask the operator to run: calltriage doctor",
    ),
    403: (Forbidden, "The configured credentials may not do this. Ask the operator to check scopes and access."),
    404: (NotFound, "The id names nothing in this organisation. Look the id up first."),
    407: (Blocked, "The proxy wants credentials. Ask the operator to put them into CALLTRIAGE_PROXY."),
    409: (Conflict, "Something stands against it: the API answered conflict. Read the present state first."),
    413: (Rejected, "The input is too large for the API."),
    415: (Rejected, "The API refused the input's media type."),
    422: (Rejected, "The API refused the input. Compare each argument with the tool's schema."),
    429: (RateLimited, "The API asks to slow down. Nothing was carried out; wait, then call again."),
}


def failure(answer: Answer, operation: type[Operation[object]] | None = None) -> CallError:
    """The error that an answer outside the operation's success codes stands for. `operation` is None where something else
    was asked for, such as a token.

    Only the status, a listed code and the names of arguments are taken from the answer; its texts are not shown.
    """
    is_write = operation is not None and operation.effect is not Effect.READ
    stored = _storage_failure(answer, is_write=is_write) if answer.status == 503 else None
    if stored is not None:
        return stored
    code, said, names = error_facts(answer)
    known = VENDOR_CODES.get(code or "") if answer.status == 409 else None
    kind, message = _of_status(answer.status)
    outcome: Outcome | None = None
    if is_write:
        outcome = "not_committed" if 400 <= answer.status < 500 else "unknown"
    if outcome == "unknown":
        message = (
            "The API failed. It may or may not have been carried out: read the present state before calling again."
        )
    field, advice = None, None
    if operation is not None and answer.status == 404:
        field, advice = _missing(operation, said)
    if operation is not None and advice is None:
        at_fault = ["name"] if known == "name_conflict" else names
        field = next((name for name in at_fault if name in operation.model_fields), None)
    if field is not None and kind is Rejected:
        advice = f"The API refused {field}. {'It ' + A_CURSOR if field == 'cursor' else COMPARE}."
    return kind(
        MESSAGES.get(known or "", advice or message),
        code=known,
        status=answer.status,
        field=field,
        retry_after_s=retry_after_seconds(answer.headers.get("retry-after")) or _retry_after_field(answer),
        outcome=outcome,
        request_id=_request_id(answer),
    )


def _storage_failure(answer: Answer, *, is_write: bool) -> CallError | None:
    """The error for the headers by which the desk says that its storage did nothing."""
    outcome: Outcome | None = "not_committed" if is_write else None
    headers = dict(answer.headers).items()
    if STORAGE_FAILED.items() <= headers:
        return StorageUnavailable(
            "The desk's storage cannot be used. Ask the operator to run: calltriage doctor", status=503, outcome=outcome
        )
    if STORAGE_BUSY.items() <= headers:
        return ServerFailure(
            "Another process keeps the desk's database busy. Nothing was carried out; wait, then call again.",
            code="storage_busy",
            status=503,
            retry_after_s=1.0,
            outcome=outcome,
        )
    return None


def _of_status(status: int) -> tuple[type[CallError], str]:
    """Kind of error of a status, and what to do about it."""
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status >= 500:
        return ServerFailure, "The API failed. Wait, then call again."
    if status >= 400:
        return Rejected, "The API refused the request."
    return (
        UnreadableAnswer, "The API answered in a way its contract does not know (a redirect is never followed)."
    )  # fmt: skip


def _missing(operation: type[Operation[object]], said: str) -> tuple[str | None, str | None]:
    """The argument that names nothing by the contract's own words, and what to do about it. The argument is None where
    several may be meant, both are where none is."""
    meant = operation.missing_fields(said)
    if not meant:
        return None, None
    name, advice = next(iter(meant.items()))
    if len(meant) > 1 or name in operation.list_fields():
        advice = f"One of {' and '.join(meant)} names nothing. {advice}"
    return name if len(meant) == 1 else None, advice


def error_facts(answer: Answer) -> tuple[str | None, str, list[str]]:
    """Code, message and argument names of an error body in any shape seen (bland-triage section 2, talkdesk section 9)."""
    try:
        body = read_json(answer.body)
    except ValueError:
        return None, "", []
    if not is_object(body):
        return None, "", []
    entries = body.get("errors")
    first: Any = entries[0] if is_array(entries) and entries else body
    if not is_object(first):
        return None, "", []
    code = first.get("error", first.get("code"))
    listed = first.get("fields")
    names = [
        str(item.get("name", "")).split(".")[0] for item in (listed if is_array(listed) else []) if is_object(item)
    ]
    # Bland names the refused paths at the start of each part of the message: "severity: must be one of …".
    message = str(first.get("message", ""))[:2000]
    names += re.findall(r"(?:^|; )([a-z_]{1,64})(?=[:.])", message)
    return (code if isinstance(code, str) else None), message, names


def _retry_after_field(answer: Answer) -> float | None:
    """Seconds in Talkdesk's other form: an entry of `fields` named retry-after that holds digits (section 10)."""
    if answer.status != 429:
        return None
    found = re.search(rb'"retry-after"[^}]{0,40}?"(\d{1,12})"', answer.body or b"")
    return retry_after_seconds(found[1].decode()) if found else None


def _request_id(answer: Answer) -> str | None:
    value = answer.headers.get("x-request-id", "")
    return value if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) else None
