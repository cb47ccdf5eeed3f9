"""Back up a desk into one file (its databases, its key, the bytes of its files, as of one moment), and restore it.

Neither leaves anything half done. A backup gets its name when it is complete, on disk and checked as a restore would check
it. A restore ends with the one step that puts the database in place. A backup holds the desk's secrets, so only its owner
can read the file.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calltriage.desk.bytes.blobs import is_name
from calltriage.desk.database.backup_archive import BLOBS, Kept, make_folders, pack, unpack, write_twins
from calltriage.desk.database.store import DATABASE, Store, own_statements
from calltriage.errors import StoreError
from calltriage.leaves.durable import settle
from calltriage.storage.foreign_files import opened_as_data
from calltriage.storage.sqlite import SqliteFile, sqlite_driver

KEY = "desk.key"
LONGEST_KEY = 4096
"""Most bytes of a key file."""
FILES = (
    "SELECT blob, sha256, size FROM attachments "
    "UNION SELECT blob, sha256, size FROM reservations WHERE blob IS NOT NULL"
)
TRIES = 3
"""Attempts at a backup. It begins again when a file is deleted meanwhile."""


@dataclass(frozen=True)
class Other:
    """A database of the folder besides the desk's.

    Attributes:
        check: raises StoreError for a file that is not sound.
        spoken_in: names of files in the folder that describe the database. A restore that replaces it deletes them.
    """

    check: Callable[[Path], None]
    spoken_in: tuple[str, ...] = ()


Others = Mapping[str, Other]
"""Such databases by file name."""
NONE: Others = MappingProxyType({})


def kept_aside(name: str) -> str:
    """The name under which a restore keeps the database that it replaces."""
    return f"{name.removesuffix('.sqlite3')}.before-restore.sqlite3"


def back_up(folder: Path, target: Path, others: Others = NONE, *, with_bytes: bool = True) -> int:
    """Write the desk in `folder` to `target`, also while others use it. Returns the number of its files. Raises StoreError.

    `with_bytes=False` leaves the bytes out: an object store keeps them.
    """
    if not (folder / DATABASE).is_file():
        raise StoreError(f"There is no desk in {folder}. Set CALLTRIAGE_DATA_DIR to its folder.")
    if target.exists():
        raise StoreError(f"{target} exists and is left as it is. Name another file.")
    if not target.parent.is_dir():
        raise StoreError(f"There is no folder {target.parent}. Make it, or name a file in a folder that is there.")
    with _explained(f"{target} cannot be written"), tempfile.TemporaryDirectory(dir=target.parent) as work:
        draft, copies, again = (Path(work) / name for name in ("backup", "copies", "again"))
        for made in (copies, again):
            made.mkdir(mode=0o700)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _pack_whole(folder, draft, copies, others, with_bytes=with_bytes)
        files = _check(again, _unpack(draft, again, others, keep_bytes=False), others, with_bytes=with_bytes)
        settle(draft, target)
    return len(files)


def _pack_whole(folder: Path, draft: Path, copies: Path, others: Others, *, with_bytes: bool) -> None:
    for _ in range(TRIES):
        with suppress(FileNotFoundError):
            _pack(folder, draft, copies, others, with_bytes=with_bytes)
            return
    raise StoreError(
        "The bytes of an attachment are missing, or attachments were deleted all the while. Try again when nobody "
        "deletes any."
    )


def _pack(folder: Path, draft: Path, copies: Path, others: Others, *, with_bytes: bool) -> None:
    """Write everything to the archive, the databases first: they say which bytes belong to them."""
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in (DATABASE, *others):
            if (folder / name).is_file():
                SqliteFile(folder, name).copy_to(copies / name)
                pack(archive, copies / name, name)
        with suppress(FileNotFoundError):
            pack(archive, folder / KEY, KEY)
        with closing(sqlite_driver().connect(copies / DATABASE)) as database:
            files = _files(database)
        for blob in dict.fromkeys(blob for blob, _ in files) if with_bytes else ():
            pack(archive, folder / "blobs" / blob, f"{BLOBS}{blob}")


def restore(
    source: Path, folder: Path, others: Others = NONE, *, overwrite: bool = False, with_bytes: bool = True
) -> int:
    """Make the desk in `source` the one in `folder`. Returns the number of its files. Raises StoreError.

    A folder that is not empty needs `overwrite=True`; its databases are then kept beside the restored ones. `with_bytes`
    must be as it was for the backup.
    """
    with _explained(f"{folder} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not overwrite and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty and is left as it is. Name an empty folder, or say --overwrite.")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".restoring-") as work:
            unpacked = Path(work)
            members = _unpack(source, unpacked, others, keep_bytes=with_bytes)
            files = _check(unpacked, members, others, with_bytes=with_bytes)
            spoken_of = {f"{BLOBS}{blob}" for blob, _ in files}
            write_twins(unpacked, members, members.keys() & spoken_of)
            there = {name for name in members if name in spoken_of or members[name].twin_of is None}
            _put_in_place(unpacked, folder, there, others)
    return len(files)


def _unpack(source: Path, folder: Path, others: Others, *, keep_bytes: bool) -> dict[str, Kept]:
    return unpack(source, folder, {DATABASE, KEY, *others}, keep_bytes=keep_bytes)


def _check(unpacked: Path, members: dict[str, Kept], others: Others, *, with_bytes: bool) -> list[tuple[str, Kept]]:
    """The bytes that the backup's desk names. Raises StoreError unless it is complete: sound databases of known versions,
    and each file's bytes with their size and SHA-256."""
    if DATABASE not in members or (KEY in members and members[KEY].size > LONGEST_KEY):
        raise StoreError("This is not a backup of a desk. Nothing was changed.")
    with opened_as_data(unpacked / DATABASE, own_statements(), "The backup's desk") as database:
        files = _files(database)
    Store(unpacked).try_out()
    for name in members.keys() & others.keys():
        others[name].check(unpacked / name)
    if not with_bytes and any(name.startswith(BLOBS) for name in members):
        raise StoreError(
            "The backup holds the bytes of its files, and CALLTRIAGE_BLOBS_URL says that they are elsewhere. Restore it "
            "without that setting. Nothing was changed."
        )
    for blob, kept in files if with_bytes else ():
        if members.get(f"{BLOBS}{blob}") != kept:
            raise StoreError(
                "The backup lacks bytes of a file, or holds others. If an object store keeps them, set "
                "CALLTRIAGE_BLOBS_URL. Nothing was changed."
            )
    return files


def _put_in_place(unpacked: Path, folder: Path, members: set[str], others: Others) -> None:
    """Move bytes and key into `folder`, then the desk's database. That last step makes it the restored desk."""
    replaced = [name for name in members if name.endswith(".sqlite3") and (folder / name).exists()]
    for name in replaced:
        _let_go(folder / name)
    for name in replaced:
        _keep(folder / name, folder / kept_aside(name))
    for other in (others[name] for name in members & others.keys()):
        for name in other.spoken_in:
            (folder / name).unlink(missing_ok=True)
    for name in sorted(members, key=lambda name: name == DATABASE):
        make_folders(folder, folder / name)
        settle(unpacked / name, folder / name)


def _keep(database: Path, aside: Path) -> None:
    """Keep a database that nobody has open under a second name: as a link, or as a copy where links are not possible."""
    aside.unlink(missing_ok=True)
    try:
        os.link(database, aside)
    except OSError:
        SqliteFile(database.parent, database.name).copy_to(aside)


def _let_go(database: Path) -> None:
    """Raise StoreError if another process has the database open: it would go on writing to a file that is no longer
    there."""
    with closing(sqlite_driver().connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if database.with_name(f"{database.name}-wal").exists():
        raise StoreError(f"A calltriage server uses {database.parent}. Stop it first.")


def _files(database: Any) -> list[tuple[str, Kept]]:
    """The bytes that a desk names, with the size and SHA-256 that they must have. Raises StoreError for a name of another
    form: it could be the path of any file on this machine."""
    rows: list[Any] = database.execute(FILES).fetchall()
    if not all(isinstance(blob, str) and is_name(blob) for blob, _, _ in rows):
        raise StoreError(
            "The desk's database names bytes of a file in a way that no calltriage does. Nothing was done."
        )
    return [(blob, Kept(size, sha256)) for blob, sha256, size in rows]


@contextmanager
def _explained(what: str) -> Generator[None]:
    try:
        yield
    except (OSError, sqlite_driver().Error) as error:
        raise StoreError(f"{what} ({type(error).__name__}). Check its rights and the space left.") from error
