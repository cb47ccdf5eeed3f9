"""The desk as an ASGI app: its routes come from the catalogue, one handler per operation."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr, ValidationError
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from calltriage.desk import activity, attachments, categories, evidence, flags, issues, norm, relations, resources
from calltriage.desk.access import Access
from calltriage.desk.blobs import BlobFolder, TooLargeError
from calltriage.desk.exchange import ContractError, Principal, Reply, Transaction, bad_request
from calltriage.desk.store import Store
from calltriage.desk.tables import reservations
from calltriage.errors import StoreError
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Api, Effect, Operation

logger = logging.getLogger(__name__)

MAX_JSON = {Api.TRIAGE: 256 * 1024, Api.ATTACHMENTS: 64 * 1024}
"""Bytes of a JSON body; the attachments limit is the contract's, the other ours."""
MAX_OBJECT = 100 * 2**20
"""Bytes of a stored file (talkdesk-attachments, section 10)."""

PARTS = (issues, resources, flags, relations, activity, categories, norm, evidence, attachments)
HANDLERS: dict[type[Operation[Any]], Callable[[Transaction, Any], Reply]] = {
    operation: next(getattr(part, name) for part in PARTS if hasattr(part, name := operation.tool_name()))
    for operation in CATALOGUE
}
"""One handler per operation, found under the operation's own name."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Desk:
    """Both contracts on one data folder. Call it as an ASGI app; `close` it at the end.

    Attributes:
        folder: database and file bytes; made at the first request, for its owner alone.
        key: API key of the first organisation.
        public_url: where clients reach the desk; its links begin with it.
        clock: now, replaced in tests.
    """

    folder: Path
    key: SecretStr
    public_url: str
    clock: Callable[[], datetime] = _utc_now
    store: Store = field(init=False)
    access: Access = field(init=False)
    blobs: BlobFolder = field(init=False)
    app: Starlette = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.access = Access(self.store, self.key)
        self.blobs = BlobFolder(self.folder / "blobs")
        by_path: dict[str, dict[str, type[Operation[Any]]]] = {}
        for operation in CATALOGUE:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        self.app = Starlette(
            routes=[
                *(Route(path, self._endpoint(found), methods=list(found)) for path, found in by_path.items()),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/blobs/{object_key}", self._put_bytes, methods=["PUT", "GET", "POST", "PATCH", "DELETE"]),
            ],
            exception_handlers={
                ContractError: _render_error,
                HTTPException: _render_http_error,
                StoreError: _render_store_failure,
                SQLAlchemyError: _render_store_failure,
                Exception: _render_crash,
            },
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    async def close(self) -> None:
        await self.store.close()

    def _endpoint(self, operations: dict[str, type[Operation[Any]]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            operation = operations[request.method if request.method != "HEAD" else "GET"]
            who = await self._principal(request, operation)
            call = await self._read(request, operation, who)
            reply = await self._run(operation, who, lambda tx: HANDLERS[operation](tx, call))
            if reply.status == 204:
                return Response(status_code=204)
            body = {"data": reply.body, "errors": None} if operation.envelope else reply.body
            hal = operation.api is Api.ATTACHMENTS
            return _json(reply.status, body, "application/hal+json" if hal else "application/json")

        return endpoint

    async def _principal(self, request: Request, operation: type[Operation[Any]]) -> Principal:
        header = request.headers.get("authorization")
        if operation.api is Api.TRIAGE:
            who = await self.access.by_api_header(header)
            if who is None:
                raise ContractError(401, "AUTH_FAILURE", "Unauthorized")
            return who
        found = await self.access.by_token(header, self.clock())
        if found is None:
            raise ContractError(401, "AUTH_FAILURE", "Authorization failed")
        if operation.scope not in found[1]:
            raise ContractError(403, "forbidden", "Forbidden")
        return found[0]

    async def _read(self, request: Request, operation: type[Operation[Any]], who: Principal) -> Any:
        """The request as the operation's own model. A refused input is 400, but an unknown issue is 404 first."""
        try:
            values = await self._values(request, operation)
            return operation.model_validate({**values, **request.path_params}, strict=operation.method != "GET")
        except (ContractError, ValidationError) as error:
            if "issue_id" in operation.path_fields():
                await self._run(operation, who, lambda tx: tx.issue(request.path_params["issue_id"]))
            if isinstance(error, ContractError):
                raise
            raise _malformed_id(error, operation) or _refused(error, operation) from None

    async def _values(self, request: Request, operation: type[Operation[Any]]) -> dict[str, Any]:
        if operation.method == "GET":
            query = request.query_params
            names = {
                info.alias or name: name in operation.list_fields() for name, info in operation.model_fields.items()
            }
            return {name: query.getlist(name) if many else query[name] for name, many in names.items() if name in query}
        raw = await _body(request, MAX_JSON[operation.api])
        try:
            values: Any = json.loads(raw, parse_constant=_refuse_constant) if raw else {}
        except (ValueError, RecursionError):
            raise bad_request(body="must be JSON") from None
        if not isinstance(values, dict):
            raise bad_request(body="must be a JSON object")
        members = cast("dict[str, Any]", values)
        path = set(operation.path_fields())
        clearable = operation.clearable_fields()
        nulls = [name for name in operation.model_fields if name in members and members[name] is None]
        if refused := [name for name in nulls if name not in clearable]:
            raise bad_request(**dict.fromkeys(refused, "must not be null"))
        if operation.api is Api.ATTACHMENTS:  # unknown members are ignored there, refused by triage
            return {name: value for name, value in members.items() if name in operation.model_fields}
        if twice := path & set(members):
            raise bad_request(**dict.fromkeys(sorted(twice), "belongs in the path"))
        return members

    async def _run(self, operation: type[Operation[Any]], who: Principal, work: Callable[[Transaction], Any]) -> Any:
        secret, now = await self.access.secret(), self.clock()

        def inside(connection: Connection) -> Any:
            return work(Transaction(connection, who, now, secret, self.public_url))

        return await (self.store.read if operation.effect is Effect.READ else self.store.write)(inside)

    async def _token(self, request: Request) -> Response:
        """OAuth 2.0 client credentials with Basic authentication (talkdesk-attachments, section 3)."""
        await _body(request, MAX_JSON[Api.ATTACHMENTS])
        form = await request.form()
        if form.get("grant_type") != "client_credentials":
            return _json(400, {"error": "invalid_request", "error_description": "Missing grant type"})
        if "authorization" in request.headers and "client_assertion" in form:
            return _json(400, {"error": "invalid_request", "error_description": "More than one client authentication"})
        scope = form.get("scope")
        token = await self.access.issue_token(
            request.headers.get("authorization"), scope if isinstance(scope, str) else None, self.clock()
        )
        if token is None:
            return _json(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        return _json(200, token)

    async def _put_bytes(self, request: Request) -> Response:
        """Step two of an upload: the raw bytes of one reservation. Errors are XML, as an object store's are."""
        key = request.path_params["object_key"]
        refusal = await self._refuse_put(request, key)
        if refusal is not None:
            return refusal
        length = int(request.headers["content-length"])
        try:
            blob = await self.blobs.put(_stream(request), min(length, MAX_OBJECT))
        except (TooLargeError, ClientDisconnect):
            return _xml(400, "IncompleteBody", "The body does not have the announced length")
        except OSError:
            logger.exception("the blob folder failed")
            return _xml(503, "SlowDown", "The desk's storage cannot be used")
        if blob.size != length:
            return _xml(400, "IncompleteBody", "The body does not have the announced length")
        announced = request.headers.get("content-md5")
        if announced is not None and announced != base64.b64encode(bytes.fromhex(blob.md5)).decode():
            return _xml(400, "BadDigest", "The body does not have the announced digest")
        media_type = request.headers.get("content-type") or "application/octet-stream"

        def settle(connection: Connection) -> int:
            open_one = (reservations.c.object_key == key) & reservations.c.consumed_by.is_(None)
            change = update(reservations).where(open_one)
            return connection.execute(change.values(size=blob.size, sha256=blob.sha256, type=media_type)).rowcount

        if await self.store.write(settle) != 1:
            return _xml(403, "AccessDenied", "The reservation was claimed already")
        return Response(status_code=200, headers={"etag": f'"{blob.md5}"'})

    async def _refuse_put(self, request: Request, key: str) -> Response | None:
        expires, signature = request.query_params.get("expires", ""), request.query_params.get("signature", "")
        if "authorization" in request.headers:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        good = expires.isascii() and expires.isdigit() and len(expires) < 16
        wanted = attachments.sign(await self.access.secret(), "PUT", key, int(expires) if good else 0)
        if request.method != "PUT" or not good or not hmac.compare_digest(signature.encode(), wanted.encode()):
            return _xml(403, "SignatureDoesNotMatch", "The signature does not match")
        if int(expires) <= self.clock().timestamp():
            return _xml(403, "AccessDenied", "Request has expired")
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return _xml(411, "MissingContentLength", "Content-Length is needed")
        if len(length) > 15 or int(length) > MAX_OBJECT:
            return _xml(400, "EntityTooLarge", "The object is too large")
        query = select(reservations.c.consumed_by).where(reservations.c.object_key == key)
        row = await self.store.read(lambda connection: connection.execute(query).one_or_none())
        if row is None or row.consumed_by is not None:
            return _xml(403, "AccessDenied", "The reservation was claimed already")
        return None

    async def warm_up(self) -> None:
        """Open the store ahead of the first request."""
        await self.access.facts()


async def _body(request: Request, cap: int) -> bytes:
    """The body within the cap; it is kept on the request, so that a form can be parsed from it afterwards."""
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > cap:
            raise ContractError(413, "payload_too_large", "The request body is too large")
        chunks.append(chunk)
    request._body = b"".join(chunks)  # pyright: ignore[reportPrivateUsage]  what request.body() itself does
    return request._body  # pyright: ignore[reportPrivateUsage]


async def _stream(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


def _refuse_constant(_: str) -> Any:
    raise ValueError("not a JSON number")


def _malformed_id(error: ValidationError, operation: type[Operation[Any]]) -> ContractError | None:
    """A path id of a form that no id has names nothing: 404, like an unknown one (bland-triage, section 2)."""
    wrong = {str(item["loc"][0]) for item in error.errors() if item["type"] == "string_pattern_mismatch"}
    unknown = {"call_id": evidence.no_call, "attachment_id": attachments.no_attachment}
    return next((unknown[name]() for name in operation.path_fields() if name in wrong & set(unknown)), None)


def _refused(error: ValidationError, operation: type[Operation[Any]]) -> ContractError:
    """400 naming each refused path and its rule; rejected values are never echoed."""
    fields: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"][:6] if str(part).isidentifier() or isinstance(part, int))
        top = path.partition(".")[0]
        known = top in operation.model_fields
        fields[path if known else "body"] = (
            item["msg"].removeprefix("Value error, ") if known else "has a field that is not known"
        )
    return bad_request(**fields)


def _json(status: int, body: Any, media_type: str = "application/json") -> Response:
    try:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate in a transcript: JSON can say it as an escape
        content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, status, media_type=media_type)


def _xml(status: int, code: str, message: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(text, status, media_type="application/xml")


TALKDESK_CODES = {400: "2320000", 401: "2320001", 403: "2320002", 404: "2320009", 409: "2320004"}
TALKDESK_MESSAGES = {400: "Bad request error"}


async def _render_error(request: Request, error: Exception) -> Response:
    refused = cast("ContractError", error)
    if request.url.path.startswith("/v1/"):
        return _json(refused.status, {"data": None, "errors": [{"error": refused.code, "message": refused.message}]})
    body: dict[str, Any] = {
        "code": TALKDESK_CODES.get(refused.status, f"9232{refused.status}"),
        "message": TALKDESK_MESSAGES.get(refused.status, refused.message),
    }
    if refused.fields:
        body["fields"] = [{"name": name, "description": rule} for name, rule in refused.fields.items()]
    response = _json(refused.status, body)
    if refused.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


async def _render_http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown route, a method that a route does not have."""
    status = cast("HTTPException", error).status_code
    code, message = {404: ("not_found", "Not found"), 405: ("method_not_allowed", "Method not allowed")}.get(
        status, ("bad_request", "Bad request")
    )
    if request.url.path.startswith("/v1/"):
        response = await _render_error(request, ContractError(status, code, message))
    else:  # not one of the service's own errors, so not one of its codes (talkdesk-attachments, section 9)
        response = _json(status, {"code": f"9232{status}", "message": message})
    response.headers.update(cast("HTTPException", error).headers or {})
    return response


async def _render_store_failure(request: Request, error: Exception) -> Response:
    logger.error("the store failed: %s", error if isinstance(error, StoreError) else type(error).__name__)
    if request.url.path.startswith("/blobs/"):
        return _xml(503, "SlowDown", "The desk's storage cannot be used")
    return await _render_error(request, ContractError(503, "storage_unavailable", "The desk's storage cannot be used"))


async def _render_crash(request: Request, error: Exception) -> Response:
    """The log has the traceback, since nobody hears what Starlette raises after this; the body says that it failed."""
    logger.error("the desk crashed", exc_info=error)
    return await _render_error(request, ContractError(500, "internal_error", "Internal server error"))


__all__ = ["Desk"]
