"""Signed URLs: bytes to and from them, with nothing of ours going along: no token, no cookie, no header, no redirect."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2

from calltriage.client.answers import Answer, failure, read_answer
from calltriage.client.credentials import Endpoint
from calltriage.client.limits import RetryBudget, deadline_in
from calltriage.client.network import NOT_SENT, Network, not_connected
from calltriage.client.public_addresses import Guarded, UnsafeTargetError, target_of
from calltriage.errors import CallError, Forbidden, Rejected, Unreachable, UnreadableAnswer
from calltriage.operations.base import Effect

TIMEOUT = httpx2.Timeout(connect=5, read=30, write=30, pool=10)
"""Seconds without a byte going either way, after which a transfer has stalled."""
SLOWEST = 128 * 1024
"""Bytes a second that a transfer must make on the whole, past the time that any call may take."""


@dataclass(frozen=True)
class Fetch:
    """An answer whose bytes are still coming."""

    status: int
    headers: httpx2.Headers
    pieces: AsyncIterator[bytes]

    @classmethod
    def of(cls, response: httpx2.Response) -> Fetch:
        """The bytes as they are: what was stored is not decoded."""
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("The answer of an asynchronous client has an asynchronous stream.")
        return cls(response.status_code, response.headers, aiter(response.stream))


class Links:
    """Uploads to and downloads from the URLs of one API's answers.

    Those of the API's own origin, which the operator chose, are reached the way that the API is: a desk on a private network
    is one. All others are strangers': https, public, and used as they were returned.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        deadline_s: float,
        guarded: httpx2.AsyncBaseTransport | None = None,
        network: Network | None = None,
    ) -> None:
        self._endpoint = endpoint
        self.retry = endpoint.retry
        self._budget = RetryBudget()
        self._deadline_s = deadline_s
        self._network = network or Network()
        # Connections are not kept: one that was opened for a name must not serve another name at the same address.
        self._guarded = guarded or Guarded(self._network.transport(at_once=8, kept=0))
        self._own: httpx2.AsyncBaseTransport | None = None

    async def aclose(self) -> None:
        await self._guarded.aclose()
        if self._own is not None and self._own is not self._endpoint.transport:  # which its own client closes
            await self._own.aclose()

    async def put(self, url: str, content: Callable[[], AsyncGenerator[bytes]], *, size: int, media_type: str) -> None:
        """PUT bytes (talkdesk-attachments, section 4, step 2). `content` is called once per try: a repeat replaces."""
        headers = {"content-length": str(size), "content-type": media_type}
        deadline = deadline_in(self._deadline_s + size / SLOWEST)

        async def attempt() -> None:
            answer: Answer | None = None
            with anyio.CancelScope(deadline=deadline):
                async with aclosing(content()) as pieces, self._sent("PUT", url, headers, pieces) as response:
                    answer = await read_answer(response)
            if answer is None:
                raise _broke_off("The upload took too long.")
            if answer.status not in {200, 201, 204}:
                raise _refused(answer, is_write=True)

        await self.retry.repeat(attempt, Effect.ENSURE, deadline, self._budget)

    @asynccontextmanager
    async def get(self, url: str, *, start: int = 0, etag: str | None = None) -> AsyncGenerator[Fetch]:
        """GET bytes from `start` on, as long as they are those of `etag`. Raises a CallError for any status but 200, 206."""
        headers = {"accept-encoding": "identity"}
        if start:
            headers |= {"range": f"bytes={start}-"} | ({"if-range": etag} if etag else {})
        async with self._sent("GET", url, headers) as response:
            if response.status_code not in {200, 206}:
                raise _refused(await read_answer(response), is_write=False)
            yield Fetch.of(response)

    @asynccontextmanager
    async def _sent(
        self, method: str, url: str, headers: dict[str, str], content: AsyncIterable[bytes] | None = None
    ) -> AsyncGenerator[httpx2.Response]:
        """One request made of these parts alone, its answer open. Raises a CallError when there is no answer."""
        is_write = method == "PUT"
        try:
            _check(url)
            extensions = {"timeout": TIMEOUT.as_dict(), **target_of(url)}
            request = httpx2.Request(method, url, headers=headers, content=content, extensions=extensions)
            response = await self._transport_to(url).handle_async_request(request)
        except (UnsafeTargetError, UnicodeError, ValueError, httpx2.InvalidURL) as error:
            why = str(error) if isinstance(error, UnsafeTargetError) else "is not a URL"
            outcome = "not_committed" if is_write else None
            raise UnreadableAnswer(f"The API's link {why}; nothing was sent.", outcome=outcome) from None
        except NOT_SENT as error:
            raise not_connected(error, is_write=is_write, what="the store of the API's files") from error
        except httpx2.TransportError as error:
            raise _broke_off("The transfer broke off.", is_write=is_write) from error
        response.request = request
        try:
            yield response
        except httpx2.TransportError as error:
            raise _broke_off("The transfer broke off.", is_write=is_write) from error
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    def _transport_to(self, url: str) -> httpx2.AsyncBaseTransport:
        if _origin(url) != _origin(self._endpoint.base_url):
            return self._guarded
        if self._own is None:
            self._own = self._endpoint.transport or self._network.transport()
        return self._own


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _check(url: str) -> None:
    """Refuse what cannot stand in a request line, and a link signed over a header whose value we cannot know: it would be
    refused after all bytes went out."""
    if not re.fullmatch(r"[\x21-\x7e]{1,8192}", url):
        raise UnsafeTargetError("is not a URL")
    signed = parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0].lower().split(";")
    if unknown := set(signed) - {"", "host", "content-length", "content-type"}:
        raise UnsafeTargetError(f"wants {len(unknown)} headers that are not known here")


def _broke_off(message: str, *, is_write: bool = True) -> Unreachable:
    """Bytes that did not arrive whole are nothing yet: an attachment is made in a step of its own."""
    advice = "No attachment was made; call again." if is_write else "Call again."
    return Unreachable(f"{message} {advice}", outcome="not_committed" if is_write else None)


def _refused(answer: Answer, *, is_write: bool) -> CallError:
    """What the byte plane's refusal means. It speaks XML, of which one code is taken; the rest is not shown."""
    outcome = "not_committed" if is_write else None
    found = re.search(rb"<Code>([A-Za-z]{1,64})</Code>", (answer.body or b"")[:4096])
    if answer.status == 403:
        return Forbidden(
            "The API's links do not work. Call again; if they still do not, tell the operator.",
            code="link_refused",
            status=403,
            outcome=outcome,
        )
    if answer.status in {400, 411, 413} and is_write:
        if (found and found[1] == b"EntityTooLarge") or answer.status == 413:
            return Rejected(
                "The file is larger than the API's store takes.", code="file_too_large", status=answer.status,
                outcome=outcome,
            )  # fmt: skip
        return Rejected("The API's store refused the bytes.", status=answer.status, outcome=outcome)
    error = failure(answer)
    error.outcome = outcome
    return error
