"""Loading the entries of an import into the desk. All lines were checked before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import Connection, Table, insert, select, update

from calltriage.desk.bytes.blobs import CHUNK, Received, TooLargeError
from calltriage.desk.database.call_words import keep_words
from calltriage.desk.database.tables import attachments, calls, conversations
from calltriage.desk.handlers.attachments import insert_attachment
from calltriage.desk.handlers.call_shapes import has_ended
from calltriage.desk.importing.entries import Entry
from calltriage.errors import ImportFileError
from calltriage.leaves.gate import one_line
from calltriage.leaves.instants import utc_now, written
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.telephone import dialled

if TYPE_CHECKING:
    from calltriage.desk.app import Desk

BATCH_ENTRIES = 500
BATCH_BYTES = 4 * 2**20
"""Most entries and bytes of one transaction. It takes a fraction of a second; then other writers have their turn."""
PAUSE = 0.12
"""Seconds between two transactions. A waiting writer of SQLite tries again after 0.1 s at the latest."""

TABLES = {"call": calls, "sms_conversation": conversations}


@dataclass(frozen=True)
class Imported:
    """How many entries were added, changed, and there already."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    replaced: tuple[tuple[str, str], ...] = ()
    """Of the changed ones, calls that only a file's name names: the id, and the file that replaced them."""

    def __add__(self, other: Imported) -> Imported:
        counts = self.added + other.added, self.changed + other.changed, self.unchanged + other.unchanged
        return Imported(*counts, self.replaced + other.replaced)

    @property
    def through(self) -> int:
        return self.added + self.changed + self.unchanged


async def load_import(
    desk: Desk,
    entries: Iterable[Entry],
    progress: Callable[[Imported], object] = lambda _: None,
    org_id: str | None = None,
) -> Imported:
    """Load entries into an organisation, the desk's own unless another is named. `progress` gets the counts so far after
    each transaction.

    Each entry is written whole or not at all, and a repeat changes nothing: a second import of the same file completes one
    that was cut off. Raises ImportFileError, before anything is written, if another file has a file's name or id. `entries`
    is read twice.
    """
    org = await desk.tenants.organisation(org_id)
    for files in _batches(entry for entry in entries if entry.kind == "file"):
        await desk.store.read(partial(_known_files, org=org, files=files))
    done = Imported()
    for batch in _batches(entries):
        if done.through:
            await anyio.sleep(PAUSE)
        done += await _load(desk, org, batch)
        progress(done)
    return done


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch, size = list[Entry](), 0
    for entry in entries:
        batch.append(entry)
        size += len(str(entry.values)) + (entry.values["size"] if entry.kind == "file" else 0)
        if len(batch) >= BATCH_ENTRIES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _load(desk: Desk, org: str, batch: list[Entry]) -> Imported:
    """Load a batch in one transaction. The bytes of new files are stored before it, so that no row names missing bytes."""
    files = [entry for entry in batch if entry.kind == "file"]
    known = await desk.store.read(lambda connection: _known_files(connection, org, files))
    bytes_of = {entry.id: await _keep(desk, org, entry) for entry in files if entry.id not in known}

    def write(connection: Connection) -> Imported:
        done = Imported()
        for kind, table in TABLES.items():
            done += _load_rows(connection, org, table, [entry for entry in batch if entry.kind == kind])
        here = _known_files(connection, org, files)
        for entry in files:
            if entry.id in here:
                done += Imported(unchanged=1)
                continue
            received, blob = bytes_of[entry.id]
            facts = {**entry.values, "blob": blob, "md5": received.md5}
            insert_attachment(connection, org, entry.id, facts, written(utc_now()))
            done += Imported(added=1)
        return done

    done = await desk.store.write(write, lane=org)
    await desk.files.blobs.drop(*(received.name for received, _ in bytes_of.values()))
    return done


def _known_files(connection: Connection, org: str, files: list[Entry]) -> set[str]:
    """Ids of the files that the desk has just as their lines say. Raises ImportFileError if another file has a name or
    id."""
    known: set[str] = set()
    for entry in files:
        same_id = attachments.c.id == entry.id
        same_name = attachments.c.name == entry.values["name"]
        query = select(attachments).where(attachments.c.org_id == org, same_id | same_name)
        for row in connection.execute(query):
            if row.id != entry.id or any(getattr(row, name) != value for name, value in entry.values.items()):
                raise ImportFileError(
                    f"{one_line(entry.place)}: the desk has another file of this name or id, and files are not replaced. "
                    "Give it another name, or delete the attachment first."
                )
            known.add(entry.id)
    return known


async def _keep(desk: Desk, org: str, entry: Entry) -> tuple[Received, str]:
    """Receive and publish a file's bytes; the bytes and their published name. Raises ImportFileError if they changed
    since they were checked."""
    content = entry.content
    pieces = _read(content) if isinstance(content, Path) else _given(content or b"")
    changed = ImportFileError(f"{one_line(entry.place)}: the file changed while it was read. Import it again.")
    try:
        received = await desk.files.receive(pieces, desk.limit)
    except TooLargeError:  # it was measured when its line was read
        raise changed from None
    if received.sha256 != entry.values["sha256"]:
        await desk.files.blobs.drop(received.name)
        raise changed
    return received, await desk.files.blobs.publish(received.name, received.sha256, org)


async def _given(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _read(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(CHUNK):
            yield piece


def _load_rows(connection: Connection, org: str, table: Table, entries: list[Entry]) -> Imported:
    """Insert new rows and replace changed ones."""
    if not entries:
        return Imported()
    here = table.c.org_id == org
    ids = [entry.id for entry in entries]
    rows = connection.execute(select(table.c.id, table.c.digest).where(here, table.c.id.in_(ids)))
    known = {row.id: row.digest for row in rows}
    new = [entry for entry in entries if entry.id not in known]
    changed = [entry for entry in entries if known.get(entry.id, entry.digest) != entry.digest]
    if new:
        connection.execute(insert(table), [{"org_id": org, "id": entry.id, **_columns(table, entry)} for entry in new])
    for entry in changed:
        connection.execute(update(table).where(here, table.c.id == entry.id).values(**_columns(table, entry)))
    if table is calls:
        keep_words(connection, org, {entry.id: entry.values["record"] for entry in new + changed})
    replaced = tuple((entry.id, entry.named_by) for entry in changed if entry.named_by is not None)
    return Imported(len(new), len(changed), len(entries) - len(new) - len(changed), replaced)


def _columns(table: Table, entry: Entry) -> JsonObject:
    now = {"updated_at": written(utc_now())} if "updated_at" in table.c else {}
    narrowing = filterable(entry.values["record"]) if table is calls else {}
    return {**entry.values, **now, **narrowing, "digest": entry.digest}


def filterable(record: JsonObject) -> JsonObject:
    """The columns that a list of calls is filtered by. A value of another type becomes NULL and matches nothing. A
    call has ended unless its source says otherwise."""
    about = record["metadata"]
    texts = {"from_number": "from", "to_number": "to", "answered_by": "answered_by", "batch_id": "batch_id"}
    found: JsonObject = {
        column: about[name] if isinstance(about.get(name), str) else None for column, name in texts.items()
    }
    found |= {name: dialled(found[name]) for name in ("from_number", "to_number") if found[name] is not None}
    found |= {name: about[name] if isinstance(about.get(name), bool) else None for name in ("completed", "inbound")}
    if found["completed"] is None:
        found["completed"] = has_ended(about.get("queue_status"))
    return {**found, "call_length": record.get("call_length")}
