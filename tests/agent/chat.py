"""A model behind an OpenAI-compatible chat endpoint: one request at a time, repeated where the endpoint is busy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from pydantic import BaseModel, Field, JsonValue, ValidationError

from calltriage.leaves.gate import compact, one_line

TRIES = 5
LONGEST_WAIT = 60.0
"""Seconds that a Retry-After is believed."""
PATIENCE = 300.0
"""Seconds that one reply may take."""

Sleep = Callable[[float], Awaitable[None]]


class EndpointError(Exception):
    """The endpoint cannot be used. The text says what to do."""


class Refused(EndpointError):
    """The endpoint did not take this request, and will not take it again."""


class _Function(BaseModel):
    name: str
    arguments: str | dict[str, JsonValue] | None = None


class ToolCall(BaseModel):
    """A call that the model wants made."""

    id: str = ""
    function: _Function

    @property
    def arguments(self) -> str:
        """As the model wrote them."""
        written = self.function.arguments
        return written if isinstance(written, str) else compact(written or {})


class _Message(BaseModel):
    content: str | list[dict[str, JsonValue]] | None = None
    tool_calls: list[ToolCall] | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class Reply:
    """What the model answered. `message`: as it goes back into the conversation."""

    text: str
    calls: list[ToolCall]
    message: dict[str, Any]


@dataclass
class Chat:
    """Conversations with one model. `http`: a client at the endpoint's base URL, with its key.

    `tokens_in` and `tokens_out` add up what the endpoint says that all replies cost; None until it says so.
    """

    http: httpx2.AsyncClient
    model: str
    sleep: Sleep = anyio.sleep
    tokens_in: int | None = field(default=None, init=False)
    tokens_out: int | None = field(default=None, init=False)

    async def reply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """The model's next message. Raises EndpointError."""
        asked = {"model": self.model, "messages": messages, "tools": tools}
        why = ""
        for tried in range(TRIES):
            wait = 2.0**tried
            try:
                answer = await self.http.post("chat/completions", json=asked, timeout=PATIENCE)
            except httpx2.TransportError as error:
                why = f"cannot be reached ({type(error).__name__}); check TRIAGE_EVAL_BASE_URL"
            else:
                if (found := self._read(answer)) is not None:
                    return found
                why = f"answers with status {answer.status_code}, and no reply that can be read; try later"
                wait = _told_wait(answer) or wait
            if tried + 1 < TRIES:
                await self.sleep(min(wait, LONGEST_WAIT))
        raise EndpointError(f"After {TRIES} tries: the endpoint {why}.")

    def _read(self, answer: httpx2.Response) -> Reply | None:
        """The reply of an answer; None where the same request may succeed later. Raises EndpointError where it will not."""
        if answer.status_code in {401, 403}:
            raise EndpointError("The endpoint refuses the key: check TRIAGE_EVAL_KEY.")
        if 400 <= answer.status_code < 500 and answer.status_code not in {408, 409, 425, 429}:
            raise Refused(_why_refused(answer))
        try:
            raw = answer.json()
            completion = _Completion.model_validate(raw)
        except (ValueError, ValidationError):  # gateways answer 200 with an error inside, too
            return None
        if completion.usage is not None:
            self.tokens_in = (self.tokens_in or 0) + completion.usage.prompt_tokens
            self.tokens_out = (self.tokens_out or 0) + completion.usage.completion_tokens
        message = completion.choices[0].message
        return Reply(_text(message.content), message.tool_calls or [], raw["choices"][0]["message"])


def _text(content: str | list[dict[str, JsonValue]] | None) -> str:
    if not isinstance(content, list):
        return content or ""
    texts = (part.get("text") for part in content)
    return "".join(text for text in texts if isinstance(text, str))


def _told_wait(answer: httpx2.Response) -> float | None:
    """Seconds that the endpoint asks to wait."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


def _why_refused(answer: httpx2.Response) -> str:
    said = one_line(answer.text)[:300]
    if answer.status_code == 404:
        return f"There is no such address or model: check TRIAGE_EVAL_BASE_URL and TRIAGE_EVAL_MODEL. It said: {said}"
    if "tool" in said.casefold() or "function" in said.casefold():
        return f"The model seems to take no tools; choose one that does. The endpoint said: {said}"
    return f"The endpoint refused the request with status {answer.status_code}. It said: {said}"
