"""The queue's connections to PostgreSQL. A statement whose connection breaks is sent again on another one.

Without that, a job whose end could not be written stays "doing" while its worker lives, and nobody takes its calls up again.
"""

from __future__ import annotations

from typing import Any

from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

PAUSES_S = (0.0, 0.2, 1.0)
"""Seconds before each further try."""


def _is_broken(error: BaseException) -> bool:
    """Whether the connection broke; a pool that has none to give says that the database is away."""
    cause = error.__cause__ if isinstance(error, ConnectorException) else None
    return isinstance(cause, OperationalError) and not isinstance(cause, PoolTimeout)


class PatientConnector(PsycopgConnector):
    """Sends a statement that answers nothing again: the end of a job, a heartbeat. Twice does no harm: the end of a job that
    has ended is refused. While no connection can be had, the database is away, and the caller hears it at once."""

    @retry(
        retry=retry_if_exception(_is_broken),
        wait=wait_chain(*map(wait_fixed, PAUSES_S)),
        stop=stop_after_attempt(1 + len(PAUSES_S)),
        reraise=True,
    )
    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        await super().execute_query_async(query, **arguments)
