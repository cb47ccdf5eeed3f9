"""What an operator does with the journal: show, verify, export, and write it again into a desk."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.cli.terminal import say
from calltriage.client.attachments import Content
from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint
from calltriage.desk import CLIENT_ID
from calltriage.desk.app import Desk
from calltriage.desk.bytes.blobs import BlobFolder
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import attachments, issues
from calltriage.desk.importing.entries import Reading, entry_of
from calltriage.desk.importing.loading import load_import
from calltriage.embedded import DESK_IN_PROCESS
from calltriage.errors import SettingsError, StoreError
from calltriage.journal.checking import check_file, check_folder, opened_to_read
from calltriage.journal.replay import Replayed, replay
from calltriage.journal.rows import FILE, Check, Row, rows
from calltriage.journal.showing import Wanted, redacted, writes
from calltriage.leaves.gate import one_line
from calltriage.leaves.instants import utc_now
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import SCOPES
from calltriage.operations.base import Api
from calltriage.settings import Settings
from calltriage.wiring import head_note


async def show(settings: Settings, wanted: Wanted, *, as_json: bool) -> None:
    """Print the newest writes, newest last: as a table, or as lines of JSON."""
    found = await anyio.to_thread.run_sync(_writes, settings.data_dir, wanted)
    if as_json:
        for write in found:
            say(json.dumps(write, separators=(",", ":")))
        return
    lines = [_cells(write) for write in found]
    if not lines:
        say("No write in the journal is like that.", err=True)
        return
    titles = ("WHEN (UTC)", "TICKET", "TOOL", "OUTCOME")
    widths = [max(len(line[column]) for line in (titles, *lines)) for column in range(len(titles))]
    for line in (titles, *lines):
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _writes(folder: Path, wanted: Wanted) -> list[JsonObject]:
    with opened_to_read(folder) as connection:
        return writes(connection, wanted)


def _rows(folder: Path) -> list[Row]:
    with opened_to_read(folder) as connection:
        return list(rows(connection))


def _cells(write: JsonObject) -> tuple[str, str, str, str]:
    """A write as a line of the table. An issue whose ticket no answer said is named by its id."""
    when = write["at"].partition(".")[0].replace("T", " ")
    ticket = write.get("triage_id") or write.get("issue_id") or "-"
    tool = write["tool"] if write["tool"] == write["operation"] else f"{write['tool']} ({write['operation']})"
    outcome = f"{write['outcome']} ({write['code']})" if "code" in write else write["outcome"]
    return one_line(when), one_line(ticket), one_line(tool), one_line(outcome)


async def verify(settings: Settings, noted: tuple[int, str] | None) -> Check:
    """Follow the chain, which must hold the head noted beside the journal; `noted` is one that was noted elsewhere."""
    folder = settings.data_dir
    found = await anyio.to_thread.run_sync(check_folder, folder, head_note(folder))
    if noted is None or found.broken_at is not None:
        return found
    return await anyio.to_thread.run_sync(check_file, folder / FILE, noted)


async def export(settings: Settings, *, hide: bool) -> None:
    """Print every row as a line of JSON: whole, or with free text as hashes. One row at a time is in memory."""
    with opened_to_read(settings.data_dir) as connection:
        for row in rows(connection):
            say(json.dumps(redacted(row) if hide else asdict(row), separators=(",", ":")))


async def replay_into_desk(settings: Settings, source: Path) -> Replayed:
    """Write the journal of `source` again on the desk of the data folder, which must have no issue yet."""
    found = await anyio.to_thread.run_sync(check_folder, source, head_note(source))
    if found.broken_at is not None:
        raise StoreError(f"The journal is broken at row {found.broken_at}: {found.why}. It is not replayed.")
    found_rows = await anyio.to_thread.run_sync(_rows, source)
    target = _DeskTarget(settings.data_dir, source)
    try:
        store = target.desk.store
        if await store.read(lambda connection: connection.execute(select(issues.c.id).limit(1)).first()):
            raise SettingsError(
                f"The desk in {settings.data_dir} has issues already. Point CALLTRIAGE_DATA_DIR at an empty folder."
            )
        async with target.open():
            return await replay(found_rows, target)
    finally:
        await target.close()


@dataclass
class _DeskTarget:
    """The desk that is written to, and the folder that file bytes come from."""

    folder: Path
    source: Path
    now: datetime = field(default_factory=utc_now)
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.key = SecretStr(secrets.token_urlsafe(32))
        self.desk = Desk(self.folder, self.key, DESK_IN_PROCESS, clock=lambda: self.now)
        self._source = Store(self.source) if (self.source / "desk.sqlite3").is_file() else None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        transport = httpx2.ASGITransport(self.desk, raise_app_exceptions=False)
        oauth = ClientCredentials(f"{DESK_IN_PROCESS}/oauth/token", CLIENT_ID, self.key, SCOPES)
        endpoints = {
            Api.TRIAGE: Endpoint(DESK_IN_PROCESS, ApiKey(self.key), transport),
            Api.ATTACHMENTS: Endpoint(DESK_IN_PROCESS, oauth, transport),
        }
        async with open_client(endpoints) as self.client:
            yield

    async def close(self) -> None:
        await self.desk.close()
        if self._source is not None:
            await self._source.close()

    def set_clock(self, now: datetime) -> None:
        self.now = now

    async def supply(self, call_id: str, title: str, created_at: str) -> None:
        line: dict[str, object] = {"call_id": call_id, "created_at": created_at or self.now.isoformat(), "turns": []}
        if title:
            line["summary"] = title
        await load_import(self.desk, [entry_of(line, f"call {call_id}", Reading())])

    async def admit(self, user_id: str) -> None:
        await self.desk.tenants.admit(user_id)

    async def content(self, attachment_id: str) -> Content | None:
        if self._source is None:
            return None
        query = select(attachments.c.blob, attachments.c.size, attachments.c.type).where(
            attachments.c.id == attachment_id
        )
        row = await self._source.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        blobs, name = BlobFolder(self.source / "blobs"), row.blob

        def chunks() -> AsyncIterator[bytes]:
            return blobs.read(name, 0, row.size)

        return Content(row.type, row.size, chunks)
