"""How the two vendors' contracts differ in what holds for all operations of one: media types, errors, limits,
authentication."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from calltriage.leaves.strict_json import JsonObject


class Api(StrEnum):
    """The vendor contract that an operation belongs to."""

    TRIAGE = "triage"
    """Bland AI's Triage API and its neighbouring routes."""
    ATTACHMENTS = "attachments"
    """Talkdesk's Attachments API."""


ErrorBody = Callable[[int, str, str, Mapping[str, str]], JsonObject]
"""Makes the body of a refusal from its status, its code, its message, and the refused inputs with the rule of each."""


@dataclass(frozen=True)
class Contract:
    """What holds for every operation of one vendor's API.

    Attributes:
        media_type: of a successful answer.
        error_body: makes the body of a refusal.
        largest_body: most bytes of a request's JSON body.
        refuses_unknown: a body's member that is no field is refused with 400; otherwise it is ignored.
        joins_filters: the values of a filter may also be joined by commas.
        refuses_malformed_ids: an id in the path that is too long is refused with 400; otherwise it answers 404, as any
            malformed id does.
        challenge: `WWW-Authenticate` of a 401, if there is one.
        closes_on: statuses after which the connection is closed, as the rest of the request's body is not read.
        security: ways to authenticate, as OpenAPI names them.
    """

    media_type: str
    error_body: ErrorBody
    largest_body: int
    refuses_unknown: bool
    joins_filters: bool
    refuses_malformed_ids: bool
    challenge: str | None
    closes_on: frozenset[int]
    security: tuple[str, ...]


def _triage_error(_status: int, code: str, message: str, _fields: Mapping[str, str]) -> JsonObject:
    """`{data, errors}` (bland-triage, section 2). The message names the refused inputs."""
    return {"data": None, "errors": [{"error": code, "message": message}]}


ATTACHMENTS_CODES = {400: "2320000", 401: "2320001", 403: "2320002", 404: "2320009", 409: "2320004"}
"""The service's own error codes by status (talkdesk-attachments, section 9)."""
ATTACHMENTS_MESSAGES = {400: "Bad request error"}


def general_code(status: int) -> str:
    """The code of a refusal that is not one of the attachment service's own errors."""
    return f"9232{status}"


def _attachments_error(status: int, _code: str, message: str, fields: Mapping[str, str]) -> JsonObject:
    """`{code, message, fields}`: the service's number for the status, and the refused inputs (talkdesk-attachments,
    section 9)."""
    body: JsonObject = {
        "code": ATTACHMENTS_CODES.get(status, general_code(status)),
        "message": ATTACHMENTS_MESSAGES.get(status, message),
    }
    named = [{"name": name, "description": rule} for name, rule in fields.items()]
    return {**body, "fields": named} if named else body


CONTRACTS = {
    Api.TRIAGE: Contract(
        media_type="application/json",
        error_body=_triage_error,
        largest_body=256 * 1024,  # our choice
        refuses_unknown=True,
        joins_filters=True,  # bland-triage, section 5
        refuses_malformed_ids=False,  # bland-triage, section 2
        challenge=None,
        closes_on=frozenset(),
        security=("key", "bearer_key"),
    ),
    Api.ATTACHMENTS: Contract(
        media_type="application/hal+json",
        error_body=_attachments_error,
        largest_body=64 * 1024,
        refuses_unknown=False,
        joins_filters=False,
        refuses_malformed_ids=True,  # talkdesk-attachments, section 9
        challenge="Bearer",
        closes_on=frozenset({408, 413}),
        security=("token",),
    ),
}
