"""File bytes: the protocol of a place that keeps them, and the local folder as such a place.

Bytes arrive under a random name and are on disk before a row names them. When they become an attachment they are published
under a second name: a hash of organisation and SHA-256, and a suffix of the attachment's own. So deleting one attachment's
bytes never deletes another's. In the folder, equal bytes of one organisation are one file with several names (hard links).
Equal bytes of two organisations are never looked for: the time that takes would tell one organisation what another one
stores. Names from older versions, made of the SHA-256 alone, stay valid.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import anyio
import anyio.to_thread

from calltriage.leaves.durable import sync, sync_folder
from calltriage.storage.folders import check_room

PIECE = 2**15
"""Bytes that a download reads at once. While the client takes none, each stage of the way holds this much in memory."""
CHUNK = 2**20
"""Bytes that are read, written or hashed at once: so many that the change of threads costs little beside it."""
RECEIVED = "incoming"


@dataclass(frozen=True)
class Received:
    """Bytes that have arrived: their name, their size in bytes, and SHA-256 and MD5 in hex."""

    name: str
    size: int
    sha256: str
    md5: str


class TooLargeError(Exception):
    """More bytes came than the limit allows; nothing was kept."""


class BlobStoreError(Exception):
    """The place that keeps the bytes cannot be used, or its bytes are missing or changed."""


class Blobs(Protocol):
    """A place that keeps bytes. Every method raises BlobStoreError when the place fails."""

    @property
    def provider(self) -> str:
        """The name of the place that attachments show as `provider`."""
        ...

    @property
    def settings(self) -> str:
        """For messages: the settings that an operator should check when the place fails."""
        ...

    def is_there(self) -> bool:
        """Whether the place exists. Asks no other machine."""
        ...

    async def check(self) -> None:
        """Raise BlobStoreError unless the place can be used now. Stores nothing."""
        ...

    async def receive(self, content: AsyncIterator[bytes], limit: int) -> Received:
        """Keep a stream without holding it in memory. Raises TooLargeError past `limit` bytes. After any failure nothing
        of it is left."""
        ...

    async def publish(self, received: str, sha256: str, org_id: str) -> str:
        """Give received bytes their lasting name, and return it. The received name stays valid until it is dropped."""
        ...

    def read(self, name: str, start: int, length: int) -> AsyncGenerator[bytes]:
        """Stream `length` bytes, from byte `start` on."""
        ...

    async def drop(self, *names: str) -> None:
        """Delete bytes. A name that is not there is no error."""
        ...

    def unchanged_for(self, seconds: float) -> AsyncGenerator[str]:
        """Names of all bytes that were last changed at least so many seconds ago."""
        ...


def received_name() -> str:
    return f"{RECEIVED}/{secrets.token_hex(16)}"


def published_name(org_id: str, sha256: str) -> str:
    return f"{_stem(org_id, sha256)}.{secrets.token_hex(8)}"


def _stem(org_id: str, sha256: str) -> str:
    """The beginning of the published names of an organisation's equal bytes. No two organisations share one."""
    mixed = hashlib.sha256(f"{org_id}\n{sha256}".encode()).hexdigest()
    return f"{mixed[:2]}/{mixed[2:]}"


def is_name(text: str) -> bool:
    """Whether a text has the form of the names given here."""
    return re.fullmatch(rf"({RECEIVED}|[0-9a-f]{{2}})/[0-9a-f]+(\.[0-9a-f]+)?", text) is not None


def is_name_of(name: str, org_id: str, sha256: str) -> bool:
    """Whether bytes of this hash were published under the name for this organisation."""
    return name.partition(".")[0] == _stem(org_id, sha256)


class Intake:
    """Reads a stream in batches and passes each batch to every step, each on a thread of its own, while the next batch
    arrives.

    SHA-256 and MD5 are always among the steps. Use it as an async context manager; then `received` describes the bytes.
    """

    def __init__(self, *steps: Callable[[list[bytes]], object]) -> None:
        self._size = 0
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._steps = (*steps, partial(_feed, self._sha256), partial(_feed, self._md5))
        self._threads = [ThreadPoolExecutor(1, "calltriage-intake") for _ in self._steps]
        self._under_way: list[Future[object]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        def end() -> None:
            for thread in self._threads:
                thread.shutdown(wait=True, cancel_futures=True)

        with anyio.CancelScope(shield=True):  # a running step still uses what the caller removes next
            await anyio.to_thread.run_sync(end)

    async def take(
        self,
        content: AsyncIterator[bytes],
        limit: int,
        beside: Callable[[list[bytes]], Awaitable[None]] | None = None,
    ) -> None:
        """Read a stream to its end. `beside` is awaited with each batch while the steps work on it. Raises TooLargeError
        past `limit` bytes, and what a step raised."""
        batch, held = list[bytes](), 0
        async for piece in content:
            self._size += len(piece)
            if self._size > limit:
                raise TooLargeError
            batch.append(piece)
            held += len(piece)
            if held >= CHUNK:
                await self._pass_on(batch, beside)
                batch, held = [], 0
        await self._pass_on(batch, beside)
        await self._done()

    async def _pass_on(self, batch: list[bytes], beside: Callable[[list[bytes]], Awaitable[None]] | None) -> None:
        await self._done()
        steps = zip(self._threads, self._steps, strict=True)
        self._under_way = [thread.submit(step, batch) for thread, step in steps]
        if beside is not None:
            await beside(batch)

    async def _done(self) -> None:
        for job in self._under_way:
            if not job.done():
                await anyio.to_thread.run_sync(wait, [job])
            job.result()

    def received(self, name: str) -> Received:
        return Received(name, self._size, self._sha256.hexdigest(), self._md5.hexdigest())


def _feed(digest: Any, batch: list[bytes]) -> None:
    for piece in batch:
        digest.update(piece)


@dataclass(frozen=True)
class BlobFolder:
    """Bytes below `folder`, for their owner alone: received ones in `incoming/`, published ones at `ab/cdef….…`."""

    folder: Path
    provider: str = "embedded"
    settings: str = "the folder blobs of the data folder, its rights and the space on its disk"

    def is_there(self) -> bool:
        return self.folder.is_dir()

    async def check(self) -> None:
        def try_folder() -> None:  # a new desk has none yet: the first file makes it
            check_room(self.folder if os.path.lexists(self.folder) else self.folder.parent)

        with _told():
            await anyio.to_thread.run_sync(try_folder)

    async def receive(self, content: AsyncIterator[bytes], limit: int) -> Received:
        name = received_name()
        path = self.folder / name
        with _told():
            part = await anyio.to_thread.run_sync(_created, path)
        try:
            async with Intake(_told()(part.writelines)) as intake:
                await intake.take(content, limit)
            with _told():
                await anyio.to_thread.run_sync(_settle, part, path)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_abandon, part, path)
            raise
        return intake.received(name)

    async def publish(self, received: str, sha256: str, org_id: str) -> str:
        name = published_name(org_id, sha256)
        with _told():
            await anyio.to_thread.run_sync(self._publish, self._path(received), self.folder / name, sha256)
        return name

    def _publish(self, received: Path, target: Path, sha256: str) -> None:
        folder = target.parent
        folder.mkdir(exist_ok=True, mode=0o700)
        twins = list(folder.glob(f"{target.name.partition('.')[0]}.*"))
        _second_name(received, _intact(twins, received.stat().st_size, sha256), target)
        os.utime(target)  # a sweep spares young files
        for place in (folder, folder.parent):
            sync_folder(place)

    async def read(self, name: str, start: int, length: int) -> AsyncGenerator[bytes]:
        with _told():
            file = await anyio.to_thread.run_sync(self._opened, name, start, length)
        with file:
            while length:
                with _told():
                    piece = await anyio.to_thread.run_sync(file.read, min(PIECE, length))
                if not piece:
                    raise BlobStoreError("a file is shorter than it was")
                length -= len(piece)
                yield piece

    def _opened(self, name: str, start: int, length: int) -> BinaryIO:
        file = self._path(name).open("rb", buffering=0)
        if os.fstat(file.fileno()).st_size < start + length:
            file.close()
            raise BlobStoreError("a file is shorter than it was")
        file.seek(start)
        return file

    async def drop(self, *names: str) -> None:
        def unlink() -> None:
            for name in names:
                self._path(name).unlink(missing_ok=True)

        with anyio.CancelScope(shield=True), _told():
            await anyio.to_thread.run_sync(unlink)

    async def unchanged_for(self, seconds: float) -> AsyncGenerator[str]:
        def old() -> list[str]:
            before = time.time() - seconds
            return [f"{place.parent.name}/{place.name}" for place in self.folder.glob("*/*") if _older(place, before)]

        with _told():
            names = await anyio.to_thread.run_sync(old)
        for name in names:
            yield name

    def _path(self, name: str) -> Path:
        if not is_name(name):
            raise BlobStoreError("this is no name of a file here")
        return self.folder / name


def _created(path: Path) -> BinaryIO:
    """A new file, open for writing. Makes the folders below the data folder if they are missing, but not the data folder:
    one that was moved away is not made again."""
    for folder in (path.parent.parent, path.parent):
        if not folder.is_dir():  # a new folder lasts only once its parent is synced
            folder.mkdir(exist_ok=True, mode=0o700)
            sync_folder(folder.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb")


def _settle(part: BinaryIO, path: Path) -> None:
    """Sync a finished file to disk and close it. Raises FileNotFoundError if its folder was moved or replaced meanwhile."""
    sync(part)
    written = os.fstat(part.fileno())
    part.close()
    sync_folder(path.parent)
    if not os.path.samestat(written, path.stat()):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _abandon(part: BinaryIO, path: Path) -> None:
    with suppress(OSError):  # a full disk refuses the flush, too; the file is deleted in any case
        part.close()
    path.unlink(missing_ok=True)


def _intact(twins: list[Path], size: int, sha256: str) -> Generator[Path]:
    """Those of the files named for a hash whose bytes still have it: damaged bytes must not become another file's."""
    rotten = set[int]()
    for twin in twins:
        with suppress(OSError):  # dropped since it was listed
            found = twin.stat()
            if found.st_size != size or found.st_ino in rotten:
                continue
            with twin.open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == sha256
            if intact:
                yield twin
            else:
                rotten.add(found.st_ino)


def _second_name(received: Path, twins: Iterable[Path], target: Path) -> None:
    """Give bytes the name `target`, too: as a link to a twin (a file with the same bytes) or to the received file, else
    as a copy."""
    for source in chain(twins, [received]):
        # deleted meanwhile, no further link is allowed, or this file system has no links
        with suppress(OSError):
            os.link(source, target)
            return
    with received.open("rb") as bytes_in, _created(target) as bytes_out:
        shutil.copyfileobj(bytes_in, bytes_out, CHUNK)
        sync(bytes_out)


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


@contextmanager
def _told() -> Generator[None]:
    """Turn the folder's OSError into BlobStoreError, without a path in its words."""
    try:
        yield
    except OSError as error:
        raise BlobStoreError(f"the folder of files failed: {error.strerror or type(error).__name__}") from error
