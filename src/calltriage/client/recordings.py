"""The audio of a call: from the link that the call's record has, or from the API's own route."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from calltriage.client.attachments import Progress
from calltriage.client.client import Client
from calltriage.client.signed_links import Fetch
from calltriage.errors import CallError, UnreadableAnswer
from calltriage.operations.calls import Call, GetCallRecording

ENDINGS = {"audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/wave": ".wav"}
NO_AUDIO = ("application/json", "application/xml", "text/")
"""What a page or an error is, and no recording."""


@dataclass(frozen=True)
class Recording:
    """Audio whose bytes are still coming. `size` is how many there are, if the answer says so."""

    media_type: str | None
    size: int | None
    pieces: AsyncGenerator[bytes]

    @property
    def ending(self) -> str:
        """The ending of a file of this kind; empty if the kind is not known."""
        return ENDINGS.get(self.media_type or "") or mimetypes.guess_extension(self.media_type or "") or ""


@asynccontextmanager
async def open_recording(client: Client, call: Call, call_id: str, *, limit: int) -> AsyncGenerator[Recording]:
    """The recording of a call that was asked for as `call_id`, of at most `limit` bytes. A link of the record is a
    stranger's: it is reached through the guard of signed links.

    Raises:
        NotFound: the call has none.
        CallError: it cannot be had, or not whole.
    """
    state = Progress(limit, client.deadline_s, field="call_id")
    async with AsyncExitStack() as stack:
        fetch = await _opened(client, call, call_id, stack, state)
        kind = fetch.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith(NO_AUDIO):
            raise UnreadableAnswer("The API's answer is no recording.")
        state.continues(fetch.status, fetch.headers)
        pieces = await stack.enter_async_context(aclosing(state.taken(fetch)))
        yield Recording(kind or None, state.total, pieces)


async def _opened(client: Client, call: Call, call_id: str, stack: AsyncExitStack, state: Progress) -> Fetch:
    """The answer of the record's link, or, where that fails or there is none, of the API."""
    of_link: CallError | None = None
    if call.recording_url:
        try:
            return await state.waiting(stack.enter_async_context(client.links.get(call.recording_url)))
        except CallError as error:
            of_link = error
    try:
        return await state.waiting(stack.enter_async_context(client.stream(GetCallRecording(call_id=call_id))))
    except CallError as error:
        raise of_link or error from error
