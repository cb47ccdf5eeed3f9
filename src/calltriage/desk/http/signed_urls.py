"""Signed URLs, by which a reservation's bytes are uploaded and an attachment's downloaded, and the removal of bytes that
no record needs (talkdesk-attachments, sections 4, 7, 8 and 12)."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import anyio
from sqlalchemy import Connection, delete, select, update
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from calltriage.desk.bytes.blobs import Blobs, BlobStoreError, Received, TooLargeError
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import attachments as published
from calltriage.desk.database.tables import reservations
from calltriage.desk.database.transaction import AnyRow, ContractError, Reply, Transaction
from calltriage.desk.handlers import attachments
from calltriage.desk.http.access import Access
from calltriage.desk.http.wire_formats import ByteError
from calltriage.errors import StoreError
from calltriage.leaves.seals import is_signature
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.attachments import CreateAttachment

logger = logging.getLogger(__name__)

MAX_OBJECT = 100 * 2**20
"""Most bytes of a file, unless set otherwise (talkdesk-attachments, section 10)."""
MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
LOOSE_AFTER = 3600.0
"""Seconds for which bytes without a row are kept: their row may be about to be written."""
SWEPT_AT_ONCE = 500
"""Names of bytes that one query looks up."""
PATIENCE = 40.0
"""Seconds for the place of the bytes to answer a check."""
SWEEP_EVERY = 3600.0
"""Seconds between two sweeps."""

Run = Callable[[Callable[[Transaction], Any]], Awaitable[Any]]
"""Runs work in a transaction of the caller's."""


@dataclass
class Files:
    """Bytes of one desk. `clock` is the desk's time; `limit` the size of the largest file in bytes."""

    store: Store
    access: Access
    blobs: Blobs
    clock: Callable[[], datetime]
    limit: int

    async def serve(self, request: Request) -> Response:
        """Answer a request to a signed URL. The signature covers the method, so a link works for one method."""
        key = await self._signed_key(request)
        return await (self._take(request, key) if request.method == "PUT" else self._give(request, key))

    async def _signed_key(self, request: Request) -> str:
        key, query = request.path_params["object_key"], request.query_params
        expires, given = query.get("expires", ""), query.get("signature", "")
        if "authorization" in request.headers:
            raise ByteError(400, "InvalidArgument", "Only one auth mechanism allowed")
        good = expires.isascii() and expires.isdigit() and len(expires) < 16
        signed = attachments.signed_text(request.method, key, int(expires) if good else 0)
        if not is_signature(given, await self.access.secret(), signed) or not good:
            raise ByteError(403, "SignatureDoesNotMatch", "The signature does not match")
        if int(expires) <= self.clock().timestamp():
            raise ByteError(403, "AccessDenied", "Request has expired")
        return key

    async def _take(self, request: Request, key: str) -> Response:
        """Receive the bytes of a reservation: step two of an upload. A repeat before the attachment is made replaces
        them."""
        length, media_type = self._announced(request)
        query = select(reservations.c.org_id, reservations.c.consumed_by).where(reservations.c.object_key == key)
        row = await self.store.read(lambda connection: connection.execute(query).one_or_none())
        if row is None or row.consumed_by is not None:
            raise ByteError(403, "AccessDenied", "The reservation was claimed already")
        try:
            received = await self.receive(_pieces(request), length)
        except (TooLargeError, ClientDisconnect):
            raise _incomplete() from None
        try:
            if received.size != length:
                raise _incomplete()
            announced = request.headers.get("content-md5")
            if announced is not None and announced != base64.b64encode(bytes.fromhex(received.md5)).decode():
                raise ByteError(400, "BadDigest", "The body does not have the announced digest")
            facts = {"blob": received.name, "size": received.size, "type": media_type}
            before = await self._record(row.org_id, key, {**facts, "sha256": received.sha256, "md5": received.md5})
        except ByteError:  # after any other failure, a cancellation too, the row may have been written
            await self._drop(received.name)
            raise
        await self._drop(*before)
        return Response(status_code=200, headers={"etag": f'"{received.md5}"'})

    async def receive(self, content: AsyncIterator[bytes], limit: int) -> Received:
        """Keep a stream, as `Blobs.receive` does. Raises BlobStoreError if the place is gone although there are
        attachments: it is not made again."""
        await self._check_there()
        return await self.blobs.receive(content, limit)

    async def is_usable(self) -> bool:
        """Whether bytes can be received now, and the place of the attachments' bytes is still there."""
        try:
            await self._check_there()
            await self.blobs.check()
        except BlobStoreError:
            return False
        return True

    async def _check_there(self) -> None:
        """Raise BlobStoreError if the place of the bytes is missing although there are attachments."""
        if self.blobs.is_there():
            return
        if await self.store.read(lambda connection: connection.execute(select(published.c.id).limit(1)).first()):
            raise BlobStoreError(
                "their place is gone, and with it what attachments hold; put it back, or restore a backup"
            )

    def _announced(self, request: Request) -> tuple[int, str]:
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            raise ByteError(411, "MissingContentLength", "Content-Length is needed")
        if len(length) > 15 or int(length) > self.limit:
            raise ByteError(400, "EntityTooLarge", "The object is too large")
        media_type = request.headers.get("content-type") or "application/octet-stream"
        if not MEDIA_TYPE.fullmatch(media_type):
            raise ByteError(400, "InvalidArgument", "The Content-Type cannot be kept")
        return int(length), media_type

    async def _record(self, org_id: str, key: str, facts: JsonObject) -> list[str]:
        """Record on the reservation what was received. Returns the names of the bytes that this replaces. Raises
        ByteError if the reservation was claimed or expired meanwhile."""
        now = self.clock().timestamp()

        def settle(connection: Connection) -> list[str] | None:
            mine = (reservations.c.object_key == key) & reservations.c.consumed_by.is_(None)
            mine &= reservations.c.expires_at > now
            before = connection.execute(select(reservations.c.blob).where(mine)).one_or_none()
            if before is None:
                return None
            connection.execute(update(reservations).where(mine).values(**facts))
            return [before.blob] if before.blob else []

        replaced = await self.store.write(settle, lane=org_id)
        if replaced is None:
            raise ByteError(403, "AccessDenied", "The reservation was claimed already")
        return replaced

    async def _give(self, request: Request, key: str) -> Response:
        """Answer a download. The record is looked up first, so that a delete works at once."""
        query = select(published).where(published.c.object_key == key)
        row = await self.store.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise ByteError(404, "NoSuchKey", "The object does not exist")
        return await self.give(request, row)

    async def give(self, request: Request, row: AnyRow) -> Response:
        """The bytes of an attachment's row, or one range of them. Raises ByteError for a range outside."""
        headers = {
            "etag": f'"{row.md5}"',
            "accept-ranges": "bytes",
            "content-disposition": _disposition(row.name),
            "x-content-type-options": "nosniff",
            "content-type": row.type,
        }
        start, stop, status = 0, row.size, 200
        wanted = request.headers.get("range")
        if wanted is not None and request.headers.get("if-range", headers["etag"]) == headers["etag"]:
            part = _one_range(wanted, row.size)
            if part is not None:
                (start, stop), status = part, 206
                headers["content-range"] = f"bytes {start}-{stop - 1}/{row.size}"
        headers["content-length"] = str(stop - start)
        pieces = self.blobs.read(row.blob, start, stop - start)
        if stop - start == row.size:
            pieces = _verified(pieces, row.size, row.sha256)
        first = await anext(pieces, b"")  # read before the status is sent, so that a failure can still set it
        return _Streamed(_begun(first, pieces), status, headers)

    async def create(self, call: CreateAttachment, read: Run, write: Run) -> Reply:
        """Publish the reservation's bytes, then make the record in one transaction. After a crash between the two, a
        sweep deletes the bytes."""
        found: AnyRow = await read(lambda tx: attachments.creatable(tx, call))
        blob = await self.blobs.publish(found.blob, found.sha256, found.org_id)
        try:
            reply: Reply = await write(lambda tx: attachments.create_attachment(tx, call, blob))
        except ContractError:  # after any other failure it may have been written
            await self._drop(blob)
            raise
        await self.forget(reply)
        return reply

    async def forget(self, reply: Reply) -> None:
        """Delete the bytes that no row names any more, now that the reply's change is on disk."""
        if reply.loose:
            await self._drop(*reply.loose)

    async def _drop(self, *names: str) -> None:
        """Delete bytes. A failure is logged only: the next sweep deletes them."""
        try:
            await self.blobs.drop(*names)
        except BlobStoreError as error:
            logger.warning("bytes are left for the next sweep: %s", error)

    async def sweep(self) -> None:
        """Delete expired reservations with their bytes, and bytes that no row names. Safe to repeat, and to run in
        several processes."""
        now = self.clock().timestamp()

        def end(connection: Connection) -> list[str]:
            ended = delete(reservations).where(reservations.c.expires_at <= now).returning(reservations.c.blob)
            return [row.blob for row in connection.execute(ended) if row.blob]

        await self._drop(*await self.store.write(end))
        async with aclosing(self.blobs.unchanged_for(LOOSE_AFTER)) as names:
            batch = list[str]()
            async for name in names:
                batch.append(name)
                if len(batch) >= SWEPT_AT_ONCE:
                    await self._drop_loose(batch)
                    batch = []
            await self._drop_loose(batch)

    async def _drop_loose(self, names: list[str]) -> None:
        """Delete those of the bytes that no row names."""

        def spoken_of(connection: Connection) -> set[str]:
            found = set[str]()
            for table in (reservations, published):
                found |= set(connection.execute(select(table.c.blob).where(table.c.blob.in_(names))).scalars())
            return found

        if names:
            known = await self.store.read(spoken_of)
            await self._drop(*(name for name in names if name not in known))

    async def try_bytes(self) -> None:
        """Write a few bytes where files are kept, read them back and delete them. Raises StoreError that tells the
        operator what to check."""
        probe = b"calltriage"

        async def content() -> AsyncIterator[bytes]:
            yield probe

        try:
            with anyio.fail_after(PATIENCE):
                await self.blobs.check()
                received = await self.receive(content(), len(probe))
                try:
                    found = b"".join([piece async for piece in self.blobs.read(received.name, 0, received.size)])
                finally:
                    await self.blobs.drop(received.name)
                if found != probe:
                    raise BlobStoreError("what is read is not what was written")
        except (BlobStoreError, TimeoutError) as error:
            why = "it does not answer" if isinstance(error, TimeoutError) else str(error)
            raise StoreError(f"The bytes of files cannot be kept: {why}. Check {self.blobs.settings}.") from error

    async def keep_swept(self) -> None:
        """Sweep now and every hour, until cancelled. A sweep that fails ends neither the next one nor the server."""
        while True:
            try:
                await self.sweep()
            except (StoreError, BlobStoreError) as error:
                logger.warning("the sweep failed: %s", error)
            except Exception as error:  # noqa: BLE001  what a database or a disk raises may quote rows and paths
                logger.warning("the sweep failed: %s", type(error).__name__)
            await anyio.sleep(SWEEP_EVERY)


def _incomplete() -> ByteError:
    return ByteError(400, "IncompleteBody", "The body does not have the announced length")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


async def _begun(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


async def _verified(pieces: AsyncGenerator[bytes], size: int, sha256: str) -> AsyncGenerator[bytes]:
    """The bytes of a whole file. The last piece is sent only if all of them have the stored hash; else raises
    BlobStoreError."""
    digest = hashlib.sha256()
    async with aclosing(pieces):
        async for piece in pieces:
            digest.update(piece)  # one piece is too short for a thread
            size -= len(piece)
            if size <= 0 and digest.hexdigest() != sha256:
                raise BlobStoreError("a file does not have the bytes that were stored")
            yield piece


class _Streamed(StreamingResponse):
    """A response that closes its source in every case."""

    def __init__(self, pieces: AsyncGenerator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(pieces, status, headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:  # in the middle of the bytes: no fault to log
            return
        finally:
            with anyio.CancelScope(shield=True):
                await self._pieces.aclose()


def _one_range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte of a single range, and the one after its last; None if the whole body is the answer. Raises
    ByteError for a range outside."""
    found = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", header.strip())
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < start:
        return None
    if start >= size:
        outside = {"content-range": f"bytes */{size}"}
        raise ByteError(416, "InvalidRange", "The range lies outside the object", outside)
    return start, stop


def _disposition(name: str) -> str:
    """The header by which a browser saves the file under its name (RFC 6266) and never shows it."""
    plain = re.sub(r"[^ !#-.0-\[\]-~]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
