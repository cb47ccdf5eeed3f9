"""The queue's connections to PostgreSQL. A statement whose connection breaks is sent again on another one.

Without that, a job whose end could not be written stays "doing" while its worker lives, and nobody takes its calls up again.
"""

from __future__ import annotations

from typing import Any

import anyio
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

PAUSES_S = (0.0, 0.2, 1.0)
"""Seconds before each further try."""


class PatientConnector(PsycopgConnector):
    """Sends a statement that answers nothing again: the end of a job, a heartbeat. Twice does no harm: the end of a job that
    has ended is refused. While no connection can be had, the database is away, and the caller hears it at once."""

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        for pause_s in PAUSES_S:
            try:
                return await super().execute_query_async(query, **arguments)
            except ConnectorException as error:
                if not isinstance(error.__cause__, OperationalError) or isinstance(error.__cause__, PoolTimeout):
                    raise
            await anyio.sleep(pause_s)
        return await super().execute_query_async(query, **arguments)
