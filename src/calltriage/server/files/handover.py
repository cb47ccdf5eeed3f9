"""Files between a remote client and this server, past the model: one-time URLs on the server's own HTTP side.

A handle is sealed, so that nothing is kept for one that was only offered. Bytes that have come wait as files in a folder:
every process on that folder can go on with them. A file's name begins with a digest of whose upload it is, so that places
can be counted for each caller.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from calltriage.client.attachments import download
from calltriage.client.client import Client
from calltriage.client.recordings import Recording, open_recording
from calltriage.errors import CallError, NotFound, Rejected
from calltriage.leaves.durable import write_whole
from calltriage.leaves.folders import Folder, lock
from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.attachments import Attachment
from calltriage.operations.calls import Call, GetCall
from calltriage.operations.fields import is_opaque_id
from calltriage.server.files.giving import answer
from calltriage.server.files.local import CHUNK, OpenFile

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
"""Status, code and message for an upload that ended in one of these errors."""
MOST_WAITING = 32
"""Uploads of one caller that may wait to be used."""
MOST_IN_ALL = 128
"""Uploads of all callers that may wait to be used."""
SWEEP_EVERY = 3600
"""Seconds between two looks for uploads that nobody came for."""
PART, USED, LOCK = ".part", ".used", ".lock"
"""Endings of a file that is coming in, of one that was used, and of the lock on one that is in use."""
NAME = re.compile(r"[0-9a-f]{32}")
"""The only form of a name that this server puts into a handle."""
OWNER = 8
"""Characters of a name that say whose upload it is."""


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

    def offer(self, who: str) -> JsonObject:
        """A URL that takes one file of a caller's by PUT, and its handle, which stays good for as long again."""
        owner = hashlib.sha256(who.encode()).hexdigest()[:OWNER]
        handle = self.seals.sealed("upload", 2 * LIFE, owner + secrets.token_hex(12))
        return {
            "handle": handle,
            "method": "PUT",
            "url": f"{self.base_url}{UPLOADS}{handle}",
            "max_bytes": self.limit,
            "good_for_s": LIFE,
        }

    def link(self, attachment: Attachment) -> JsonObject:
        """A URL that gives an attachment's bytes."""
        facts = (attachment.id, attachment.name[:200], attachment.type, attachment.size)
        handle = self.seals.sealed("download", LIFE, *facts)
        return {"url": f"{self.base_url}{DOWNLOADS}{handle}", "good_for_s": LIFE}

    def recording_link(self, call_id: str) -> JsonObject:
        """A URL that plays a call's recording."""
        return {"url": f"{self.base_url}{DOWNLOADS}{self.seals.sealed('recording', LIFE, call_id)}", "good_for_s": LIFE}

    @asynccontextmanager
    async def taken(self, handle: str) -> AsyncGenerator[OpenFile]:
        """The file that was uploaded under a handle, for one caller at a time. It is used up if the block ends without an
        error, or with a CallError that says that it is stored or waits under another `upload`. After any other error, or a
        crash, it can be taken again.

        Raises Rejected if there is no such file, or not any more.
        """
        name, claim = self._name(handle), None
        if name is not None:
            with suppress(OSError):
                claim = await anyio.to_thread.run_sync(_claimed, self.folder, name)
        if claim is None:
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
                await anyio.to_thread.run_sync(partial(claim.end, used=used))

    async def keep_swept(self) -> None:
        """Remove what nobody came for, now and every hour, until cancelled."""
        while True:
            with suppress(OSError):  # no upload has come yet; a broken folder fails the next one
                await anyio.to_thread.run_sync(self._sweep)
            await anyio.sleep(SWEEP_EVERY)

    def routes(self) -> list[Route]:
        return [
            Route(UPLOADS + "{handle}", self._take, methods=["PUT"]),
            Route(DOWNLOADS + "{handle}", self._give, methods=["GET"]),
        ]

    def _name(self, handle: str) -> str | None:
        """The name of a handle's file in the folder; None if the handle is not good."""
        match self.seals.opened("upload", handle):
            case [str(name)] if NAME.fullmatch(name):
                return name
            case _:
                return None

    async def _take(self, request: Request) -> Response:
        handle = request.path_params["handle"]
        name, left = self._name(handle), self.seals.good_for("upload", handle) - LIFE
        if name is None or left <= 0:
            return _refused(403, "handle_refused", HANDLE_REFUSED)
        length = request.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            return _refused(411, "length_required", "Content-Length is needed.")
        if int(length) > self.limit:
            return _refused(413, "file_too_large", f"The file is larger than {self.limit} bytes.")
        try:
            with anyio.fail_after(left):
                whole = await self._kept(request, name, int(length))
        except OSError as error:
            return _refused(
                *WHY_NOT_KEPT.get(type(error), (503, "storage_unavailable", "The server cannot keep the file."))
            )
        if not whole:
            return _refused(400, "incomplete_body", "The body does not have the announced length. PUT it again.")
        return JSONResponse({"upload": handle, "size": int(length)})

    async def _kept(self, request: Request, name: str, length: int) -> bool:
        """Take the body in. True if it came whole and has its name; otherwise nothing of it is kept."""
        coming = await anyio.to_thread.run_sync(self._begun, name)
        try:
            whole = await _written(request, coming.file, length)
            if whole:
                await anyio.to_thread.run_sync(coming.keep)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(coming.end)
        return whole

    def _begun(self, name: str) -> _Coming:
        """A new file for the bytes. It is made before the others are counted, so that each of many at once counts all.
        Raises BlockingIOError if too many wait, FileExistsError if a file came for this name."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Folder(self.folder)
        # A name of its own: the client may come again while its cut connection still looks like a slow one.
        part = f"{name}.{secrets.token_hex(4)}{PART}"
        try:
            coming = _Coming(folder, name, part, folder.new(part))
        except BaseException:
            folder.close()
            raise
        try:
            waiting = self._waiting(folder)
            own = sum(other.startswith(name[:OWNER]) for other in waiting)
            if own > MOST_WAITING or len(waiting) > MOST_IN_ALL:
                raise BlockingIOError
            if folder.about(name) or folder.about(name + USED):
                raise FileExistsError
        except BaseException:
            coming.end()
            raise
        return coming

    def _sweep(self) -> None:
        with Folder(self.folder) as folder:
            self._waiting(folder)

    def _waiting(self, folder: Folder) -> set[str]:
        """Names of the uploads that wait or come in. Removes those that nobody came for."""
        before = time.time() - 3 * LIFE
        names = set[str]()
        for other in folder.names():
            with suppress(OSError):
                about = folder.about(other)
                if about is not None and about.st_mtime < before:
                    folder.remove(other)
                elif about is not None:
                    names.add(other)
        return {name.partition(".")[0] for name in names if name.endswith(PART) or "." not in name}

    async def _give(self, request: Request) -> Response:
        handle = request.path_params["handle"]
        try:
            match self.seals.opened("download", handle) or self.seals.opened("recording", handle):
                case [str(attachment_id), str(name), str() | None as media_type, int() | None as size] if is_opaque_id(
                    attachment_id
                ) and (size is None or size >= 0):
                    pieces = download(self.client, attachment_id, limit=self.limit, size=size)
                    named = f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
                    facts = {"content-disposition": named}
                    return await answer(request, pieces, size=size, media_type=media_type, **facts)
                case [str(call_id)] if is_opaque_id(call_id):
                    return await self._play(request, call_id)
                case _:
                    return _refused(403, "handle_refused", HANDLE_REFUSED)
        except NotFound:
            return _refused(404, "not_found", "The file does not exist any more.")
        except CallError as error:
            return _refused(502, error.code, "The file cannot be had now.")

    async def _play(self, request: Request, call_id: str) -> Response:
        """A call's audio for a player: inline, with a type of audio or video or with none."""
        call = await self.client.send(GetCall(call_id=call_id))
        audio = _audio(self.client, call, call_id, self.limit)
        about = await anext(audio)
        if not isinstance(about, Recording):
            raise TypeError
        plays = re.fullmatch(r"(audio|video)/[\w.+-]{1,64}", about.media_type or "")
        return await answer(
            request,
            _bytes_of(audio),
            size=about.size,
            media_type=plays and plays[0],
            **{"content-disposition": "inline"},
        )


async def _audio(client: Client, call: Call, call_id: str, limit: int) -> AsyncGenerator[Recording | bytes]:
    """The Recording, then its bytes."""
    async with open_recording(client, call, call_id, limit=limit) as recording:
        yield recording
        async for piece in recording.pieces:
            yield piece


async def _bytes_of(audio: AsyncGenerator[Recording | bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(audio):
        async for piece in audio:
            if isinstance(piece, bytes):
                yield piece


async def _written(request: Request, file: BinaryIO, length: int) -> bool:
    """Write the body to a file. True if exactly `length` bytes came; a client that sends nothing for STALL seconds has
    gone."""
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
            await anyio.to_thread.run_sync(write_whole, file, b"".join(held))
            held = []
    return size == length


@dataclass(frozen=True)
class _Coming:
    """A file that is coming in, under a name of its own until it is whole."""

    folder: Folder
    name: str
    part: str
    file: BinaryIO

    def keep(self) -> None:
        """Give a whole file its name. Raises FileExistsError if the name is taken: of two uploads for a URL the first
        stays."""
        self.file.close()
        self.folder.give(self.part, self.name)

    def end(self) -> None:
        self.file.close()
        self.folder.remove(self.part)
        self.folder.close()


@dataclass(frozen=True)
class _Claim:
    """A file that came, and the lock that keeps it from everybody else. The lock ends with the process."""

    folder: Folder
    name: str
    file: BinaryIO
    lock: int

    def end(self, *, used: bool) -> None:
        """Let go of the file. If it was used, it is emptied and kept under another name, so that its URL is not good twice.

        A failure here is logged: it must not replace what became of the file.
        """
        self.file.close()
        try:
            if used:
                self.folder.replace(self.name, self.name + USED)
                os.close(self.folder.open(self.name + USED, os.O_WRONLY | os.O_TRUNC))
        except OSError as error:
            logger.warning("an upload that was used could not be put away: %s", error.strerror or type(error).__name__)
        finally:
            os.close(self.lock)
            self.folder.close()


def _claimed(path: Path, name: str) -> _Claim:
    """Raises OSError if the file cannot be had: not there, used, or in use."""
    with ExitStack() as stack:
        folder = stack.enter_context(Folder(path))
        if folder.about(name) is None:
            raise FileNotFoundError
        handle = folder.open(name + LOCK, os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, handle)
        lock(handle)
        if folder.about(name + USED):
            raise FileNotFoundError
        claim = _Claim(folder, name, os.fdopen(folder.open(name), "rb"), handle)
        stack.pop_all()
    return claim


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
