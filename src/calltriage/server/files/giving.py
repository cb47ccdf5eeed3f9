"""Bytes that go out on the server's HTTP side: whole, or the range that a player or a resumed download asks for."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from calltriage.server.files.media_types import UNKNOWN

HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "sandbox; default-src 'none'",
}
RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,15})-(?P<last>[0-9]{0,15})")


@dataclass(frozen=True)
class Part:
    """Which bytes of a file are wanted, both ends included."""

    first: int
    last: int


class UnsatisfiableError(Exception):
    """No byte of the file is in the range that was asked for."""


def wanted_part(request: Request, size: int | None) -> Part | None:
    """The range that a request asks for. None for the whole file: no range, one that may be ignored (RFC 9110, section
    14.2), such as several at once, or a file of unknown size.

    Raises UnsatisfiableError.
    """
    found = RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or size is None or "if-range" in request.headers:  # we send no validator to compare
        return None
    first, last = found["first"], found["last"]
    if not first and not last:
        return None
    if not first:  # the last bytes
        part = Part(max(0, size - int(last)), size - 1)
    else:
        part = Part(int(first), min(int(last or size), size - 1))
        if last and int(last) < int(first):
            return None
    if part.first >= size:
        raise UnsatisfiableError
    return part


async def answer(
    request: Request, pieces: AsyncGenerator[bytes], *, size: int | None, media_type: str | None, **headers: str
) -> Response:
    """The response with a file's bytes, or with the part that is wanted. Bytes before the part are read and dropped: not
    every store can begin in the middle.

    Waits for the first piece, so that a file that cannot be read raises its CallError here.
    """
    safe = media_type if re.fullmatch(r"[\x21-\x7e]{1,127}", media_type or "") else UNKNOWN
    common = HEADERS | headers | {"accept-ranges": "none" if size is None else "bytes"}
    try:
        part = wanted_part(request, size)
    except UnsatisfiableError:
        await pieces.aclose()
        return Response(status_code=416, headers=common | {"content-range": f"bytes */{size}"})
    length = size if part is None else part.last - part.first + 1
    status = 200 if part is None else 206
    if length is not None:
        common["content-length"] = str(length)
    if part is not None:
        common["content-range"] = f"bytes {part.first}-{part.last}/{size}"
    if request.method == "HEAD":
        await pieces.aclose()
        # Unlike a plain response, this one claims no length of its own.
        return StreamingResponse(iter(()), status, common, safe)
    shown = pieces if part is None else _within(pieces, part)
    first = await anext(shown, b"")
    return StreamingResponse(_from(first, shown), status, common, safe)


async def _within(pieces: AsyncGenerator[bytes], part: Part) -> AsyncGenerator[bytes]:
    """The bytes of the part; the rest is not waited for."""
    at = 0
    async with aclosing(pieces):
        async for piece in pieces:
            inside = piece[max(0, part.first - at) : part.last + 1 - at]
            if inside:
                yield inside
            at += len(piece)
            if at > part.last:
                return


async def _from(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
