"""A database on a PostgreSQL server, for any number of processes. It answers as the SQLite file does."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SecretStr
from pydantic_core import from_json

from calltriage.errors import StoreError
from calltriage.storage.transactions import writing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

CONNECT_S = 10
"""Seconds that reaching the server may take."""
SILENT_MS = 30_000
"""Milliseconds after which a writer that has fallen silent is cut off."""
PREPARING_S = 600
"""Seconds to wait while another process makes or changes the tables."""
ADVICE = "Check CALLTRIAGE_DATABASE_URL, that the server runs, and that its user may use the database"
RIGHTS = (
    "its user lacks rights. Let it create tables in the database's schema, and read and write those that are there, or "
    "name another user in CALLTRIAGE_DATABASE_URL"
)
BY_STATE = {
    "42501": RIGHTS,
    "25006": "its server only reads, as a standby does. Name one that takes writes in CALLTRIAGE_DATABASE_URL",
    "53100": "its server has no space left on its disk. Make room there",
}
"""What an operator is told of an error, by PostgreSQL's own code. One that comes while connecting brings no code."""
BY_WORDS = (
    (r"failed to resolve|could not translate", "its host is not known. Check the name in CALLTRIAGE_DATABASE_URL"),
    (
        r"Connection refused|No such file or directory",
        "nothing answers at its address. Start the server, or check host and port in CALLTRIAGE_DATABASE_URL",
    ),
    (
        r"timeout expired|timed out|unreachable|No route",
        "its server does not answer. Check host and port in CALLTRIAGE_DATABASE_URL, and the network",
    ),
    (
        r"authentication failed|no password supplied|role \"\" does not exist",
        "its server does not accept the user and password. Check both in CALLTRIAGE_DATABASE_URL",
    ),
    (r"no pg_hba\.conf entry", "its server lets this user not in from here. Add a line to its pg_hba.conf"),
    (r"database \"\" does not exist", "its server has no such database. Create it, or name another one in "
     "CALLTRIAGE_DATABASE_URL"),
    (r"permission denied", RIGHTS),
    (r"too many (clients|connections)|connection slots", "its server has no connection left. Raise its max_connections"),
    (r"unrecognized configuration parameter", "its server is older than PostgreSQL 12. Use a newer one"),
    (r"starting up|shutting down|recovery", "its server is starting or ending. Wait, and try again"),
    (r"SSL|certificate", "no encrypted connection to its server can be made. Check sslmode and sslrootcert in "
     "CALLTRIAGE_DATABASE_URL"),
)  # fmt: skip
"""The same by the words of an error that came while connecting, names in quotes left out."""


@dataclass
class PostgresDatabase:
    """The database that a `postgresql://` URL names. The URL holds a password, so it is never shown."""

    is_local: ClassVar[bool] = False
    url: SecretStr

    def open(self) -> Engine:
        from sqlalchemy import create_engine, event, make_url  # noqa: PLC0415  half a second of import

        engine = create_engine(
            make_url(self.url.get_secret_value()).set(drivername="postgresql+psycopg"),
            pool_size=16,
            max_overflow=0,
            pool_pre_ping=True,  # the server may have been restarted since
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_S,
                "application_name": "calltriage",
                "client_encoding": "utf8",
                # A plan made for any text at all reads every row; one for the text at hand knows that it is rare.
                "options": f"-c synchronous_commit=on -c plan_cache_mode=force_custom_plan "
                f"-c idle_in_transaction_session_timeout={SILENT_MS}",
            },
            json_serializer=compact,
            json_deserializer=value_of,
        )
        event.listen(engine, "begin", _on_begin)
        return engine

    @contextmanager
    def preparing(self, engine: Engine) -> Generator[None]:
        """Held by one process at a time: an advisory lock of a session of its own, which ends with it."""
        from sqlalchemy import exc  # noqa: PLC0415

        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"SET lock_timeout = '{PREPARING_S}s'")
                connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_key("calltriage: preparing"),))
                try:
                    yield
                finally:
                    connection.invalidate()
        except exc.SQLAlchemyError as error:
            why = refusal(error) or f"{type(error).__name__}. {ADVICE}"
            raise StoreError(f"The PostgreSQL database cannot be used: {why}.") from None

    def enter(self, connection: Connection, lanes: Iterable[str]) -> None:
        """Wait for the lanes, in one order everywhere; they are free again when the transaction ends.

        A lane makes its writers one after another, over all processes, as SQLite does with all of them. So what one of
        them has looked up still holds when it writes, and rows are numbered in the order in which they appear.
        """
        keys = sorted({_key(lane) for lane in lanes})
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", (keys,))

    def confirm(self, connection: Connection) -> None:
        """A server has its databases at one place."""

    def try_out(self, engine: Engine) -> None:
        """A server that only reads, such as a standby, gives no transaction a number. Its disk is its own matter."""
        with writing(engine) as connection:
            connection.exec_driver_sql("SELECT txid_current()")

    def is_busy(self, error: BaseException) -> bool:
        from psycopg.errors import LockNotAvailable  # noqa: PLC0415
        from sqlalchemy import exc  # noqa: PLC0415

        return isinstance(error, exc.DBAPIError) and isinstance(error.orig, LockNotAvailable)

    def release(self) -> None:
        """Nothing but the engine's connections was taken."""


def refusal(error: SQLAlchemyError) -> str | None:
    """What is wrong with a server that raised an error, and what to do; None for one that says nothing of the kind. It shows
    neither the server's words nor the URL."""
    cause = getattr(error, "orig", None)
    words = re.sub(r'"[^"]*"', '""', str(cause))
    by_words = (told for pattern, told in BY_WORDS if re.search(pattern, words, re.IGNORECASE))
    state = getattr(cause, "sqlstate", None)
    return next(by_words, None) if state is None else BY_STATE.get(state)


def _key(lane: str) -> int:
    """The lane's number among PostgreSQL's advisory locks."""
    return int.from_bytes(hashlib.blake2b(lane.encode(), digest_size=8).digest(), signed=True)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def value_of(text: str) -> Any:
    """The value of JSON that was stored here, twice as fast as the standard library reads it."""
    try:
        return from_json(text)
    except ValueError:  # it holds a lone surrogate as an escape
        return json.loads(text)


def _on_begin(connection: Connection) -> None:
    """A reader sees one state throughout; a writer sees what others have committed before each statement."""
    from psycopg import IsolationLevel  # noqa: PLC0415

    driver: Any = connection.connection.driver_connection
    options = connection.get_execution_options()
    writes = options.get("begin") == "IMMEDIATE"
    driver.isolation_level = IsolationLevel.READ_COMMITTED if writes else IsolationLevel.REPEATABLE_READ
    driver.read_only = not writes
    if "wait_ms" in options:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {options['wait_ms']}")
