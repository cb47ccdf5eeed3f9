"""Calls that arrive over HTTP: an import by a key's holder, and the triage vendor's post-call webhook."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from calltriage.desk.database.transaction import ContractError, bad_request
from calltriage.desk.http.wire_formats import json_reply
from calltriage.desk.importing.checking import checked
from calltriage.desk.importing.formats import NAMES
from calltriage.desk.importing.loading import load_import
from calltriage.desk.importing.sources import GZIP, Borrowed, Source
from calltriage.errors import ImportFileError
from calltriage.leaves.seals import is_signature, may_be_signature
from calltriage.leaves.webhooks import MAX_WEBHOOK, SIGNATURE_HEADER
from calltriage.operations.calls import A_ZONE

if TYPE_CHECKING:
    from calltriage.desk.app import Desk

MAX_IMPORT = 64 * 2**20
"""Most bytes of an import's body, unpacked."""
AT_ONCE = 4
"""Bodies that are read and loaded at once. Further ones wait for their turn."""


@dataclass
class Arriving:
    """Takes in calls that arrive over HTTP."""

    desk: Desk
    _turns: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(AT_ONCE))

    async def take_import(self, request: Request, org_id: str) -> Response:
        """`POST /v1/calls/import`: any format that `calltriage desk import` reads, for one organisation. Raises
        ContractError."""
        query = request.query_params
        if unknown := sorted(query.keys() - {"format", "time_zone", "skip_bad"}):
            raise bad_request(**dict.fromkeys(unknown, "is not a parameter of this request"))
        if query.get("format") not in (None, *NAMES):
            raise bad_request(format=f"must be one of {', '.join(NAMES)}")
        if query.get("skip_bad") not in (None, "true", "false"):
            raise bad_request(skip_bad="must be true or false")
        how = {"format_name": query.get("format"), "zone": _zone(query.get("time_zone"))}
        async with self._turns, _body(request, MAX_IMPORT) as file:
            skip_bad = query.get("skip_bad") == "true"
            return await self._load(file, org_id, skip_bad=skip_bad, leave_out="skip_bad=true in the query", **how)

    async def take_webhook(self, request: Request) -> Response:
        """`POST /webhooks/bland/{organisation}`: a call as the vendor sends it after its end, with SIGNATURE_HEADER.
        Raises ContractError."""
        org_id, signature = request.path_params["organisation"], request.headers.get(SIGNATURE_HEADER, "")
        secrets = await self.desk.access.webhook_secrets(org_id, self.desk.clock())
        if not secrets or not may_be_signature(signature):
            raise _unsigned()
        async with self._turns, _body(request, MAX_WEBHOOK) as file:
            body = file.read()
            if not any(is_signature(signature, secret.encode(), body) for secret in secrets):
                raise _unsigned()
            return await self._load(file, org_id, format_name="bland")

    async def _load(
        self, file: IO[bytes], org_id: str, *, skip_bad: bool = False, leave_out: str | None = None, **how: Any
    ) -> Response:
        def again() -> BinaryIO:
            file.seek(0)
            return cast("BinaryIO", Borrowed(file))

        check = checked([Source("", again, changed=self.desk.clock(), title="the body")], limit=self.desk.limit, **how)
        found = await anyio.to_thread.run_sync(check.__enter__)
        try:
            if not skip_bad:
                found.refuse_bad(leave_out)
            done = await load_import(self.desk, found.entries, org_id=org_id)
        except ImportFileError as error:
            raise ContractError(400, "bad_request", str(error)) from None
        finally:
            check.__exit__(None, None, None)
        counts = {"added": done.added, "changed": done.changed, "unchanged": done.unchanged, "skipped": found.bad}
        data = {**counts, "complaints": found.complaints, "notes": found.notes}
        return json_reply(200, {"data": data, "errors": None})


def _unsigned() -> ContractError:
    """The refusal of a webhook: the same for an unknown organisation, one without a secret, and a wrong signature."""
    return ContractError(
        401, "AUTH_FAILURE", "Unauthorized: the signature is not one of this organisation's webhook key"
    )


def _zone(name: str | None) -> Any:
    try:
        return UTC if name is None else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise bad_request(time_zone=A_ZONE) from None


@asynccontextmanager
async def _body(request: Request, most: int) -> AsyncGenerator[IO[bytes]]:
    """The body in a temporary file, unpacked if it is gzip. Raises ContractError: 413 for more than `most` bytes, 400 if
    it is empty or broken."""
    with tempfile.SpooledTemporaryFile(2**20) as file:
        unpacking: Any = None
        async for chunk in request.stream():
            if file.tell() == 0 and unpacking is None and chunk.startswith(GZIP):
                unpacking = zlib.decompressobj(wbits=31)
            try:
                room = most + 1 - file.tell()
                file.write(chunk if unpacking is None else unpacking.decompress(chunk, room))
            except zlib.error:
                raise ContractError(400, "bad_request", "The body is packed with gzip, and broken") from None
            if file.tell() > most:
                raise ContractError(413, "payload_too_large", f"The body has more than {most // 2**20} MiB")
        if unpacking is not None and not unpacking.eof:
            raise ContractError(400, "bad_request", "The body is packed with gzip, and broken")
        if file.tell() == 0:
            raise ContractError(400, "bad_request", "The body is empty")
        file.seek(0)
        yield cast("IO[bytes]", file)
