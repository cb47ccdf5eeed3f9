"""PostgreSQL: what goes wrong there, and what may never be seen of it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from postgres import PostgresServer
from pydantic import SecretStr
from sqlalchemy import Connection, Text, select
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.schema import CreateTable
from unit.storage.changes import adds, names, opened

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import metadata, settings
from calltriage.errors import SettingsError, StoreError
from calltriage.settings import load_settings

PASSWORD = "canary-of-a-password"


@pytest.mark.parametrize("url", ["", "mysql://u:{}@h/d", "postgresql://u:{}@h", "postgresql://", "u:{}@h/d"])
def test_a_url_of_another_form_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CALLTRIAGE_DATABASE_URL", (url or "x").format(PASSWORD))
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        load_settings()
    assert PASSWORD not in str(caught.value)


def test_settings_do_not_show_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTRIAGE_DATABASE_URL", f"postgresql://u:{PASSWORD}@h/d")
    assert PASSWORD not in repr(load_settings())


def test_a_missing_driver_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").touch()
    program = (
        "import sys; sys.modules['psycopg'] = None; sys.argv[1:] = ['doctor']; "
        "from calltriage.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "COLUMNS": "500",
            "CALLTRIAGE_DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "uv sync --extra postgres" in done.stdout
    assert PASSWORD not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_server_of_the_tests_goes_without_a_word() -> None:
    program = (
        "import psycopg\n"
        "from postgres import PostgresServer\n"
        "with PostgresServer() as server: psycopg.connect(server.url).close()\n"
        "try: psycopg.connect(server.url)\n"
        "except psycopg.OperationalError: print('gone')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["gone"], "")


async def test_a_server_that_is_not_there_says_what_to_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(tmp_path, SecretStr(f"postgresql://u:{PASSWORD}@127.0.0.1:1/d")) as store:
        with anyio.fail_after(30), pytest.raises(StoreError, match="CALLTRIAGE_DATABASE_URL") as caught:
            await store.open()
    assert PASSWORD not in f"{caught.value!r}{caplog.text}"


async def test_a_lost_connection_is_replaced(tmp_path: Path, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        async with opened(tmp_path, SecretStr(url)) as store:
            await store.write(adds("a"))
            postgres.disconnect_all(url)
            assert await store.read(names) == {"a"}
            postgres.disconnect_all(url)
            await store.write(adds("b"))
            assert await store.read(names) == {"a", "b"}


async def test_a_connection_that_is_lost_among_waiting_writes_is_told_to_each_as_one_that_is_lost(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    errors = list[BaseException]()
    with postgres.database() as url:

        def cut(connection: Connection) -> None:
            postgres.disconnect_all(url)
            connection.execute(select(settings.c.name))

        async def write(store: Store, change: Callable[[Connection], object]) -> None:
            try:
                await store.write(change)
            except DBAPIError as error:
                errors.append(error)

        async with opened(tmp_path, SecretStr(url)) as store:
            await store.write(adds("alone"))
            async with anyio.create_task_group() as tasks:
                for change in (adds("before"), cut, adds("after")):
                    tasks.start_soon(write, store, change)
            assert [type(error) for error in errors] == [OperationalError] * 3
            assert await store.read(names) == {"alone"}


def test_every_text_is_ordered_by_code_point_whatever_the_database_s_language_is() -> None:
    for table in metadata.sorted_tables:
        ddl = str(CreateTable(table).compile(dialect=dialect()))
        texts = [column for column in table.columns if isinstance(column.type, Text)]
        assert ddl.count('TEXT COLLATE "C"') == len(texts), table.name
