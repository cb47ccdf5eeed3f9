"""Runs a pipeline from a program: `await Pipeline.load("x.toml").run(client, since="7d", dry_run=True)`."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

from calltriage.client.client import Client
from calltriage.errors import RunTaken, SettingsError
from calltriage.leaves.instants import utc_now, written
from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines import dry_run as dry
from calltriage.pipelines.alerts import alerts_of
from calltriage.pipelines.catalogue import Opening, is_users
from calltriage.pipelines.dry_run import Progress
from calltriage.pipelines.examining import Prepared, prepared
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.ledger import Ledger, findings, items, results, runs
from calltriage.pipelines.ledger.hangs import LedgerHangs
from calltriage.pipelines.ledger.keys import note_key
from calltriage.pipelines.ledger.pace import at_shared_pace, open_ledger_of
from calltriage.pipelines.ledger.purse import LedgerPurse
from calltriage.pipelines.ledger.runs import ASKED_FOR, Filed, Run
from calltriage.pipelines.ledger.turns import held
from calltriage.pipelines.listing import PAGE
from calltriage.pipelines.parts import journal_of
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.runners.embedded import Embedded, only_one
from calltriage.pipelines.runners.queue import Share, is_spread
from calltriage.pipelines.running import Work
from calltriage.pipelines.spec import Spec, read_spec, spec_hash
from calltriage.pipelines.tallies import Tally
from calltriage.pipelines.watching import Watching
from calltriage.pipelines.windows import Window, window

AGENT = "agent"
"""Who begins a run by a tool; see `ledger.runs.Origin`."""

logger = logging.getLogger(__name__)


def unheard(done: int, total: int | None) -> None:
    """The default of `progress`: ignores it."""


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, told before it starts.

    Attributes:
        calls: number of calls in the window; None if the API does not say.
        requests: requests to list and read them; None with `calls`.
        seconds: least time for these requests at the API's rate; None without a rate.
        usd: most that endpoints cost, for calls of usual length.
        asked: most requests to endpoints, without repeats of those that fail. They are not in `requests` and `seconds`.
        warning: what is odd about the run, such as that its file is another than before; None for a dry run.
    """

    calls: int | None
    requests: int | None
    seconds: float | None
    usd: float = 0.0
    asked: int = 0
    warning: str | None = None


def _unasked(estimate: Estimate) -> None:
    """The default of `on_estimate`: ignores it."""


@dataclass(frozen=True)
class Source:
    """Calls that are read from another place than the API on which issues are filed.

    Attributes:
        client: reads the calls.
        name: identifies the calls. An interrupted run is resumed if its source has the same name.
    """

    client: Client
    name: str


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        tally: what this process found.
        failures: numbers of calls on which detectors failed, by detector, whatever process examined them.
        run: its row in the ledger; None for a dry run.
        filed: what the run made of what it found; None for a dry run.
        unsettled: number of calls of the window that were left out, since they had not settled. A later run, or a watch,
            examines them.
        waiting_before: number of findings of earlier runs that wait for a person in the calls of this one.
        taken_up: runs that agents had begun and that were left; they were carried out first.
    """

    tally: Tally
    failures: Mapping[str, int]
    run: Run | None = None
    filed: Filed | None = None
    unsettled: int = 0
    waiting_before: int = 0
    taken_up: tuple[Run, ...] = ()

    @property
    def has_gone(self) -> bool:
        """Whether a call did not exist when it was read, by whatever process."""
        return bool(self.tally.skipped or (self.run is not None and self.run.counts.get("skipped")))


@asynccontextmanager
async def opened_detectors(
    client: Client, spec: Spec, *, cache: bool = True, is_dry: bool = False
) -> AsyncGenerator[tuple[Prepared, ...]]:
    """The detectors of a file while the block runs.

    The client's ledger counts what endpoints cost and, unless `is_dry`, how often users' functions took too long. With
    `cache`, answers of endpoints are kept in its data folder. Raises SpecError with a line for each fault.
    """
    if not spec.endpoint and (is_dry or not any(is_users(one.use) for one in spec.detect)):
        async with prepared(spec) as detectors:
            yield detectors
        return
    async with open_ledger_of(client) as ledger:
        purse = LedgerPurse(ledger, spec.name, spec.limits.usd_per_day)
        home, hangs = client.home, None if is_dry else LedgerHangs(ledger, spec.name)
        opening = Opening(purse=purse, data_folder=home.folder if cache else None, proxy=home.proxy, hangs=hangs)
        async with prepared(spec, opening) as detectors:
            yield detectors


def versions_of(detectors: Sequence[Prepared]) -> dict[str, str]:
    """Version hashes by the detectors' names."""
    return {one.detector.name: one.detector.version_hash for one in detectors}


def work_of(
    client: Client,
    ledger: Ledger,
    spec: Spec,
    run: Run,
    detectors: Sequence[Prepared],
    *,
    is_watching: bool = False,
    reader: Client | None = None,
) -> Work:
    """The work of a run. `reader`: the client that reads calls, if it is not the one that files."""
    seals, alerts = Seals(client.home.secret), alerts_of(spec, ledger)
    filer = Filer(client, ledger, spec, run.id, seals, journal_of(client), alerts, is_watching=is_watching)
    refile = Window.of(run.window).refile
    return Work(client, ledger, spec, run.id, detectors, filer, Tally.of(detectors), reader or client, refile=refile)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's checked file. Its detectors are made when it runs.

    Attributes:
        by: `agent` if an agent runs it, not its operator; see `ledger.runs.Origin`.
    """

    spec: Spec
    by: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> Pipeline:
        """Read and check a file. Raises SpecError with a line for each fault."""
        return cls(read_spec(Path(path)))

    @property
    def spec_hash(self) -> str:
        return spec_hash(self.spec)

    def window(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        call: str | None = None,
        limit: int | None = None,
        calls: str | None = None,
        is_next: bool = False,
        refile: bool = False,
    ) -> Window:
        """The window of settled calls that the arguments ask for; see `windows.window`. Raises SettingsError."""
        settle = self.spec.calls.settle
        return window(
            utc_now(), since=since, until=until, call=call, limit=limit, calls=calls, settle=settle, is_next=is_next,
            refile=refile,
        )  # fmt: skip

    async def estimate(self, client: Client, asked: Window, detectors: Sequence[Prepared]) -> Estimate:
        """Estimate the cost of a run over a window. Sends one request, or none for a single call."""
        made: int | None = 1
        if asked.call is None:
            listing = self.spec.calls.listing().model_copy(
                update={"start_date": asked.since, "end_date": asked.until, "limit": 1}
            )
            made = (await client.send(listing)).total_count
        calls = asked.expected(self.spec.calls.sample, made)
        if made is None or calls is None:
            return Estimate(None, None, None)
        each = 2 if any(one.detector.needs_corrected for one in detectors) else 1
        requests = calls * each + (0 if asked.call else -(-calls // PAGE))
        rate = client.triage.rate
        seconds = None if rate is None else requests / rate.per_second
        looks = [(one.detector, _most_looked_at(one, calls)) for one in detectors]
        return Estimate(
            calls,
            requests,
            seconds,
            usd=sum(detector.usd * most for detector, most in looks),
            asked=sum(detector.requests * most for detector, most in looks),
        )

    async def run(
        self,
        client: Client,
        *,
        since: str | None = None,
        until: str | None = None,
        call: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        cache: bool = True,
        calls: Source | None = None,
        is_next: bool = False,
        refile: bool = False,
        progress: Progress = unheard,
        on_estimate: Callable[[Estimate], None] = _unasked,
    ) -> Report:
        """Examine the calls of a window and file what may be filed. An interrupted run with the same arguments is resumed.
        Runs of this file that agents began, and that were interrupted, are carried out first.

        Args:
            since, until, call, limit: the calls; see `windows.window`.
            dry_run: write no issues and nothing to the ledger, except what endpoints cost and the pace of requests.
            cache: use and keep cached answers of endpoints.
            calls: read these calls instead of the API's. Findings are filed on the API if it has the call.
            is_next: leave out what runs of the pipeline have examined, and look for what they left before `since`; see
                `windows.Window.after`.
            refile: treat other words of a moment that an earlier version of a detector filed as a new moment.
            progress: gets the number of calls that are done, and of all; see `dry_run.Progress`.
            on_estimate: gets the estimate before the first call is read.

        Raises SpecError for a detector that cannot be made, SettingsError for unusable arguments or if another process works
        on the run, and CallError if the API fails for longer than `patience.PATIENCE_S`; the run is paused then.
        """
        source = None if calls is None else calls.name
        asked = self.window(
            since=since, until=until, call=call, limit=limit, calls=source, is_next=is_next, refile=refile
        )
        reader = client if calls is None else calls.client
        async with (
            at_shared_pace(reader),
            opened_detectors(client, self.spec, cache=cache, is_dry=dry_run) as detectors,
        ):
            estimate = await self.estimate(reader, asked, detectors)
            if dry_run:
                on_estimate(estimate)
                tally = await self._dry_run(client, reader, detectors, asked, progress)
                return Report(tally, tally.failures, unsettled=tally.unsettled)
            async with open_ledger_of(client) as ledger:
                taken_up = await self._take_up(client, ledger, detectors, asked)
                begun = await patiently(lambda: self._begin(ledger, "run", asked.stored(), detectors))
                on_estimate(replace(estimate, warning=begun.origin.warning(self.spec.name)))
                work = work_of(client, ledger, self.spec, begun, detectors, reader=reader)
                runner = Share if calls is None and await _is_spread(client, ledger) else Embedded
                run = await runner(work, begun, progress).carry_out()
                return await patiently(lambda: self._report(ledger, work, run, detectors, taken_up))

    async def _report(
        self, ledger: Ledger, work: Work, run: Run, detectors: Sequence[Prepared], taken_up: tuple[Run, ...]
    ) -> Report:
        failed = partial(results.failures, ledger=ledger, run_id=run.id, versions=versions_of(detectors))
        waiting = partial(findings.waiting_before, ledger=ledger, run_id=run.id, pipeline=run.pipeline)
        failures, before = await ledger.read(failed), await ledger.read(waiting)
        return Report(work.tally, failures, run, await runs.filed_by(ledger, run), run.unsettled, before, taken_up)

    async def _dry_run(
        self, client: Client, reader: Client, detectors: Sequence[Prepared], asked: Window, progress: Progress
    ) -> Tally:
        carried_out = partial(dry.dry_run, reader, self.spec, detectors, asked, progress, now=utc_now())
        if asked.after is None:
            return await carried_out()
        async with open_ledger_of(client) as ledger:
            known = partial(items.examined, ledger, pipeline=self.spec.name, spec_hash=self.spec_hash)
            return await carried_out(known=known)

    async def _begin(self, ledger: Ledger, mode: str, window: JsonObject, detectors: Sequence[Prepared]) -> Run:
        spec = self.spec
        origin = {"file": spec.path, "by": self.by, "versions": versions_of(detectors)}
        return await runs.begin(
            ledger, pipeline=spec.name, spec_hash=self.spec_hash, spec=spec.text, mode=mode, window=window | origin
        )

    async def _take_up(
        self, client: Client, ledger: Ledger, detectors: Sequence[Prepared], asked: Window
    ) -> tuple[Run, ...]:
        """Carry out what is left of runs of this file that agents began, since no command went before them.

        Not those that a person paused, that another process works on, that go on with `asked`, or of which all that is left
        is due later. One of which nothing is left to examine has to file what it found, and to end.
        """
        taken = list[Run]()
        for run in await runs.open_of(ledger, [self.spec_hash]):
            if run.origin.by != AGENT or run.why == ASKED_FOR or run.window["asked"] == asked.asked:
                continue
            if run.listed and await items.waits(ledger, run.id):
                continue
            async with held(ledger, run.id) as turn:
                is_free = turn is not None
            if is_free:
                await runs.go_on(ledger, run.id)
                runner = Share if await _is_spread(client, ledger) else Embedded
                work, left = work_of(client, ledger, self.spec, run, detectors), await runs.get(ledger, run.id)
                with suppress(RunTaken):  # by another command, since it was seen free
                    taken.append(await runner(work, left, unheard).carry_out())
        return tuple(taken)

    @asynccontextmanager
    async def watching(self, client: Client) -> AsyncGenerator[Watching]:
        """Yield what examines new calls: from where an earlier watch of this file ended, or from now on.

        Raises SettingsError if the webhook's secret is not set, or if another process watches this pipeline.
        """
        secret = of_environment(self.spec.watch.webhook_secret)
        now = written(utc_now())
        async with opened_detectors(client, self.spec) as detectors, open_ledger_of(client) as ledger:
            window = {"since": now, "until": None, "call": None, "limit": None, "asked": "watch"}
            begun = await self._begin(ledger, "watch", window, detectors)
            if begun.origin.other_file is not None:
                logger.warning("%s", begun.origin.warning(self.spec.name))
            async with only_one(ledger, f"watch-{self.spec.name}"):
                work = work_of(client, ledger, self.spec, begun, detectors, is_watching=True)
                hands = Share(work, begun, unheard, is_watch=True) if await _is_spread(client, ledger) else None
                yield Watching(work, begun, secret, hands)


def _most_looked_at(one: Prepared, calls: int) -> int:
    """How many of the calls a detector examines at most. What `always_if` names may find something in each of them."""
    sample = one.detect.sample
    return calls if sample.always_if else ceil(calls * sample.rate)


async def _is_spread(client: Client, ledger: Ledger) -> bool:
    """Whether workers may take part in this run. Records the sealing key that they must have."""
    if not is_spread(ledger):
        return False
    await patiently(lambda: note_key(ledger, Seals(client.home.secret)))
    return True


def of_environment(reference: str | None) -> str | None:
    """The value of a reference `env:NAME`; None for None. Raises SettingsError if the variable is not set."""
    if reference is None:
        return None
    name = reference.removeprefix("env:")
    if not (value := os.environ.get(name)):
        raise SettingsError(f"The environment variable {name}, which the pipeline's file names, is not set.")
    return value
