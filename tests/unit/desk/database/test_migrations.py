"""A desk of an older version becomes one of today's, after a backup, once, or not at all.

`version_1.sql` is a dump of a folder that version 1 made and worked on.
"""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import DESK_URL, KEY, call_line, load_lines
from postgres import PostgresServer
from pydantic import SecretStr
from sqlalchemy import JSON, Boolean, Connection, MetaData, Table, create_engine, delete, update

from calltriage.desk.app import Desk
from calltriage.desk.database.migrations import v10
from calltriage.desk.database.store import SCHEMA_VERSION, Store
from calltriage.desk.database.tables import call_words, calls, issues, metadata, settings
from calltriage.desk.http.access import digest
from calltriage.errors import StoreError
from calltriage.leaves.strict_json import JsonObject
from calltriage.storage.sqlite import sqlite_driver

DRIVER: Any = sqlite_driver()
DUMP = (Path(__file__).parent / "version_1.sql").read_text(encoding="utf-8")
BACKUP = "desk.version-1.sqlite3"


def as_version_1(old: Path, url: str) -> None:
    """Make of an empty PostgreSQL database a desk of version 1, with what the dump holds."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection, closing(DRIVER.connect(old / "desk.sqlite3")) as source:
        metadata.create_all(connection)
        version_1 = MetaData()
        for table in metadata.sorted_tables:
            known = {row[1] for row in source.execute(f"PRAGMA table_info({table.name})")}
            if not known:
                table.drop(connection)
                continue
            for index in table.indexes:
                if not source.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (index.name,)).fetchone():
                    index.drop(connection)
            for column in table.columns:
                if column.name not in known:
                    connection.exec_driver_sql(f'ALTER TABLE {table.name} DROP COLUMN "{column.name}"')
            there = Table(table.name, version_1, autoload_with=connection)
            cursor = source.execute(f"SELECT * FROM {table.name}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                values = dict(zip(names, row, strict=True))
                for column in there.columns:
                    if isinstance(column.type, JSON) and values[column.name] is not None:
                        values[column.name] = json.loads(values[column.name])
                    elif isinstance(column.type, Boolean) and values[column.name] is not None:
                        values[column.name] = bool(values[column.name])
                connection.execute(there.insert().values(**values))
            if "seq" in names:
                last = f"SELECT max(seq) FROM {table.name}"
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'seq'), ({last})) WHERE ({last}) IS NOT NULL"
                )
        for name in GONE:
            columns = [row[1] for row in source.execute(f"PRAGMA table_info({name})")]
            first, *rest = (f'{column} TEXT COLLATE "C" NOT NULL' for column in columns)
            connection.exec_driver_sql(f"CREATE TABLE {name} ({', '.join([f'{first} PRIMARY KEY', *rest])})")
            there = Table(name, version_1, autoload_with=connection)
            for row in source.execute(f"SELECT * FROM {name}").fetchall():
                connection.execute(there.insert().values(**dict(zip(columns, row, strict=True))))
    engine.dispose()


GONE = ("api_keys", "client_keys")
"""Tables of version 1 that no desk has any more."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder of version 1."""
    folder = tmp_path / "desk"
    folder.mkdir()
    with closing(DRIVER.connect(folder / "desk.sqlite3")) as database:
        database.executescript(DUMP)
    return folder


def ask(file: Path, query: str) -> list[Any]:
    with closing(DRIVER.connect(file)) as database:
        return database.execute(query).fetchall()


def http_of(desk: Desk, key: str = KEY) -> httpx2.AsyncClient:
    """A client of the desk's HTTP."""
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": key})


VERSION = "SELECT value FROM settings WHERE name = 'schema_version'"


async def test_what_an_older_version_wrote_is_there_and_can_be_searched(old: Path) -> None:
    desk = Desk(old, SecretStr(KEY), DESK_URL)
    async with http_of(desk) as http:

        async def titles(**query: str) -> list[str]:
            answer = await http.get("/v1/triage/issues", params={"sort": "created_at", "order": "asc", **query})
            return [item["title"] for item in answer.json()["data"]["items"]]

        assert await titles() == ["Debit card lost", "Straße gesperrt", "退款 refund", "Long hold"]
        assert await titles(search="DEBIT card") == ["Debit card lost"]
        assert await titles(search="strasse") == ["Straße gesperrt"]
        assert await titles(search="退") == ["退款 refund"]
        assert await titles(search="card “debit”") == ["Debit card lost"]
        assert await titles(search="car") == []
        assert await titles(search="100%") == ["Debit card lost"]
        assert await titles(category="hold time") == ["Straße gesperrt", "Long hold"]
        found = await http.get(
            "/v1/calls", params={"from_number": "+15550100", "completed": "true", "duration_gt": "2.9"}
        )
        assert [call["call_id"] for call in found.json()["calls"]] == ["call-rich"]
        made = await http.post("/v1/triage/issues", json={"title": "New", "severity": "low", "category": "Bug"})
        assert made.json()["data"]["triage_id"] == "T-1005"
    await desk.close()


async def test_the_folder_is_backed_up_first(old: Path) -> None:
    before = ask(old / "desk.sqlite3", "SELECT * FROM issues")
    store = Store(old)
    await store.open()
    await store.close()
    assert ask(old / "desk.sqlite3", VERSION) == [(str(SCHEMA_VERSION),)]
    assert ask(old / BACKUP, VERSION) == [("1",)]
    assert ask(old / BACKUP, "SELECT * FROM issues") == before
    assert ask(old / BACKUP, "PRAGMA integrity_check") == [("ok",)]
    assert (old / BACKUP).stat().st_mode & 0o077 == 0 or sys.platform == "win32"
    assert not list(old.glob("*.draft"))


def difference(connection: Connection) -> list[Any]:
    """What sets a database's tables apart from those of a new desk, but for the search index, which is made by hand."""

    def ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        ours = ("issue_gram", "call_terms") if kind == "table" else ("issues_by_words", "call_words_by_term")
        return not (name or "").startswith(ours)

    context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
    return compare_metadata(context, metadata)


async def test_migrating_makes_the_tables_that_a_new_desk_has(old: Path, tmp_path: Path) -> None:
    def named(connection: Connection) -> set[tuple[str, str]]:
        return {tuple(row) for row in connection.exec_driver_sql("SELECT type, name FROM sqlite_master")}

    store, new = Store(old), Store(tmp_path / "new")
    assert await store.read(difference) == []
    assert await store.read(named) == await new.read(named)
    await store.close()
    await new.close()


async def test_a_database_of_an_older_version_becomes_one_of_todays_too(old: Path, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        as_version_1(old, url)
        desk = Desk(old, SecretStr(KEY), DESK_URL, database_url=SecretStr(url))
        assert await desk.store.read(difference) == []
        async with http_of(desk) as http:
            found = await http.get("/v1/triage/issues", params={"search": "strasse"})
            assert [item["title"] for item in found.json()["data"]["items"]] == ["Straße gesperrt"]
            calls = await http.get("/v1/calls", params={"from_number": "+15550100", "completed": "true"})
            assert [call["call_id"] for call in calls.json()["calls"]] == ["call-rich"]
            made = await http.post("/v1/triage/issues", json={"title": "New", "severity": "low", "category": "Bug"})
            assert made.json()["data"]["triage_id"] == "T-1005"
        await desk.close()


@pytest.mark.parametrize("largest", [1, v10.LARGEST], ids=["one call at a time", "together"])
async def test_the_calls_of_version_7_are_found_by_their_numbers(
    tmp_path: Path, database_url: SecretStr | None, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v10, "LARGEST", largest)

    def older(connection: Connection) -> None:
        connection.execute(delete(call_words))
        connection.exec_driver_sql("DROP INDEX calls_completed")
        connection.execute(update(settings).where(settings.c.name == "schema_version").values(value="7"))

    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    await load_lines(desk, *(call_line(f"c{n}", "Come at three thirty.") for n in range(3)))
    await desk.store.write(older)
    await desk.close()
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    async with http_of(desk) as http:
        found = (await http.get("/v1/calltriage/calls", params={"query": "3:30"})).json()
        assert sorted(call["call_id"] for call in found["calls"]) == ["c0", "c1", "c2"]
        assert found["examined"] == 3
    assert await desk.store.read(difference) == []
    await desk.close()


async def test_the_numbers_of_calls_that_were_imported_with_blanks_are_found(
    tmp_path: Path, database_url: SecretStr | None
) -> None:
    def older(connection: Connection) -> None:
        connection.execute(update(calls).where(calls.c.id == "c0").values(from_number="+1 (555) 010-0100"))
        connection.execute(update(calls).where(calls.c.id == "c1").values(to_number="1\u00a0555\u2011010.0100"))
        connection.execute(update(calls).where(calls.c.id == "c2").values(from_number="- withheld -"))
        connection.exec_driver_sql("DROP INDEX calls_completed")
        connection.execute(update(settings).where(settings.c.name == "schema_version").values(value="8"))

    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    await load_lines(desk, *(call_line(f"c{n}", "Hello.") for n in range(4)))
    await desk.store.write(older)
    await desk.close()
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    async with http_of(desk) as http:

        async def found(**query: str) -> list[str]:
            answer = (await http.get("/v1/calls", params=query)).json()
            return [call["call_id"] for call in answer["calls"]]

        assert await found(from_number="+15550100100") == await found(from_number="1 555 0100100") == ["c0"]
        assert await found(to_number="15550100100") == await found(to_number="+15550100100") == ["c1"]
        assert await found(from_number="- withheld -") == ["c2"], "what is no number stays as it is"
        said = (await http.get("/v1/calltriage/calls", params={"query": "hello", "number": "15550100100"})).json()
        assert sorted(call["call_id"] for call in said["calls"]) == ["c0", "c1"]
    assert await desk.store.read(difference) == []
    await desk.close()


async def test_each_call_of_an_older_version_says_whether_it_has_ended(
    tmp_path: Path, database_url: SecretStr | None
) -> None:
    def older(connection: Connection) -> None:
        connection.execute(update(calls).where(calls.c.id.in_(["c0", "c1"])).values(completed=None))
        connection.exec_driver_sql("DROP INDEX calls_completed")
        connection.execute(update(settings).where(settings.c.name == "schema_version").values(value="10"))

    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    states: list[JsonObject] = [{}, {"queue_status": "started"}, {"completed": False}, {"queue_status": "queued"}]
    await load_lines(desk, *(call_line(f"c{n}", "Hello.", **state) for n, state in enumerate(states)))
    await desk.store.write(older)
    await desk.close()
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    async with http_of(desk) as http:

        async def found(completed: str) -> set[str]:
            answer = (await http.get("/v1/calls", params={"completed": completed})).json()
            return {call["call_id"] for call in answer["calls"]}

        assert (await found("true"), await found("false")) == ({"c0"}, {"c1", "c2", "c3"})
    assert await desk.store.read(difference) == []
    await desk.close()


async def test_the_numbers_that_begin_with_0_become_whole_ones(tmp_path: Path, database_url: SecretStr | None) -> None:
    def older(connection: Connection) -> None:
        connection.execute(update(issues).values(words=" pin 02139 \n pin 0 2139 "))
        connection.execute(update(settings).where(settings.c.name == "schema_version").values(value="11"))

    issue: JsonObject = {"title": "PIN 02139", "severity": "low", "category": "Bug"}
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    async with http_of(desk) as http:
        assert (await http.post("/v1/triage/issues", json=issue)).status_code == 201
    await load_lines(desk, call_line("c0", "My PIN is zero two one three nine."))
    await desk.store.write(older)
    await desk.close()
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, database_url=database_url)
    async with http_of(desk) as http:

        async def found(number: str) -> list[str]:
            filed = (await http.get("/v1/triage/issues", params={"search": number})).json()["data"]["items"]
            calls = (await http.get("/v1/calltriage/calls", params={"query": number})).json()["calls"]
            return [one["title"] for one in filed] + [one["call_id"] for one in calls]

        assert await found("02139") == await found("zero two one three nine") == ["PIN 02139", "c0"]
        assert await found("2139") == []
    assert await desk.store.read(difference) == []
    await desk.close()


SECRET = "a-key-that-version-1-gave-out"


@pytest.fixture
def old_with_keys(old: Path) -> Path:
    """The folder with two more keys in it: one that is known here, and a client's that signs."""
    with closing(DRIVER.connect(old / "desk.sqlite3")) as database, database:
        own = dict(database.execute("SELECT name, value FROM settings").fetchall())
        [org] = database.execute("SELECT org_id FROM api_keys").fetchone()
        assert org != own["org_id"]
        database.execute("INSERT INTO api_keys VALUES (?, ?, ?)", (digest(SECRET), org, "second-user"))
        row = ("kid-1", own["org_id"], own["user_id"], "PEM")
        database.execute("INSERT INTO client_keys VALUES (?, ?, ?, ?)", row)
    return old


@pytest.mark.parametrize("on", ["sqlite", "postgres"])
async def test_keys_of_an_older_version_stay_good_and_their_users_become_members(
    old_with_keys: Path, request: pytest.FixtureRequest, on: str
) -> None:
    with contextlib.ExitStack() as stack:
        url = None
        if on == "postgres":
            url = stack.enter_context(request.getfixturevalue("postgres").database())
            as_version_1(old_with_keys, url)
        desk = Desk(old_with_keys, SecretStr(KEY), DESK_URL, database_url=None if url is None else SecretStr(url))
        try:
            await check_keys(desk)
        finally:
            await desk.close()


async def check_keys(desk: Desk) -> None:
    facts, now = await desk.access.facts(), desk.clock()
    who = await desk.access.by_key(SECRET, now)
    assert who is not None
    assert who.user_id == "second-user"
    assert await desk.access.by_key(KEY, now) is not None
    keys = await desk.tenants.keys()
    assert sorted((row["kind"], row["user"], row["state"]) for row in keys if row["user"] != facts["user_id"]) == [
        ("api", row["user"], "valid") for row in keys if row["organisation"] == who.org_id
    ]
    [signing] = [row for row in keys if row["kind"] == "signing"]
    assert (signing["id"], signing["user"]) == ("kid-1", facts["user_id"])
    async with http_of(desk, SECRET) as http:
        members = (await http.get(f"/v1/orgs/{who.org_id}/members")).json()["data"]
        assert "second-user" in {member["user_id"] for member in members}
        assert len(members) == 2
        new = {"title": "New", "severity": "low", "category": "Bug", "owner_id": "second-user"}
        assert (await http.post("/v1/triage/issues", json=new)).status_code == 201
    assert await desk.tenants.revoke("keys", who.key_id)
    assert await desk.access.by_key(SECRET, now) is None


OPENER = """
import sys
from pathlib import Path
import anyio
from calltriage.desk.database.store import Store

async def main(folder):
    store = Store(Path(folder))
    await store.open()
    await store.close()

anyio.run(main, sys.argv[1])
"""


@pytest.mark.slow
async def test_two_processes_that_open_an_old_folder_at_once_migrate_it_once(old: Path) -> None:
    endings: list[tuple[int, bytes]] = []

    async def run() -> None:
        done = await anyio.run_process([sys.executable, "-c", OPENER, str(old)], check=False)
        endings.append((done.returncode, done.stderr))

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(run)
    assert endings == [(0, b"")] * 3
    assert ask(old / "desk.sqlite3", VERSION) == [(str(SCHEMA_VERSION),)]
    assert ask(old / BACKUP, VERSION) == [("1",)]


async def test_a_migration_that_fails_leaves_the_older_version(old: Path) -> None:
    with closing(DRIVER.connect(old / "desk.sqlite3")) as database:
        database.execute("CREATE INDEX calls_of_batch ON calls (id)")  # in the way of the last step
    before = ask(old / "desk.sqlite3", "SELECT type, name, sql FROM sqlite_master")
    store = Store(old)
    with pytest.raises(StoreError, match="CALLTRIAGE_DATA_DIR"):
        await store.open()
    await store.close()
    assert ask(old / "desk.sqlite3", VERSION) == [("1",)]
    assert ask(old / "desk.sqlite3", "SELECT type, name, sql FROM sqlite_master") == before
