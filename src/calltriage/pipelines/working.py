"""A worker: takes part in all runs of its pipelines' files, whichever process began them, until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio

from calltriage.client.client import Client
from calltriage.errors import CalltriageError, SettingsError
from calltriage.leaves.installed import how_to_add
from calltriage.leaves.seals import Seals
from calltriage.pipelines.examining import Prepared
from calltriage.pipelines.ledger import Ledger, items, runs
from calltriage.pipelines.ledger.keys import has_key
from calltriage.pipelines.ledger.pace import open_ledger_of
from calltriage.pipelines.ledger.runs import ASKED_FOR, Run
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.pipeline import Pipeline, opened_detectors, unheard, work_of
from calltriage.pipelines.runners.queue import Share, is_spread

LOOK_EVERY_S = 1.0
"""Seconds between two reads of the open runs."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
"""Seconds before a run that failed in this process is tried again: doubled each time up to the longest."""

logger = logging.getLogger(__name__)


@dataclass
class Worker:
    """Takes part in running runs, and resumes paused ones with work left, unless a person paused them."""

    client: Client
    pipelines: Sequence[Pipeline]
    _under_way: set[str] = field(default_factory=set[str], init=False)
    _pauses: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]], init=False)
    """For each run that failed here: when it is tried again (loop's clock), and the last pause in seconds."""

    async def carry_out(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled. `on_ready` is called when the work begins.

        Raises SettingsError without PostgreSQL or the extra `scale`, SpecError for a wrong file.
        """
        async with AsyncExitStack() as stack:
            ledger = await stack.enter_async_context(open_ledger_of(self.client))
            if not is_spread(ledger):
                raise SettingsError(
                    "A worker needs a PostgreSQL database that it shares with others: set CALLTRIAGE_DATABASE_URL, and "
                    f"{how_to_add('scale')}."
                )
            made = {
                one.spec_hash: (one, await stack.enter_async_context(opened_detectors(self.client, one.spec)))
                for one in self.pipelines
            }
            on_ready()
            async with anyio.create_task_group() as tasks:
                while True:
                    for run in await patiently(lambda: runs.open_of(ledger, list(made))):
                        if run.id not in self._under_way and await self._goes_on(ledger, run):
                            self._under_way.add(run.id)
                            tasks.start_soon(self._take_part, ledger, run, made)
                    await anyio.sleep(LOOK_EVERY_S)

    async def _goes_on(self, ledger: Ledger, run: Run) -> bool:
        """Whether this worker should take part in a run now."""
        if anyio.current_time() < self._pauses.get(run.id, (0.0, 0.0))[0] or "calls=" in run.window["asked"]:
            return False  # it failed here a moment ago; or its calls are in a file of another machine
        if run.state == "running":
            return True
        if run.mode != "run" or run.why == ASKED_FOR:
            return False
        return not run.listed or bool(await patiently(lambda: items.to_do(ledger, run.id, 1)))

    async def _take_part(
        self, ledger: Ledger, run: Run, made: Mapping[str, tuple[Pipeline, tuple[Prepared, ...]]]
    ) -> None:
        pipeline, detectors = made[run.spec_hash]
        is_watch = run.mode == "watch"
        work = work_of(self.client, ledger, pipeline.spec, run, detectors, is_watching=is_watch)
        logger.info("takes part in %s of %s", run.id, run.pipeline)
        try:
            await self._check_key(ledger)
            if run.state != "running":
                await patiently(lambda: runs.go_on(ledger, run.id))
            ended = await Share(work, run, unheard, is_watch=is_watch, leaves_paused=False).carry_out()
        except CalltriageError as error:
            before = self._pauses.get(run.id, (0.0, FIRST_PAUSE_S / 2))[1]
            pause = min(2 * before, LONGEST_PAUSE_S)
            self._pauses[run.id] = anyio.current_time() + pause, pause
            logger.error("%s failed here and is tried again in %.0f s: %s", run.id, pause, error)
        else:
            self._pauses.pop(run.id, None)
            logger.info("%s is %s: %d calls examined here", run.id, ended.state, work.tally.calls)
        finally:
            self._under_way.discard(run.id)

    async def _check_key(self, ledger: Ledger) -> None:
        if not await patiently(lambda: has_key(ledger, Seals(self.client.home.secret))):
            raise SettingsError(
                "The machine that began this run has another sealing key. Set CALLTRIAGE_SEALING_KEY to one value on all "
                "machines that share runs."
            )
