"""The queue of one run on PostgreSQL, with procrastinate. A job is a few calls that one worker examines.

The ledger says which calls are left, so a job may be lost or run twice: lost calls are queued again, and calls that are done
are skipped. Jobs use no locks of procrastinate, since a lost worker's lock would never be freed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from calltriage.errors import StoreBusyError, StoreError
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.turns import alone

if TYPE_CHECKING:
    from procrastinate import App, JobContext
    from procrastinate.jobs import Job
    from procrastinate.types import JSONDict
    from procrastinate.worker import Worker
    from psycopg import AsyncConnection

TASK = "examine"
HEARTBEAT_S = 3.0
"""Seconds between two heartbeats of a worker."""
STALLED_S = 15.0
"""Seconds without a heartbeat after which a worker counts as lost and its jobs are queued again."""
LOOK_EVERY_S = 2.0
"""Seconds between two polls for jobs, in case a notification of a new job is lost, and between two looks for lost ends."""
CONNECT_S = 10.0
CONNECTIONS = 4

Examine = Callable[[list[str]], Awaitable[None]]

logger = logging.getLogger(__name__)


class _Elsewhere(logging.Filter):
    """Drops log records of the queue's connection errors, which this module logs itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

        return record.exc_info is None or not isinstance(record.exc_info[1], ConnectorException)


ELSEWHERE = _Elsewhere()
LIBRARIES = ("procrastinate", "psycopg.pool")
"""Loggers that are silenced: they log each lost connection with its address and a traceback."""


@contextmanager
def _told() -> Generator[None]:
    """Turn the queue's errors into StoreBusyError, if the database is away, or StoreError."""
    from procrastinate.exceptions import ConnectorException  # noqa: PLC0415
    from psycopg import OperationalError  # noqa: PLC0415

    try:
        yield
    except OperationalError as error:
        raise StoreBusyError("The database of the queue is away.") from error
    except ConnectorException as error:
        cause = error.__cause__
        if isinstance(cause, OperationalError):
            raise StoreBusyError("The database of the queue is away.") from error
        raise StoreError(
            f"The queue on PostgreSQL cannot be used ({type(cause).__name__}). Its user must be allowed to create tables, "
            "types and functions in the database of CALLTRIAGE_DATABASE_URL."
        ) from error


@dataclass
class Jobs:
    """The jobs of a run. Raises StoreBusyError while the database is away.

    Attributes:
        size: most calls of a job. They are examined concurrently.
        under_way: ids of the jobs that this process is working on.
    """

    app: App
    queue: str
    size: int
    under_way: set[int | None]

    async def queued(self) -> set[str]:
        """Ids of the calls of waiting and running jobs."""
        with _told():
            waiting = await self.app.job_manager.list_jobs_async(queue=self.queue, status="todo")
            begun = await self.app.job_manager.list_jobs_async(queue=self.queue, status="doing")
        return {call_id for job in (*waiting, *begun) for call_id in _calls(job)}

    async def add(self, calls: Sequence[str]) -> None:
        """Queue calls in jobs of `size`."""
        if not calls:
            return
        batches: list[JSONDict] = [
            {"calls": list(calls[at : at + self.size])} for at in range(0, len(calls), self.size)
        ]
        with _told():
            await self.app.configure_task(TASK, queue=self.queue).batch_defer_async(*batches)

    async def rescue(self) -> None:
        """Queue the jobs of lost workers again."""
        with _told():
            stalled = await self.app.job_manager.get_stalled_jobs(queue=self.queue, seconds_since_heartbeat=STALLED_S)
        for job in stalled:
            logger.warning("%d calls of a lost worker are queued again", len(_calls(job)))
            await self._again(job)

    async def _again(self, job: Job) -> None:
        """Queue a job again. If it has ended meanwhile, or the database is away, the next look tells."""
        from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

        with suppress(ConnectorException):
            await self.app.job_manager.retry_job(job)

    async def work(self, at_once: int, let_go: Callable[[], None]) -> None:
        """Run up to `at_once` jobs at a time until cancelled. Returns if the database goes away, when no job runs any more.

        `let_go` cancels the running jobs.
        """
        from procrastinate.worker import Worker  # noqa: PLC0415

        worker = Worker(
            self.app, [self.queue], concurrency=at_once, fetch_job_polling_interval=LOOK_EVERY_S,
            delete_jobs="always", install_signal_handlers=False, update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_S,
        )  # fmt: skip
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_run, worker.run, tasks.cancel_scope)
            tasks.start_soon(self._find_lost_ends, worker)
            try:
                await anyio.sleep_forever()
            finally:
                worker.stop()
                let_go()

    async def _find_lost_ends(self, worker: Worker) -> None:
        """Queue a worker's own jobs again that have ended here and not in the database, which a crash of the server, or a
        broken connection, may leave so. Nobody else would: their worker is not lost."""
        from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

        seen = set[int | None]()
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            if worker.worker_id is None:
                continue
            try:
                begun = await self.app.job_manager.list_jobs_async(
                    queue=self.queue, status="doing", worker_id=worker.worker_id
                )
            except ConnectorException:
                continue
            lost = [job for job in begun if job.id not in self.under_way]
            for job in lost:
                if job.id in seen:  # one that was not seen before may begin or end at this moment
                    logger.warning("the end of a job of %d calls was lost; it is queued again", len(_calls(job)))
                    await self._again(job)
            seen = {job.id for job in lost}


async def _run(run: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    """Run a worker, shielded: it ends when `stop` is called. Repeated cancellation would interrupt its clean-up."""
    from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

    with anyio.CancelScope(shield=True):
        try:
            await run()
        except ConnectorException as error:
            logger.warning("the queue's worker ended: %s", type(error.__cause__).__name__)
    scope.cancel()


async def _without_transactions(connection: AsyncConnection[Any]) -> None:
    """Each statement of the queue stands alone, and BEGIN and COMMIT would be two more round trips. (As an argument of the
    connection it would meet the library's own for its listener.)"""
    await connection.set_autocommit(True)


def _calls(job: Job) -> list[str]:
    found = job.task_kwargs.get("calls")
    return [call for call in found if isinstance(call, str)] if isinstance(found, list) else []


@asynccontextmanager
async def opened_jobs(ledger: Ledger, run_id: str, size: int, examine: Examine) -> AsyncGenerator[Jobs]:
    """The queue of a run on the ledger's database while the block runs. `examine` gets the call ids of each job, of which
    those that are added here have at most `size`.

    Raises StoreBusyError if the database is away, StoreError if its user may not create the queue's tables.
    """
    from procrastinate import App  # noqa: PLC0415

    from calltriage.pipelines.runners.connector import PatientConnector  # noqa: PLC0415

    url = "" if ledger.url is None else ledger.url.get_secret_value()
    options = {
        "application_name": "calltriage", "connect_timeout": round(CONNECT_S),
        # The ledger knows what is left: a job that a crash of the server takes with it is queued again.
        "options": "-c synchronous_commit=off",
    }  # fmt: skip
    connector = PatientConnector(
        conninfo=url,
        min_size=1,
        max_size=CONNECTIONS,
        timeout=CONNECT_S,
        kwargs=options,
        configure=_without_transactions,
    )
    app = App(connector=connector)
    under_way = set[int | None]()

    @app.task(name=TASK, pass_context=True)
    async def _(context: JobContext, *, calls: list[str]) -> None:
        under_way.add(context.job.id)
        try:
            await examine(calls)
        finally:
            under_way.discard(context.job.id)

    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(ELSEWHERE)
    with _told():
        await app.open_async()
    try:
        async with alone(ledger, "the queue's tables"):
            with _told():
                if not await app.check_connection_async():
                    await app.schema_manager.apply_schema_async()
        yield Jobs(app, f"calltriage_{run_id}", size, under_way)
    finally:
        with anyio.CancelScope(shield=True):
            await app.close_async()
