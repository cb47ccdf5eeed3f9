"""Watches for new calls: polls the list and takes webhooks, waits until calls have settled, and examines them.

The list is read from a watermark. A call may appear in it after calls that began later, if it ends later. So each poll
begins OVERLAP before the newest call seen, and not after the begin of the oldest call that has not ended, unless it began
LONGEST_CALL ago. A call whose date lies in the future does not move the watermark, which never passes the present time; one
that lies in the future, after the clock went wrong, is taken back by LONGEST_CALL. A webhook is only a hint: its call is
read by its id like any other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from calltriage.errors import first_of
from calltriage.leaves.instants import instant, written
from calltriage.leaves.seals import is_signature, may_be_signature
from calltriage.leaves.webhooks import MAX_WEBHOOK, SIGNATURE_HEADER
from calltriage.operations.calls import Call
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.items import Listed
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.listing import is_sampled, is_under_way, pages, settled_at
from calltriage.pipelines.metrics import metrics
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.running import Work, why_paused
from calltriage.pipelines.windows import LONGEST_CALL

if TYPE_CHECKING:
    from sqlalchemy import Connection

OVERLAP = timedelta(minutes=15)
"""How far before the newest call seen a poll begins: a list may show a call late."""
IDLE_S = 0.5
"""Seconds between two reads of the ledger while nothing is due."""
TIDY_EVERY_S = 3_600.0
"""Seconds between two looks for what is left: old findings' words, findings that wait, counts that are not told."""
BATCH = 200
"""Items that are examined before their findings are filed."""
CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


class Hands(Protocol):
    """Examines due items, perhaps with other processes."""

    async def keep_working(self) -> None:
        """Work until the run is stopped. Raises errors that every item would meet."""
        ...

    def hint(self) -> None:
        """Look for due items now."""
        ...


@dataclass
class Watching:
    """Examines calls as they end, until it is cancelled or the run is stopped.

    Attributes:
        secret: key of webhooks' signatures; None: webhooks are refused.
        hands: examines due items; None: this process does so alone.
    """

    work: Work
    run: Run
    secret: str | None = None
    hands: Hands | None = None
    _hint: anyio.Event = field(default_factory=anyio.Event, init=False)

    async def carry_out(self) -> None:
        """Poll and examine until the run is stopped. Raises errors that every item would meet. An error or a cancellation
        leaves the run paused."""
        ledger, run_id = self.work.ledger, self.run.id
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_looking)
                tasks.start_soon(self._keep_tidying)
                await (self.hands or self).keep_working()
                tasks.cancel_scope.cancel()
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await runs.end(ledger, run_id, "paused", why_paused(first_of(error)))
            raise

    async def _keep_looking(self) -> None:
        while True:
            await patiently(self.look)
            await patiently(self.work.filer.tell_rates)
            await anyio.sleep(self.work.spec.watch.every.total_seconds())

    async def _keep_tidying(self) -> None:
        while True:
            await patiently(self.work.forget_old)
            await patiently(self.work.filer.file_left)
            await patiently(self.work.filer.tell_left)
            await anyio.sleep(TIDY_EVERY_S)

    async def look(self) -> None:
        """Poll: add new calls of the list to the run, each page with its watermark in one commit; and calls that runs of the
        pipeline left out, which may have begun before the watch."""
        ledger, spec, now = self.work.ledger, self.work.spec, self.work.ledger.clock()
        run = await runs.get(ledger, self.run.id)
        mark = _reached(run.watermark, self.run.window["since"], now)
        left = await ledger.read(
            lambda it: items.left_by_runs(it, ledger, run.id, spec.name, written(now - LONGEST_CALL))
        )
        if left:
            await self._add(left, written(mark))
        since, unended = written(mark - OVERLAP), list[datetime]()
        listing = spec.calls.listing().model_copy(update={"completed": None} if spec.calls.completed else {})
        async for page in pages(self.work.reader, listing, since=since):
            fresh, begun = self._sorted(page.calls, now)
            unended += begun
            made = [one for one in (instant(call.created_at) for call in page.calls) if one is not None]
            newest = max([mark, *(one for one in made if one <= now)])
            mark = min([newest, *unended])
            await self._add(fresh, written(mark))
            if any(one > now for one in made):  # what follows is dated later still, and is read when its time comes
                return

    def _sorted(self, calls: tuple[Call, ...], now: datetime) -> tuple[list[Listed], list[datetime]]:
        """The calls that have ended, as items due when they have settled; and the begins of the calls that have not."""
        spec, fresh, unended = self.work.spec.calls, list[Listed](), list[datetime]()
        for call in calls:
            if is_under_way(call) and spec.completed:
                if call.began is not None and now - call.began < LONGEST_CALL:
                    unended.append(call.began)
            elif is_sampled(call.call_id, spec.sample, "call:"):
                due = settled_at(call, spec.settle)
                due = None if due is None else min(due, now + spec.settle)  # it has ended, whatever its date says
                fresh.append(Listed(call.call_id, call.created_at, due))
        return fresh, unended

    async def _add(self, fresh: list[Listed], watermark: str) -> None:
        ledger, run_id = self.work.ledger, self.run.id
        add = items.added(ledger, run_id, fresh)
        note = runs.progressed(ledger, run_id, watermark, listed=False, found=0)

        def change(connection: Connection) -> None:
            add(connection)
            note(connection)

        await ledger.write(change)
        self._tell()

    async def keep_working(self) -> None:
        """Examine due items until the run is stopped."""
        while await self.work.state() == "running":
            batch = await patiently(lambda: items.to_do(self.work.ledger, self.run.id, BATCH))
            if not batch:
                self._hint = anyio.Event()
                with anyio.move_on_after(IDLE_S):
                    await self._hint.wait()
                continue
            await self.work.batch(batch)

    async def hint(self, call_id: str) -> None:
        """Make a call due that is said to have ended or changed: `settle` from now."""
        due = self.work.ledger.clock() + self.work.spec.calls.settle
        again = items.again(self.work.ledger, self.run.id, call_id, due)
        await self.work.ledger.write(again)
        self._tell()

    def _tell(self) -> None:
        self._hint.set()
        if self.hands is not None:
            self.hands.hint()

    def app(self) -> Starlette:
        """An ASGI app: `POST /webhook` takes hints, `GET /metrics` shows figures."""
        return Starlette(
            routes=[
                Route("/webhook", self._webhook, methods=["POST"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ]
        )

    async def _webhook(self, request: Request) -> Response:
        """Take the vendor's post-call webhook, with SIGNATURE_HEADER."""
        signature = request.headers.get(SIGNATURE_HEADER, "")
        if self.secret is None or not may_be_signature(signature):
            return _said(401, "Unsigned, or this pipeline takes no webhooks. Set [watch] webhook_secret.")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_WEBHOOK:
                return _said(413, "Larger than a webhook may be.")
        if not is_signature(signature, self.secret.encode(), bytes(body)):
            return _said(401, "The signature is not one of this pipeline's secret.")
        call_id = _call_of(bytes(body))
        if call_id is None:
            return _said(400, "The body names no call_id.")
        await self.hint(call_id)
        return _said(202, "noted")

    async def _metrics(self, request: Request) -> Response:  # noqa: ARG002  Starlette's signature
        text = await metrics(self.work.ledger, self.run, self.work.tally)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _reached(watermark: str | None, since: str, now: datetime) -> datetime:
    """How far the list has been read: the watermark, else the begin of the watch. Neither is trusted if it lies in the
    future: the calls of the last LONGEST_CALL are listed again then."""
    begun = instant(since) or now
    mark = instant(watermark) or begun
    if mark <= now:
        return mark
    return max(now - LONGEST_CALL, begun) if begun <= now else now - LONGEST_CALL


def _call_of(body: bytes) -> str | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = told.get("call_id") if isinstance(told, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  JSON
    return found if isinstance(found, str) and CALL_ID.fullmatch(found) else None


def _said(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status)
