"""A run that writes nothing, neither issues nor to the ledger. It shows what would be found and filed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from calltriage.client.client import Client
from calltriage.errors import NotFound
from calltriage.pipelines.examining import Prepared, examine
from calltriage.pipelines.listing import asked_for, pages
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.reading import read_call
from calltriage.pipelines.spec import Spec
from calltriage.pipelines.tallies import Tally
from calltriage.pipelines.windows import Window

Progress = Callable[[int, int | None], None]
"""Gets the number of calls that are done, and of all calls of the run: an estimate until they are listed, None where nothing
is known."""
Known = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Gives those of the calls, by their ids, that runs of the pipeline have examined."""


async def dry_run(
    client: Client,
    spec: Spec,
    detectors: Sequence[Prepared],
    window: Window,
    progress: Progress,
    *,
    now: datetime,
    known: Known | None = None,
) -> Tally:
    """Examine the calls of a window that have settled by `now`, and count what is found. Memory does not grow with the
    number of calls. `known`: which calls a window that goes on after others (`Window.after`) leaves out; None: no call."""
    tally, listed, total = Tally.of(detectors), 0, window.expected(spec.calls.sample, None)
    corrected = any(one.detector.needs_corrected for one in detectors)

    async def work(calls: MemoryObjectReceiveStream[str]) -> None:
        async for call_id in calls:
            try:
                call = await patiently(lambda call_id=call_id: read_call(client, call_id, corrected=corrected))
            except NotFound:
                tally.skipped += 1
            else:
                examination = await examine(call, detectors)
                tally.add(examination, left=examination.deferred)
            progress(tally.done, total)

    send, receive = anyio.create_memory_object_stream[str](client.triage.in_flight)
    async with receive, anyio.create_task_group() as tasks:
        for _ in range(client.triage.in_flight):
            tasks.start_soon(work, receive)
        async with send:
            async for call_id, made in wanted(client, spec, window, tally, now, known=known):
                listed += 1
                total = window.expected(spec.calls.sample, made, listed)
                await send.send(call_id)
            total = listed
    progress(tally.done, total)
    return tally


async def wanted(
    client: Client, spec: Spec, window: Window, tally: Tally, now: datetime, *, known: Known | None = None
) -> AsyncGenerator[tuple[str, int | None]]:
    """The ids of a window's calls, each with the number of calls made in its time; None where that is not known. Calls of
    the API's list that have not settled are left out, and counted in the tally."""
    if window.call is not None:
        yield window.call, 1
        return
    count, total = 0, None
    async for page in pages(client, spec.calls.listing(), since=window.since, until=window.until):
        total = page.total if total is None else total
        asked = asked_for(page, spec.calls, window.after, now if window.calls is None else None)
        old = set[str]() if known is None else await known([call.call_id for call, _ in asked])
        for call, settles in asked:
            if call.call_id in old:
                continue
            if window.limit is not None and count >= window.limit:
                return
            if settles is not None:
                tally.unsettled += 1
                continue
            count += 1
            yield call.call_id, total
