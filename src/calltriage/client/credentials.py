"""What differs between the vendors: where they are, how access is asked for, how many requests they take at once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
import httpx2
from pydantic import SecretStr

from calltriage.client.answers import Answer, failure, read_answer, read_json
from calltriage.client.http import Http
from calltriage.client.limits import Breaker, Rate
from calltriage.client.retries import LONGEST_WAIT, RetryPolicy
from calltriage.client.signing_keys import ASSERTION_TYPE, SigningKey
from calltriage.client.transcripts import Transcripts
from calltriage.errors import Conflict, NotFound, Rejected, SettingsError, Unauthenticated, UnreadableAnswer
from calltriage.leaves.header_text import is_header_text
from calltriage.leaves.host_headers import LOOPBACK
from calltriage.leaves.urls import base_url

TOKEN_SECONDS = 300.0
"""Seconds that a token is taken to be good for where its answer does not say: half of what the vendor's are."""

ASK_OPERATOR = "Ask the operator to run: calltriage doctor"


class Credentials(Protocol):
    """Where the `Authorization` header comes from."""

    async def header(self, http: Http, *, refused: str | None = None) -> str:
        """The header. `refused` was just answered with 401; the same header again means that there is no other."""
        ...


def nothing_newer() -> None:
    """The reader of a credential that cannot change: there is no newer one."""


@dataclass
class ApiKey:
    """Bland's way: the bare key, or `Bearer <key>` where an account wants that (bland-triage, section 2).

    `newer` reads the key again after a 401; None when there is none.
    """

    key: SecretStr
    scheme: str = "raw"
    newer: Callable[[], SecretStr | None] = field(default=nothing_newer, repr=False)

    def __post_init__(self) -> None:
        check_key(self.key)

    async def header(self, http: Http, *, refused: str | None = None) -> str:  # noqa: ARG002
        if refused == self._header():  # otherwise another call has read the newer key
            self.key = self.newer() or self.key
        return self._header()

    def _header(self) -> str:
        key = self.key.get_secret_value()
        return f"Bearer {key}" if self.scheme == "bearer" else key


@dataclass
class ClientCredentials:
    """Talkdesk's way: OAuth 2.0 client credentials, proved by a secret or by a signature (talkdesk-attachments, section 3).

    The token is kept in memory only and renewed 60 s before it ends; one renewal at a time, which all callers wait for.
    Without `scopes` it has all that the client's registration has. `clock` is monotonic seconds. `newer` reads the proof
    again when it is refused; None when there is none.
    """

    token_url: str
    client_id: str
    proof: SecretStr | SigningKey
    scopes: tuple[str, ...]
    clock: Callable[[], float] = anyio.current_time
    newer: Callable[[], SecretStr | SigningKey | None] = field(default=nothing_newer, repr=False)
    _lock: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True), repr=False)
    _token: str | None = field(default=None, repr=False)
    _good_until: float = 0.0

    async def header(self, http: Http, *, refused: str | None = None) -> str:
        async with self._lock:
            stale = self._token is None or self.clock() >= self._good_until
            if stale or refused == f"Bearer {self._token}":
                await self._renew(http)
            return f"Bearer {self._token}"

    async def _renew(self, http: Http) -> None:
        self._token = None
        answer = await self._ask(http)
        if answer.status in {400, 401}:  # invalid_client (RFC 6749, section 5.2): the proof may have been replaced
            newer = self.newer()
            if newer is not None:
                self.proof = newer
                answer = await self._ask(http)
        if answer.status != 200:
            refusal = failure(answer)
            if isinstance(refusal, Rejected | NotFound | Conflict):  # the client's registration or address is wrong
                refusal = Unauthenticated(
                    f"The token endpoint refused the client. {ASK_OPERATOR}", status=answer.status
                )
            raise refusal
        self._take(answer)

    async def _ask(self, http: Http) -> Answer:
        """Ask for a token, and show the proof."""
        form = {"grant_type": "client_credentials"} | ({"scope": " ".join(self.scopes)} if self.scopes else {})
        headers = dict[str, str]()
        if isinstance(self.proof, SigningKey):
            assertion = self.proof.assertion(self.client_id, self.token_url)
            form |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        else:
            pair = f"{self.client_id}:{self.proof.get_secret_value()}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        async with http.stream("POST", self.token_url, data=form, headers=headers) as response:
            return await read_answer(response)

    def _take(self, answer: Answer) -> None:
        """Keep the token of an answer. Raises UnreadableAnswer when it holds none."""
        try:
            token = read_json(answer.body)
            value, lifetime = token["access_token"], _lifetime(token.get("expires_in"))
            if not is_header_text(value):
                raise ValueError("not a token")
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableAnswer("The token endpoint's answer holds no token.", status=200) from error
        self._token, self._good_until = value, self.clock() + lifetime - 60


def _lifetime(expires_in: Any) -> float:
    """Seconds that a token is good for: what its answer says, or TOKEN_SECONDS where that says nothing that can be read
    (RFC 6749, section 5.1, only recommends it). A token that ends sooner is renewed at the 401 that tells it."""
    try:
        seconds = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return TOKEN_SECONDS
    return min(seconds, LONGEST_WAIT) if seconds >= 0 else TOKEN_SECONDS


@dataclass(frozen=True)
class Endpoint:
    """One API as the client reaches it.

    Attributes:
        base_url: pinned; https, or http on a loopback address or inside the process.
        credentials: source of the Authorization header.
        transport: None for the network; the embedded desk gives its in-process transport.
        in_flight: requests at once.
        retry: waits between tries.
        rate: requests a second; None: as many as are asked for.
        breaker: leaves the API alone while it fails; None: it is always asked.
        one_clock: whether rows are dated by this process's clock, as those of a desk inside it on a file are.
        searches_calls: whether it finds calls by words said in them, as a desk does and no vendor.
        transcripts: what was read of an API that does not; None: nothing is kept.
    """

    base_url: str
    credentials: Credentials
    transport: httpx2.AsyncBaseTransport | None = None
    in_flight: int = 4
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rate: Rate | None = None
    breaker: Breaker | None = None
    one_clock: bool = False
    searches_calls: bool = False
    transcripts: Transcripts | None = None

    def __post_init__(self) -> None:
        if self.transport is None:
            check_base_url(self.base_url)


def check_key(key: SecretStr) -> SecretStr:
    """Refuse a key that no header can carry; return it otherwise."""
    if not is_header_text(key.get_secret_value()):
        raise SettingsError(
            "The API key holds characters that no header can carry, such as a blank or a line's end. Set it again."
        )
    return key


def check_base_url(url: str, name: str = "A base URL") -> None:
    """Refuse an address that would send credentials in the clear, or that is not one. `name`: what errors call it."""
    try:
        parts = base_url(url)
    except ValueError:
        raise SettingsError(f"{name} must be scheme, host and optional path, such as https://api.example.com") from None
    if parts.scheme != "https" and not is_loopback(url):
        raise SettingsError(f"{name} must begin with https:// (http:// is allowed on this machine's loopback only).")


def is_loopback(url: str) -> bool:
    """Whether a base URL is on this machine."""
    return urlsplit(url).hostname in LOOPBACK
