"""Files between a remote client and this server, past the model: one-time URLs on the server's own HTTP side.

A handle is sealed, so that nothing is kept for one that was only offered. Bytes that have come wait as files in a folder:
every process on that folder can go on with them.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from calltriage.client.attachments import download
from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound, Rejected
from calltriage.leaves.seals import Seals
from calltriage.operations.attachments import Attachment
from calltriage.server.files.local import CHUNK, OpenFile
from calltriage.server.files.media import UNKNOWN

if TYPE_CHECKING:
    import filelock

logger = logging.getLogger(__name__)

UPLOADS, DOWNLOADS = "/uploads/", "/downloads/"
LIFE = 900
"""Seconds for which a URL is good."""
STALL = 30.0
"""Seconds without a byte after which an upload is given up."""
HANDLE_REFUSED = "The URL is not one of this server's, or its time is over."
WHY_NOT_KEPT: dict[type[OSError], tuple[int, str, str]] = {
    FileExistsError: (409, "handle_used", "A file came for this URL already. Ask for another one."),
    BlockingIOError: (503, "too_many_uploads", "Too many uploads wait to be used. Try again later."),
    TimeoutError: (403, "handle_refused", HANDLE_REFUSED),
}
MOST_WAITING = 32
"""Uploads that may wait to be used."""
SWEEP_EVERY = 3600
"""Seconds between two looks for uploads that nobody came for."""
PART, USED = ".part", ".used"
"""Endings of a file that is coming in, and of one that was used."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Handover:
    """Offers URLs, takes bytes in and gives attachments out.

    Attributes:
        base_url: where clients reach this server, scheme and host.
        folder: where uploads wait; made for its owner alone.
        seals: what makes the handles.
        limit: bytes of the largest file.
        client: reaches the attachments.
    """

    base_url: str
    folder: Path
    seals: Seals
    limit: int
    client: Client

    def offer(self) -> dict[str, Any]:
        """A URL that takes one file by PUT, and the handle to name it by then, for which there is as much time again."""
        handle = self.seals.sealed("upload", 2 * LIFE, secrets.token_hex(16))
        return {
            "handle": handle,
            "method": "PUT",
            "url": f"{self.base_url}{UPLOADS}{handle}",
            "max_bytes": self.limit,
            "good_for_s": LIFE,
        }

    def link(self, attachment: Attachment) -> dict[str, Any]:
        """A URL that gives an attachment's bytes."""
        facts = (attachment.id, attachment.name[:200], attachment.type, attachment.size)
        handle = self.seals.sealed("download", LIFE, *facts)
        return {"url": f"{self.base_url}{DOWNLOADS}{handle}", "good_for_s": LIFE}

    @asynccontextmanager
    async def taken(self, handle: str) -> AsyncGenerator[OpenFile]:
        """The file that came for a handle, for one caller alone. A block that ends well has used it up, and so has one that
        raises a CallError by which the file is stored, or waits elsewhere under an `upload` of its own. After any other
        error, or a crash, it is there for another try.

        Raises Rejected when there is none, or not any more.
        """
        path, claim = self._place(handle), None
        if path is not None:
            with suppress(OSError):
                claim = await anyio.to_thread.run_sync(_claimed, path)
        if path is None or claim is None:
            raise Rejected(
                "Nothing was uploaded under this handle, its time is over, or it was used. Call with upload: new, PUT the "
                "file, then pass the handle.",
                code="upload_not_found",
                field="upload",
                outcome="not_committed",
            )
        used = False
        try:
            yield OpenFile("", os.fstat(claim.file.fileno()).st_size, claim.file)
            used = True
        except CallError as error:
            used = error.outcome == "committed" or "upload" in error.details
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(claim.end, used)

    async def keep_swept(self) -> None:
        """Remove what nobody came for, now and every hour, until cancelled."""
        while True:
            with suppress(OSError):  # no upload has come yet; a folder that fails is told to the next one
                await anyio.to_thread.run_sync(self._waiting)
            await anyio.sleep(SWEEP_EVERY)

    def routes(self) -> list[Route]:
        return [
            Route(UPLOADS + "{handle}", self._take, methods=["PUT"]),
            Route(DOWNLOADS + "{handle}", self._give, methods=["GET"]),
        ]

    def _place(self, handle: str) -> Path | None:
        values = self.seals.opened("upload", handle)
        return None if values is None else self.folder / str(values[0])

    async def _take(self, request: Request) -> Response:
        handle = request.path_params["handle"]
        path, left = self._place(handle), self.seals.good_for("upload", handle) - LIFE
        if path is None or left <= 0:
            return _refused(403, "handle_refused", HANDLE_REFUSED)
        length = request.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            return _refused(411, "length_required", "Content-Length is needed.")
        if int(length) > self.limit:
            return _refused(413, "file_too_large", f"The file is larger than {self.limit} bytes.")
        try:
            with anyio.fail_after(left):
                whole = await self._kept(request, path, int(length))
        except OSError as error:
            return _refused(
                *WHY_NOT_KEPT.get(type(error), (503, "storage_unavailable", "The server cannot keep the file."))
            )
        if not whole:
            return _refused(400, "incomplete_body", "The body does not have the announced length. PUT it again.")
        return JSONResponse({"upload": handle, "size": int(length)})

    async def _kept(self, request: Request, path: Path, length: int) -> bool:
        """Whether the body came whole and is in its place; otherwise nothing is."""
        # Of its own: one that was cut off may still be taken for a slow one when its client comes again.
        part = path.with_suffix(f".{secrets.token_hex(4)}{PART}")
        file = await anyio.to_thread.run_sync(self._begun, path, part)
        try:
            whole = await _written(request, file, length)
            if whole:
                file.close()
                await anyio.to_thread.run_sync(_placed, part, path)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_ended, file, part)
        return whole

    def _begun(self, path: Path, part: Path) -> BinaryIO:
        """A new file for the bytes. It is there before the others are counted, so that of many at once each sees all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(part, NEW_FILE, 0o600), "wb", buffering=0)
        try:
            if self._waiting() > MOST_WAITING:
                raise BlockingIOError
            if path.exists() or path.with_suffix(USED).exists():
                raise FileExistsError
        except BaseException:
            _ended(file, part)
            raise
        return file

    def _waiting(self) -> int:
        """How many uploads wait or come in; those that nobody came for go."""
        before = time.time() - 3 * LIFE
        names = set[str]()
        for other in self.folder.iterdir():
            with suppress(OSError):
                if other.stat().st_mtime < before:
                    other.unlink()
                else:
                    names.add(other.name)
        return len({name.partition(".")[0] for name in names if name.endswith(PART) or "." not in name})

    async def _give(self, request: Request) -> Response:
        values = self.seals.opened("download", request.path_params["handle"])
        if values is None:
            return _refused(403, "handle_refused", HANDLE_REFUSED)
        attachment_id, name, media_type, size = values
        headers = {
            "accept-ranges": "none",
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            **({} if size is None else {"content-length": str(size)}),
        }
        safe = media_type if re.fullmatch(r"[\x21-\x7e]{1,127}", media_type or "") else UNKNOWN
        if request.method == "HEAD":
            return StreamingResponse(
                iter(()), 200, headers, safe
            )  # which, unlike a plain one, claims no length of its own
        pieces = download(self.client, attachment_id, limit=self.limit, size=size)
        try:
            first = await anext(pieces, b"")
        except NotFound:
            return _refused(404, "not_found", "The attachment does not exist any more.")
        except CallError as error:
            return _refused(502, error.code, "The attachment cannot be had now.")
        return StreamingResponse(_from(first, pieces), 200, headers, safe)


async def _written(request: Request, file: BinaryIO, length: int) -> bool:
    """Write the body down; whether all of it came. A client that sends nothing for too long has gone."""
    held, size, more = list[bytes](), 0, True
    while more:
        try:
            with anyio.fail_after(STALL):
                message = await request.receive()
        except (TimeoutError, ClientDisconnect):
            return False
        if message["type"] != "http.request":
            return False
        more = message.get("more_body", False)
        held.append(message.get("body", b""))
        size += len(held[-1])
        if size > length:
            return False
        if not more or sum(map(len, held)) >= CHUNK:
            await anyio.to_thread.run_sync(_write, file, b"".join(held))
            held = []
    return size == length


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


async def _from(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


@dataclass(frozen=True)
class _Claim:
    """A file that came, and the lock by which nobody else has it."""

    path: Path
    file: BinaryIO
    lock: filelock.BaseFileLock

    def end(self, used: bool) -> None:
        """Let go of the file. Of one that was used an empty one stays under another name, so that its URL is not good twice.

        What fails here must not take the place of what became of the file.
        """
        self.file.close()
        try:
            if used:
                os.replace(self.path, self.path.with_suffix(USED))
                os.truncate(self.path.with_suffix(USED), 0)
        except OSError as error:
            logger.warning("an upload that was used could not be put away: %s", error.strerror or type(error).__name__)
        finally:
            self.lock.release()


def _claimed(path: Path) -> _Claim:
    """Raises OSError when the file is not to be had: not there, used, or in use (filelock's Timeout is one)."""
    import filelock  # noqa: PLC0415

    if not path.exists():
        raise FileNotFoundError
    lock = filelock.FileLock(path.with_suffix(".lock"), blocking=False, thread_local=False, mode=0o600)
    lock.acquire()
    try:
        if path.with_suffix(USED).exists():
            raise FileNotFoundError
        return _Claim(path, path.open("rb"), lock)
    except OSError:
        lock.release()
        raise


def _placed(part: Path, path: Path) -> None:
    """Give a whole file its name, over nothing: of two that come for one URL the first is kept."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names
        os.close(os.open(path, NEW_FILE, 0o600))
        part.replace(path)


def _ended(file: BinaryIO, part: Path) -> None:
    file.close()
    part.unlink(missing_ok=True)


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
