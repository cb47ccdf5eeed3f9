"""A desk in one file: its databases, its key and the bytes of its files, as of one moment; and back.

Both directions leave nothing half done: a backup has its name once it is whole, on disk and read back by the rules of a
restore, and a restored desk is there with the one step that puts its database in place. A backup holds the desk's secrets
and is made for its owner alone.
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
"""Bytes of a key file."""
FILES = (
    "SELECT blob, sha256, size FROM attachments "
    "UNION SELECT blob, sha256, size FROM reservations WHERE blob IS NOT NULL"
)
TRIES = 3
"""A file that is deleted while its backup runs makes the backup begin again."""


@dataclass(frozen=True)
class Other:
    """A database of the folder besides the desk's.

    Attributes:
        check: raises StoreError for a file that is not sound.
        spoken_in: files of the folder that tell something of it. They go when it is replaced.
    """

    check: Callable[[Path], None]
    spoken_in: tuple[str, ...] = ()


Others = Mapping[str, Other]
"""Such databases by their names."""
NONE: Others = MappingProxyType({})


def kept_aside(name: str) -> str:
    """The name under which a database stays beside the restored one."""
    return f"{name.removesuffix('.sqlite3')}.before-restore.sqlite3"


def back_up(folder: Path, target: Path, others: Others = NONE, *, with_bytes: bool = True) -> int:
    """Write the desk in `folder` to `target` while others may use it; the number of files that it speaks of. Raises
    StoreError.

    Without `with_bytes` the bytes are kept elsewhere and left out.
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
    """The databases first: they say which bytes belong to them."""
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
    """Make the desk in `source` the one in `folder`; the number of files that it speaks of. Raises StoreError.

    A folder that holds anything is left alone unless `overwrite`; then its databases are kept beside the restored ones.
    The backup must be one of a desk that keeps bytes where this one does.
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
    """The bytes that the backup's desk speaks of. Raises StoreError unless it is whole: sound databases of known versions,
    and the bytes of each file as they were."""
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
    """Bytes and key first; the desk is the restored one with the step that names its database."""
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
    """Give a database, which nobody has open, a second name; where there are no links, a copy."""
    aside.unlink(missing_ok=True)
    try:
        os.link(database, aside)
    except OSError:
        SqliteFile(database.parent, database.name).copy_to(aside)


def _let_go(database: Path) -> None:
    """Refuse when another process has the database open: it would go on in a file that is no longer there."""
    with closing(sqlite_driver().connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if database.with_name(f"{database.name}-wal").exists():
        raise StoreError(f"A calltriage server uses {database.parent}. Stop it first.")


def _files(database: Any) -> list[tuple[str, Kept]]:
    """The bytes that a desk speaks of: their names, and what they must be. Raises StoreError for a name that no bytes
    have: it could lead to any file of this machine."""
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
