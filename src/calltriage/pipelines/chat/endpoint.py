"""A chat endpoint: how it is asked for JSON, what a request may cost, and what happens if it fails.

    json_schema, strict → if refused: json_object, schema in the prompt → if refused: text, schema in the prompt

The way that an endpoint accepts is remembered by address and model. A way counts as refused only once a later one was
accepted, since a request may be refused for other reasons, such as its length. Answers are always checked, since some
endpoints ignore the schema. A malformed answer is asked for once more; the second one fails the examination.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from calltriage.client.answers import Answer, read_answer, read_json
from calltriage.client.http import Http
from calltriage.client.retries import retry_after_seconds
from calltriage.errors import Deferred, DetectorFailed
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.pipelines.chat import answers
from calltriage.pipelines.chat.answers import AnswerError, Judgement
from calltriage.pipelines.chat.purse import Purse
from calltriage.pipelines.chat.questions import AGAIN, Message, forms, with_schema
from calltriage.pipelines.detecting import Usage

MODES = ("json_schema", "json_object", "text")
REFUSED_FORM = frozenset({400, 404, 415, 422, 501})
"""HTTP statuses with which endpoints refuse a way of asking for JSON."""
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which a request is repeated."""
ATTEMPTS = 4
"""How often a request is sent at most while the endpoint is busy."""
LONGEST_PAUSE_S = 30.0
"""Seconds that a request waits at most before it is sent again. Where the endpoint asks for more, the call is deferred."""
AT_ONCE = 8
"""Requests to an endpoint at the same time."""


class _NotSent(Exception):
    """There was no connection: nothing was sent, and nothing has to be paid."""


@dataclass(frozen=True)
class Price:
    """USD for 1,000,000 tokens of a prompt and of an answer."""

    prompt: float
    answer: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.prompt + tokens_out * self.answer) / 1_000_000


@dataclass
class Shared:
    """What is shared by all that ask one model at one address.

    Attributes:
        mode: index of the first of MODES that is not known to be refused.
        turn: admits AT_ONCE requests.
        not_before: when the endpoint wants to be asked again, by the loop's clock.
    """

    mode: int = 0
    turn: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(AT_ONCE))
    not_before: float = float("-inf")


@dataclass
class Endpoint:
    """A model at an address.

    Attributes:
        name: its name in the pipeline's file.
        http: sends requests.
        model: the model's name at the endpoint.
        purse: what may be spent.
        key_name: environment variable with the API key; None: no key is sent.
        price: None if the file has none. Then `limits.usd_per_day` is refused.
        max_tokens: most tokens of an answer.
        timeout_s: seconds for one request.
        parameters: further members of each request.
        shared: what it shares with others of this address and model.
        sleep: waits between attempts; replaced in tests.
    """

    name: str
    http: Http
    model: str
    purse: Purse
    key_name: str | None = None
    price: Price | None = None
    max_tokens: int = 1024
    timeout_s: float = 60.0
    parameters: JsonObject = field(default_factory=dict[str, Any])
    shared: Shared = field(default_factory=Shared)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    def worst_usd(self, asked: Sequence[Message]) -> float:
        """Most USD that a request can cost: one token for each byte of the prompt, and an answer of `max_tokens`."""
        size = sum(len(message["content"].encode("utf-8", "backslashreplace")) + 16 for message in asked)
        return 0.0 if self.price is None else self.price.of(size, self.max_tokens)

    async def ask(self, asked: Sequence[Message], questions: Sequence[str]) -> tuple[dict[str, Judgement], Usage]:
        """The model's judgements by question, and their cost. Raises DetectorFailed, and Deferred if it has to wait."""
        text, usage = await self._said(asked, questions)
        try:
            return answers.read_answer(text, questions), usage
        except AnswerError as error:
            fault = str(error)
        again = [
            *asked,
            {"role": "assistant", "content": text[:4_000]},
            {"role": "user", "content": AGAIN.format(fault=fault)},
        ]
        text, more = await self._said(again, questions)
        try:
            return answers.read_answer(text, questions), added(usage, more)
        except AnswerError as error:
            raise DetectorFailed(
                f"Endpoint {self.name} answered twice in a form that was not asked for: {error}."
            ) from None

    async def _said(self, asked: Sequence[Message], questions: Sequence[str]) -> tuple[str, Usage]:
        """The text of an answer in the first of MODES that the endpoint does not refuse, which is remembered."""
        mode = self.shared.mode
        while True:
            body = self._body(MODES[mode], asked, questions)
            answer, usage = await self._paid(body)
            if answer.status == 200:
                self.shared.mode = max(self.shared.mode, mode)
                return self._text(answer), usage
            if answer.status not in REFUSED_FORM or mode + 1 == len(MODES):
                raise DetectorFailed(self._refused(answer.status))
            mode = max(self.shared.mode, mode + 1)

    def _body(self, mode: str, asked: Sequence[Message], questions: Sequence[str]) -> JsonObject:
        shown = list(asked) if mode == "json_schema" else with_schema(asked, questions)
        given = {"model": self.model, "messages": shown, "max_tokens": self.max_tokens, "stream": False}
        return {"temperature": 0, **self.parameters, **given, **forms(mode, questions)}

    async def _paid(self, body: JsonObject) -> tuple[Answer, Usage]:
        """Send a request, ATTEMPTS times at most while the endpoint is busy. Money is reserved before each."""
        worst = self.worst_usd(body["messages"])
        for attempt in range(ATTEMPTS):
            self._heed(None)
            headers = self._headers()
            reservation = await self.purse.reserve(self.name, worst)
            spent = worst  # until the answer tells: if this is interrupted, the request may have to be paid
            try:
                answer = await self._sent(body, headers)
                usage = self._usage(answer, worst, attempt + 1)
                spent = usage.usd
            except _NotSent as error:
                spent = 0.0
                raise DetectorFailed(f"Endpoint {self.name} cannot be reached. Check its base_url.") from error
            finally:
                with anyio.CancelScope(shield=True):
                    await self.purse.settle(reservation, spent)
            if answer.status not in BUSY:
                return answer, usage
            asked_for = retry_after_seconds(answer.headers.get("retry-after"))
            self._heed(asked_for)
            if attempt + 1 == ATTEMPTS:
                return answer, usage
            await self.sleep(2.0**attempt if asked_for is None else asked_for)
        raise AssertionError

    def _heed(self, asked_for: float | None) -> None:
        """Raise Deferred if the endpoint asks for a longer time than a request waits, or asked for it and it is not over."""
        if asked_for is not None and asked_for > LONGEST_PAUSE_S:
            self.shared.not_before = anyio.current_time() + asked_for
        wait_s = self.shared.not_before - anyio.current_time()
        if wait_s > 0:
            raise Deferred(f"Endpoint {self.name} is busy, and said when it may be asked again.", wait_s=wait_s)

    async def _sent(self, body: JsonObject, headers: dict[str, str]) -> Answer:
        patience = httpx2.Timeout(self.timeout_s)
        try:
            with anyio.fail_after(self.timeout_s):
                async with (
                    self.shared.turn,
                    self.http.stream(
                        "POST", "/chat/completions", headers=headers, json=body, patience=patience
                    ) as response,
                ):
                    return await read_answer(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise _NotSent from error
        except (TimeoutError, httpx2.TimeoutException):
            raise DetectorFailed(f"Endpoint {self.name} did not answer within {self.timeout_s:g} s.") from None
        except httpx2.TransportError as error:
            raise DetectorFailed(f"The connection to endpoint {self.name} broke ({type(error).__name__}).") from error

    def _headers(self) -> dict[str, str]:
        if self.key_name is None:
            return {}
        key = os.environ.get(self.key_name)
        if not key:
            raise DetectorFailed(f"The environment variable {self.key_name} holds no key for endpoint {self.name}.")
        return {"authorization": f"Bearer {key}"}

    def _usage(self, answer: Answer, worst: float, requests: int) -> Usage:
        """What a request cost. A refusal is free. An answer without numbers of tokens counts as `worst` USD."""
        if answer.status != 200:
            return Usage(requests=requests)
        counted = _tokens(answer)
        if counted is None:
            return Usage(usd=worst, requests=requests)
        usd = 0.0 if self.price is None else self.price.of(*counted)
        return Usage(tokens_in=counted[0], tokens_out=counted[1], usd=usd, requests=requests)

    def _text(self, answer: Answer) -> str:
        value = _value(answer)
        choices = value.get("choices")
        first = choices[0] if is_array(choices) and choices else None
        message = first.get("message") if is_object(first) else None
        text = message.get("content") if is_object(message) else None
        return text if isinstance(text, str) else ""

    def _refused(self, status: int) -> str:
        if status in (401, 403):
            held = f"the key in {self.key_name}" if self.key_name else "a request without a key"
            return f"Endpoint {self.name} does not accept {held} (HTTP {status})."
        if status in BUSY:
            return f"Endpoint {self.name} is busy (HTTP {status}), after {ATTEMPTS} requests. Run again later."
        return f"Endpoint {self.name} refuses the request (HTTP {status}). Check its model and parameters in the file."


def _value(answer: Answer) -> JsonObject:
    try:
        value = read_json(answer.body)
    except ValueError:
        return {}
    return value if is_object(value) else {}


def _tokens(answer: Answer) -> tuple[int, int] | None:
    usage = _value(answer).get("usage")
    if not is_object(usage):
        return None
    counted = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counted):
        return None
    return counted[0] or 0, counted[1] or 0


def added(one: Usage, other: Usage) -> Usage:
    return Usage(
        tokens_in=one.tokens_in + other.tokens_in,
        tokens_out=one.tokens_out + other.tokens_out,
        usd=one.usd + other.usd,
        requests=one.requests + other.requests,
    )


def identity(endpoint: Endpoint) -> str:
    """What an answer depends on besides the question, as JSON: address, model, `max_tokens` and parameters."""
    return json.dumps(
        [endpoint.http.base_url, endpoint.model, endpoint.max_tokens, endpoint.parameters], sort_keys=True
    )
