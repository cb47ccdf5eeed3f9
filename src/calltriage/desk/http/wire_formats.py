"""How the desk answers and reads on the wire: JSON with each contract's error body, XML where bytes go."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from calltriage.desk.bytes.blobs import BlobStoreError
from calltriage.desk.database.transaction import ContractError
from calltriage.errors import StoreBusyError, StoreError
from calltriage.operations.base import STORAGE_BUSY, STORAGE_FAILED
from calltriage.operations.contracts import CONTRACTS, Api, general_code

E = TypeVar("E", bound=Exception)

logger = logging.getLogger(__name__)

OF_TRIAGE = ("/v1/", "/v2/", "/webhooks/")
"""Beginnings of paths that answer as the triage contract does. All others answer as the attachments contract does."""
NO_ROUTE = {
    404: ("not_found", "Not found: the desk has no such route. GET /openapi.json lists what it has."),
    405: ("method_not_allowed", "Method not allowed: the route does not take it. GET /openapi.json lists what it has."),
    501: (
        "not_implemented",
        "Not implemented: the desk keeps calls, conversations and triage issues; it makes no calls and has none of the "
        "vendor's other services. GET /openapi.json lists what it has.",
    ),
}
"""Code and message if the router finds no route. 501: the triage vendor may have this route, and the desk does not."""


class ByteError(Exception):
    """An error answer of a signed URL, in the XML of object stores (talkdesk-attachments, section 9)."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


def storage_failure(headers: dict[str, str] = STORAGE_FAILED) -> ByteError:
    return ByteError(503, "SlowDown", "The desk's storage cannot be used", headers)


def json_reply(status: int, body: object, media_type: str = "application/json") -> Response:
    try:
        content = to_json(body)
    except PydanticSerializationError:  # a lone surrogate in a transcript: JSON can say it as an escape
        content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, status, media_type=media_type)


def check_length(request: Request, cap: int) -> None:
    """Raise ContractError 413 for a body that announces more than `cap` bytes, before any of it is read."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:20]) > cap:
        raise ContractError(413, "payload_too_large", "The request body is too large")


async def read_body(request: Request, cap: int) -> bytes:
    """The body. Raises ContractError 413 for more than `cap` bytes."""
    check_length(request, cap)
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > cap:
            raise ContractError(413, "payload_too_large", "The request body is too large")
        chunks.append(chunk)
    return b"".join(chunks)


def _api_of(request: Request) -> Api:
    return Api.TRIAGE if request.url.path.startswith(OF_TRIAGE) else Api.ATTACHMENTS


def _handled(kind: type[E], render: Callable[[Request, E], Awaitable[Response]]) -> tuple[type[E], ExceptionHandler]:
    """The entry of ERROR_HANDLERS for one kind of error. Starlette passes the handler no other kind."""

    async def handler(request: Request, error: Exception) -> Response:
        if not isinstance(error, kind):
            raise error
        return await render(request, error)

    return kind, handler


async def _render_byte_error(_: Request, refused: ByteError) -> Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{refused.code}</Code><Message>{refused.message}</Message>"
        f"<RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
    )
    return Response(text, refused.status, refused.headers, media_type="application/xml")


async def _render_error(request: Request, refused: ContractError) -> Response:
    contract = CONTRACTS[_api_of(request)]
    status = refused.status
    response = json_reply(status, contract.error_body(status, refused.code, refused.message, refused.fields))
    if status in contract.closes_on:
        response.headers["connection"] = "close"
    if status == 401 and contract.challenge is not None:
        response.headers["www-authenticate"] = contract.challenge
    return response


async def _render_http_error(request: Request, error: HTTPException) -> Response:
    """The answer if the router refuses: an unknown route, or a method that a route does not have."""
    status = error.status_code
    path = request.url.path
    if status in {404, 405} and path.startswith(("/v1/", "/v2/")) and not path.startswith("/v1/triage/"):
        status = 501
    code, message = NO_ROUTE.get(status, ("bad_request", "Bad request"))
    if _api_of(request) is Api.TRIAGE:
        response = await _render_error(request, ContractError(status, code, message))
    else:  # not one of the service's own errors, so not one of its codes (talkdesk-attachments, section 9)
        response = json_reply(status, {"code": general_code(status), "message": message})
    response.headers.update(error.headers or {})
    return response


async def _render_store_failure(request: Request, error: Exception) -> Response:
    said = error if isinstance(error, StoreError | BlobStoreError) else type(error).__name__
    logger.error("the store failed: %s", said)
    headers = STORAGE_BUSY if isinstance(error, StoreBusyError) else STORAGE_FAILED
    if request.url.path.startswith("/blobs/"):
        return await _render_byte_error(request, storage_failure(headers))
    refusal = ContractError(503, headers["x-calltriage-error"], "The desk's storage cannot be used")
    response = await _render_error(request, refusal)
    response.headers.update(headers)
    return response


async def _say_nothing(_: Request, __: Exception) -> Response:
    """The answer to a client that left during its request. Nobody reads it, and there is nothing to log."""
    return Response(status_code=400)


async def _render_crash(request: Request, error: Exception) -> Response:
    """The answer after an unexpected error. The traceback is logged here, as nobody sees what Starlette raises after
    this."""
    logger.error("the desk crashed", exc_info=error)
    return await _render_error(request, ContractError(500, "internal_error", "Internal server error"))


ERROR_HANDLERS: dict[Any, ExceptionHandler] = dict(
    [
        _handled(ContractError, _render_error),
        _handled(ByteError, _render_byte_error),
        _handled(HTTPException, _render_http_error),
        _handled(StoreError, _render_store_failure),
        _handled(BlobStoreError, _render_store_failure),
        _handled(SQLAlchemyError, _render_store_failure),
        _handled(ClientDisconnect, _say_nothing),
        _handled(Exception, _render_crash),
    ]
)
