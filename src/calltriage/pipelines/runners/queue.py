"""The runner for several machines: the calls of a run are jobs of a queue on PostgreSQL, shared by all processes.

One process leads: it lists calls, queues what is left by the ledger, queues lost workers' calls again, and ends the run. The
lead is a turn of the ledger. When the leader is gone, another process takes the turn and continues from the ledger.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec

import anyio

from calltriage.errors import CallError, CalltriageError, first_of
from calltriage.pipelines.dry_run import Progress
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.ledger.turns import Turn, held
from calltriage.pipelines.patience import LONGEST_PAUSE_S, PATIENCE_S, may_pass, patiently
from calltriage.pipelines.runners.jobs import Jobs, opened_jobs
from calltriage.pipelines.runners.lister import AHEAD, Lister
from calltriage.pipelines.running import Work, why_paused
from calltriage.pipelines.windows import Window

QUEUED = 2_000
"""Most calls in the queue; the rest is in the ledger alone."""
JOBS_AT_ONCE = 2
"""Jobs of a process at a time: the calls of one are read while those of the other are recorded and filed."""
LOOK_EVERY_S = 0.5
"""Seconds between two checks of what is left and whether the run was stopped."""
SHOW_EVERY_S = 2.0
"""Seconds between two reports of progress."""

logger = logging.getLogger(__name__)


def is_spread(ledger: Ledger) -> bool:
    """Whether processes share runs on this ledger: it is on PostgreSQL, and the extra `scale` is installed."""
    return ledger.url is not None and find_spec("procrastinate") is not None


@dataclass
class Share:
    """This process's share of a run.

    Attributes:
        is_watch: another task adds the calls, and the run has no end.
        leaves_paused: pause the run if this process is cancelled. Otherwise the other processes continue it.
    """

    work: Work
    run: Run
    progress: Progress
    is_watch: bool = False
    leaves_paused: bool = True
    _hint: anyio.Event = field(default_factory=anyio.Event, init=False)
    _under_way: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope], init=False)
    _over: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)
    _error: BaseException | None = field(default=None, init=False)
    _ahead: int = field(default=0, init=False)
    _led_at: float = field(default=0.0, init=False)
    """When the run last had a leader, this process or another one, by the loop's clock."""

    async def carry_out(self) -> Run:
        """Take part until the run ends or is stopped. Returns it afterwards. An error leaves it paused."""
        ledger, run_id = self.work.ledger, self.run.id
        try:
            await self.keep_working()
        except BaseException as error:
            if self.leaves_paused or isinstance(error, Exception):
                with anyio.CancelScope(shield=True):
                    await runs.end(ledger, run_id, "paused", why_paused(error))
            raise
        run = await patiently(lambda: runs.get(ledger, run_id))
        if run.state == "done":
            await self._comment()
        return run

    async def _comment(self) -> None:
        """Comment on what this process filed, of which the leader does not know. The run has ended already."""
        try:
            await patiently(self.work.filer.tell_counts)
        except Exception as error:
            if not isinstance(error, CalltriageError) and not may_pass(error):
                raise
            told = getattr(error, "code", None) or type(error).__name__
            logger.warning("comments at the end of %s were not made: %s", self.run.id, told)

    async def keep_working(self) -> None:
        """Work until the run's state is not running any more. Raises errors that every item would meet."""
        try:
            await self._work()
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        size = self.work.at_once // JOBS_AT_ONCE
        async with AsyncExitStack() as stack:
            opened = partial(opened_jobs, self.work.ledger, self.run.id, size, self._examine)
            jobs = await patiently(lambda: stack.enter_async_context(opened()))
            with self._over:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._look)
                    tasks.start_soon(self._keep_leading, jobs)
                    while True:
                        await jobs.work(JOBS_AT_ONCE, self._let_go)
                        await anyio.sleep(LOOK_EVERY_S)

    def hint(self) -> None:
        """Look for due items now."""
        self._hint.set()

    def _let_go(self) -> None:
        for scope in self._under_way:
            scope.cancel()

    async def _look(self) -> None:
        """End the work when any process ended or stopped the run."""
        looks = 0
        while await self.work.state() == "running":
            looks += 1
            if looks % round(SHOW_EVERY_S / LOOK_EVERY_S) == 0:
                await self._show()
            await anyio.sleep(LOOK_EVERY_S)
        await self._show()
        self._over.cancel()

    async def _show(self) -> None:
        run = await patiently(lambda: runs.get(self.work.ledger, self.run.id))
        listed, share, made = run.listed_calls, self.work.spec.calls.sample, run.found or None
        self.progress(run.ended, Window.of(run.window).expected(share, made, listed, is_listed=run.listed))

    # Work

    async def _examine(self, calls: list[str]) -> None:
        """Carry out a job: examine those of its calls that are due. An error ends this process's share."""
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                left = await patiently(lambda: items.left_of(self.work.ledger, self.run.id, calls))
                await self.work.batch(left)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001  it is raised by `keep_working`
                self._error = self._error or first_of(error)
                self._over.cancel()
            finally:
                self._under_way.discard(scope)

    # The lead

    async def _keep_leading(self, jobs: Jobs) -> None:
        """Lead whenever the lead is free. Raises what does not pass, and what the database says after PATIENCE_S."""
        self._led_at = anyio.current_time()
        while True:
            try:
                async with held(self.work.ledger, self.run.id) as turn:
                    if turn is not None:
                        await self._lead(turn, jobs)
                self._led_at = anyio.current_time()
                wait = LOOK_EVERY_S
            except Exception as error:  # noqa: BLE001  most of them are raised as they are
                wait = self._wait_after(first_of(error))
            await anyio.sleep(wait)

    def _wait_after(self, error: BaseException) -> float:
        """Seconds until the lead is tried again after an error of the database. Raises other errors: steps that ask the API
        have waited for it."""
        away = anyio.current_time() - self._led_at
        if isinstance(error, CallError) or not may_pass(error) or away > PATIENCE_S:
            raise error from None
        wait = min(max(away, LOOK_EVERY_S), LONGEST_PAUSE_S)
        logger.warning("waiting %.1f s to lead %s: %s", wait, self.run.id, type(error).__name__)
        return wait

    async def _lead(self, turn: Turn, jobs: Jobs) -> None:
        """Lead until the run ends, or until the turn is lost because the database is away."""
        run = await runs.get(self.work.ledger, self.run.id)
        self._ahead = run.to_do
        lister = Lister(self.work, run, self._on_page)
        async with anyio.create_task_group() as tasks:
            if not self.is_watch:
                tasks.start_soon(lister.carry_out)
            while await turn.take():
                is_listed = lister.is_done
                is_left = await self._queue_what_is_left(jobs)
                self._led_at = anyio.current_time()
                if is_listed and not is_left:
                    await patiently(self._end)
                    break
                with anyio.move_on_after(LOOK_EVERY_S):
                    await self._hint.wait()
                self._hint = anyio.Event()
            tasks.cancel_scope.cancel()

    async def _on_page(self, fresh: int) -> None:
        """Let the lister wait while more than AHEAD calls are listed and not examined."""
        self._ahead += fresh
        self.hint()
        while self._ahead > AHEAD:  # noqa: ASYNC110  other processes make room
            await anyio.sleep(LOOK_EVERY_S)

    async def _queue_what_is_left(self, jobs: Jobs) -> bool:
        """Queue due calls that no job has. Returns whether anything is queued or due."""
        await jobs.rescue()
        queued = await jobs.queued()  # before the ledger is read: what ends between the two is not queued again
        left = await items.to_do(self.work.ledger, self.run.id, len(queued) + AHEAD + 1)
        self._ahead = len(left)
        fresh = [one.call_id for one in left if one.call_id not in queued]
        await jobs.add(fresh[: max(0, QUEUED - len(queued))])
        return bool(queued or left)

    async def _end(self) -> None:
        await self.work.filer.finish()
        await self.work.forget_old()
        why = await self.work.why_waiting()
        state, told = "paused" if why else "done", why or self.work.filer.waits
        await runs.end(self.work.ledger, self.run.id, state, told)
