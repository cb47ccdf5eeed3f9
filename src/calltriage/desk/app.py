"""The desk as an ASGI app: its routes come from the catalogue, one handler per operation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calltriage.desk.bytes.blobs import BlobFolder, Blobs
from calltriage.desk.database.store import Store
from calltriage.desk.database.transaction import (
    ContractError,
    Handler,
    Principal,
    Reply,
    Transaction,
    bad_request,
    not_found,
)
from calltriage.desk.handlers import (
    activity,
    attachments,
    call_search,
    calls,
    categories,
    flags,
    issues,
    members,
    norm,
    relations,
    resource_links,
)
from calltriage.desk.handlers.beside_contract import NEIGHBOURS, recording
from calltriage.desk.http.access import Access
from calltriage.desk.http.signed_urls import MAX_OBJECT, Files
from calltriage.desk.http.tokens import FormReader, issue_token
from calltriage.desk.http.wire_formats import ERROR_HANDLERS, json_reply, read_body
from calltriage.desk.operating.tenants import Tenants
from calltriage.leaves.callers import tell_caller
from calltriage.leaves.instants import utc_now
from calltriage.leaves.strict_json import JsonObject, is_object, read_json
from calltriage.operations import CATALOGUE
from calltriage.operations.attachments import CreateAttachment, GetAttachment
from calltriage.operations.base import Effect, Operation
from calltriage.operations.calls import GetCall, GetCallRecording
from calltriage.operations.contracts import Contract
from calltriage.operations.fields import FORM, LONGEST_NAME, alternatives, missing, named_kind
from calltriage.operations.issues import GetIssue

if TYPE_CHECKING:
    from calltriage.desk.importing.over_http import Arriving

PARTS = (issues, resource_links, flags, relations, activity, categories, norm, calls, call_search, members, attachments)


def handlers_of(operations: Iterable[type[Operation[object]]]) -> dict[type[Operation[object]], Handler]:
    """The handler of each operation, as the modules of `handlers` list them. Raises TypeError for one that none lists."""
    listed = dict(chain.from_iterable(part.HANDLERS for part in PARTS))
    lacking = [operation.__name__ for operation in operations if operation not in listed]
    if lacking:
        raise TypeError(f"No module of calltriage.desk.handlers lists a handler of: {', '.join(lacking)}.")
    return listed


HANDLERS = handlers_of(set(CATALOGUE) - {CreateAttachment})  # Files.create handles it: its bytes are published first

BRIEF = frozenset[type[Operation[Any]]]({GetIssue, GetCall, GetAttachment})
"""Reads of one record by its id."""


@lru_cache(maxsize=2)
def _date(moment: datetime) -> bytes:
    """The `Date` header of a moment; answers of one second say the same."""
    return format_datetime(moment, usegmt=True).encode()


@dataclass
class Desk:
    """Both contracts on one data folder. Call it as an ASGI app; `close` it at the end.

    Attributes:
        folder: database and file bytes; made at the first request, for its owner alone.
        key: API key of the desk's own user, besides those of `tenants`.
        public_url: where clients reach the desk; its links begin with it.
        clock: the current time; tests replace it.
        blobs: where file bytes are kept; None for a folder below `folder`.
        limit: bytes of the largest file.
        database_url: the PostgreSQL database to use instead of a file in the folder.
    """

    folder: Path
    key: SecretStr
    public_url: str
    clock: Callable[[], datetime] = utc_now
    blobs: Blobs | None = None
    limit: int = MAX_OBJECT
    database_url: SecretStr | None = None
    store: Store = field(init=False)
    access: Access = field(init=False)
    tenants: Tenants = field(init=False)
    files: Files = field(init=False)
    forms: FormReader = field(default_factory=FormReader, init=False)
    app: Starlette = field(init=False)
    _arriving: Arriving | None = None

    def __post_init__(self) -> None:
        self.store = Store(self.folder, self.database_url)
        self.access = Access(self.store, self.key)
        self.tenants = Tenants(self.store, self.clock)
        blobs = self.blobs or BlobFolder(self.folder / "blobs")
        self.files = Files(self.store, self.access, blobs, self.clock, self.limit)
        by_path: dict[str, dict[str, type[Operation[object]]]] = {}
        for operation in CATALOGUE:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        self.app = Starlette(
            routes=[
                Route("/v1/calls/import", self._import, methods=["POST"]),
                Route("/webhooks/bland/{organisation}", self._webhook, methods=["POST"]),
                Route(GetCallRecording.path, self._recording, methods=["GET"]),
                *(Route(path, self._neighbour(NEIGHBOURS[path]), methods=["GET"]) for path in NEIGHBOURS),
                *(Route(path, self._endpoint(found), methods=list(found)) for path, found in by_path.items()),
                Route("/openapi.json", self._describe, methods=["GET"]),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/blobs/{object_key}", self.files.serve, methods=["PUT", "GET", "POST", "PATCH", "DELETE"]),
            ],
            exception_handlers=ERROR_HANDLERS,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def dated(message: Any) -> None:
            if message["type"] == "http.response.start":  # by the desk's clock, like every other time in the answer
                date = _date(self.clock().replace(microsecond=0))
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            await send(message)

        await self.app(scope, receive, dated)

    async def close(self) -> None:
        await self.store.close()

    async def _describe(self, _: Request) -> Response:
        """The OpenAPI document. It holds no secret, so no key is needed."""
        from calltriage.desk.http.openapi import description  # noqa: PLC0415  builds a schema of everything

        return json_reply(200, description())

    def _endpoint(self, operations: dict[str, type[Operation[object]]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            operation = operations[request.method if request.method != "HEAD" else "GET"]
            who = await self._principal(request, operation)
            call = await self._read(request, operation, who)
            reply = await self._reply(operation, who, call)
            if reply.status == 204:
                return Response(status_code=204)
            body = {"data": reply.body, "errors": None} if operation.envelope else reply.body
            return json_reply(reply.status, body, operation.contract.media_type)

        return endpoint

    def _neighbour(
        self, answer: Callable[[Transaction, Mapping[str, str]], Reply]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            who = await self._key_holder(request)
            reply: Reply = await self._run(Effect.READ, who, lambda tx: answer(tx, request.path_params))
            return json_reply(reply.status, reply.body)

        return endpoint

    async def _principal(self, request: Request, operation: type[Operation[object]]) -> Principal:
        if operation.scope is None:
            return await self._key_holder(request)
        found = await self.access.by_token(request.headers.get("authorization"), self.clock())
        if found is None:
            raise ContractError(401, "AUTH_FAILURE", "Authorization failed")
        if operation.scope not in found[1]:
            raise ContractError(403, "forbidden", "Forbidden")
        return _told(request, found[0])

    async def _read(self, request: Request, operation: type[Operation[object]], who: Principal) -> Any:
        """The request as the operation's own model. Raises ContractError: 400 for a refused input, but 404 first for an
        unknown issue."""
        try:
            return _validated(operation, await self._values(request, operation), request.path_params)
        except ContractError:
            if "issue_id" in operation.path_fields():
                await self._run(operation.effect, who, lambda tx: tx.issue(request.path_params["issue_id"]))
            raise

    async def _values(self, request: Request, operation: type[Operation[object]]) -> JsonObject:
        if operation.method == "GET":
            query = request.query_params
            return {
                name: _several(query.getlist(name), info, operation.contract)
                if key in operation.list_fields()
                else query[name]
                for key, info in operation.model_fields.items()
                if (name := info.alias or key) in query
            }
        raw = await read_body(request, operation.contract.largest_body)
        try:
            values: Any = read_json(raw) if raw else {}
        except ValueError:
            raise bad_request(body="must be JSON") from None
        if not is_object(values):
            raise bad_request(body="must be a JSON object")
        if not operation.contract.refuses_unknown:
            return {name: value for name, value in values.items() if name in operation.model_fields}
        return values

    async def _reply(self, operation: type[Operation[object]], who: Principal, call: object) -> Reply:
        if isinstance(call, CreateAttachment):
            return await self.files.create(
                call, partial(self._run, Effect.READ, who), partial(self._run, operation.effect, who)
            )
        reply: Reply = await self._run(
            operation.effect, who, lambda tx: HANDLERS[operation](tx, call), is_brief=operation in BRIEF
        )
        await self.files.forget(reply)
        return reply

    async def _run(
        self, effect: Effect, who: Principal, work: Callable[[Transaction], Any], *, is_brief: bool = False
    ) -> Any:
        secret = await self.access.secret()

        def inside(connection: Connection) -> Any:
            now = self.clock()  # read inside: a write that waited must not be dated before the one it waited for
            return work(Transaction(connection, who, now, secret, self.public_url, self.files.blobs.provider))

        if effect is Effect.READ:
            return await self.store.read(inside, is_brief=is_brief)
        return await self.store.write(inside, lane=who.org_id)

    async def _key_holder(self, request: Request) -> Principal:
        """The caller whom a request's API key stands for. Raises ContractError 401."""
        who = await self.access.by_api_header(request.headers.get("authorization"), self.clock())
        if who is None:
            raise ContractError(401, "AUTH_FAILURE", "Unauthorized")
        return _told(request, who)

    async def _recording(self, request: Request) -> Response:
        who = await self._key_holder(request)
        return await self.files.give(
            request, await self._run(Effect.READ, who, lambda tx: recording(tx, request.path_params))
        )

    async def _import(self, request: Request) -> Response:
        who = await self._key_holder(request)
        return await self._arrivals().take_import(request, who.org_id)

    async def _webhook(self, request: Request) -> Response:
        return await self._arrivals().take_webhook(request)

    def _arrivals(self) -> Arriving:
        if self._arriving is None:
            from calltriage.desk.importing.over_http import Arriving  # noqa: PLC0415  the formats, which few requests need

            self._arriving = Arriving(self)
        return self._arriving

    async def _token(self, request: Request) -> Response:
        return await issue_token(request, self.forms, self.access, f"{self.public_url}/oauth/token", self.clock())

    async def is_ready(self) -> bool:
        """Whether the store and the place of file bytes can take a write now."""
        return await self.store.is_usable() and await self.files.is_usable()

    async def warm_up(self) -> None:
        """Open the store ahead of the first request."""
        await self.access.facts()


def _told(request: Request, who: Principal) -> Principal:
    """The caller. Tells the server whose request it is, for its limits per caller."""
    tell_caller(request.scope, f"{who.org_id} {who.user_id}")
    return who


def _several(values: list[str], filtered: FieldInfo, contract: Contract) -> list[str]:
    """Values of a filter: repeated, or joined by commas if the contract allows it. A value that may be one category's
    name with a comma in it stays whole; the handler decides."""
    if not contract.joins_filters:
        return values
    longest = LONGEST_NAME if named_kind(filtered) == "category" else 0
    return [part for value in values for part in (alternatives(value) if len(value) > longest else [value])]


def _validated(operation: type[Operation[object]], values: JsonObject, path: JsonObject) -> Any:
    """The operation that a request asks for. Raises ContractError: 404 for a malformed id in the path, else 400 that
    names every refused input."""
    in_body = operation.method != "GET"
    refused = dict[str, str]()
    if in_body:
        nulls = {name for name, value in values.items() if value is None and name in operation.model_fields}
        refused |= dict.fromkeys(sorted(nulls - operation.clearable_fields()), "must not be null")
        refused |= dict.fromkeys(sorted(path.keys() & values.keys()), "belongs in the path")
    try:
        call = operation.model_validate({**values, **path}, strict=in_body)
    except ValidationError as error:
        raise _malformed_id(error, operation) or bad_request(**_complaints(error) | refused) from None
    if refused:
        raise bad_request(**refused)
    return call


def _malformed_id(error: ValidationError, operation: type[Operation[object]]) -> ContractError | None:
    """The 404 for a malformed id in the path, as for an unknown one; None if there is none. If the contract refuses
    malformed ids, an id that is too long gives None: it is refused with 400."""
    path, refuses = operation.path_fields(), operation.contract.refuses_malformed_ids
    wrong = {str(item["loc"][0]) for item in error.errors() if not refuses or item["type"] == FORM}
    name = next((name for name in path if name in wrong), None)
    if name is None:
        return None
    return not_found(missing(operation.model_fields[name])[0])


NAMED = 20
"""Most unknown fields that a refusal names (our choice)."""
PLAIN = re.compile("[A-Za-z0-9_]{1,64}")


def _complaints(error: ValidationError) -> dict[str, str]:
    """The rule that each refused input breaks, by its path. Rejected values are not repeated; the name of an unknown
    field is, if it is plain."""
    found: dict[str, str] = {}
    unknown = 0
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) for part in item["loc"][:6] if isinstance(part, int) or PLAIN.fullmatch(part)]
        rule = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            unknown += 1
            rule = "is not a field of this request"
            if unknown > NAMED or len(parts) < len(item["loc"]):
                parts = [str(part) for part in item["loc"][:-1]]
                rule = "has a field that is none of this request"
        found[".".join(parts) or "body"] = rule
    return found


__all__ = ["Desk"]
