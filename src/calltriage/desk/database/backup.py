"""A desk in one file: its databases, its key and the bytes of its files, as of one moment; and back.

Both directions leave nothing half done: a backup has its name once it is whole and on disk, and a restored desk is there
with the one step that puts its database in place. A backup holds the desk's secrets and is made for its owner alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from calltriage.desk.database.store import DATABASE, SCHEMA_VERSION
from calltriage.errors import StoreError
from calltriage.storage.sqlite import SqliteFile, settle, sqlite_driver

MEMBER = re.compile(r"desk\.key|[a-z]+\.sqlite3|blobs/[0-9a-z]+/[0-9a-z.]+")
"""What a backup may hold."""
FILES = "SELECT blob, sha256 FROM attachments UNION SELECT blob, sha256 FROM reservations WHERE blob IS NOT NULL"
TRIES = 3
"""A file that is deleted while its backup runs makes the backup begin again."""
REPLACED = "desk.before-restore.sqlite3"


def back_up(folder: Path, target: Path, *, with_bytes: bool = True) -> int:
    """Write the desk in `folder` to `target` while others may use it; the number of files that it speaks of. Raises
    StoreError.

    Not `with_bytes`, the bytes are kept elsewhere and left out.
    """
    if not (folder / DATABASE).is_file():
        raise StoreError(f"There is no desk in {folder}. Set CALLTRIAGE_DATA_DIR to its folder.")
    if target.exists():
        raise StoreError(f"{target} exists and is left as it is. Name another file.")
    with _explained(f"{target} cannot be written"), tempfile.TemporaryDirectory(dir=target.parent) as work:
        draft = Path(work) / "backup"
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        count = None
        for _ in range(TRIES):
            with suppress(FileNotFoundError):
                count = _pack(folder, draft, Path(work), with_bytes=with_bytes)
                break
        if count is None:
            raise StoreError(
                "The bytes of an attachment are missing, or attachments were deleted all the while. Try again when "
                "nobody deletes any."
            )
        settle(draft, target)
    return count


def _pack(folder: Path, draft: Path, work: Path, *, with_bytes: bool) -> int:
    """The databases first: they say which bytes belong to them."""
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        for database in sorted(folder.glob("*.sqlite3")):
            if MEMBER.fullmatch(database.name):
                copy = work / database.name
                SqliteFile(folder, database.name).copy_to(copy)
                archive.add(copy, database.name)
        with suppress(FileNotFoundError):
            archive.add(folder / "desk.key", "desk.key")
        files = _files(work / DATABASE)
        for blob, _ in files if with_bytes else ():
            archive.add(folder / "blobs" / blob, f"blobs/{blob}")
    return len(files)


def restore(source: Path, folder: Path, *, overwrite: bool = False, with_bytes: bool = True) -> int:
    """Make the desk in `source` the one in `folder`; the number of files that it speaks of. Raises StoreError.

    A folder that holds anything is left alone unless `overwrite`; then its database is kept beside the restored one. The
    backup must be one of a desk that keeps bytes where this one does.
    """
    with _explained(f"{folder} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not overwrite and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty and is left as it is. Name an empty folder, or say --overwrite.")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".restoring-") as work:
            unpacked = Path(work)
            _unpack(source, unpacked)
            count = _check(unpacked, with_bytes=with_bytes)
            _put_in_place(unpacked, folder)
    return count


def _unpack(source: Path, unpacked: Path) -> None:
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                if not member.isreg() or not MEMBER.fullmatch(member.name):
                    raise StoreError(f"{source} is not a backup of a desk.")
                target = unpacked / member.name
                _make_folders(unpacked, target)
                content = archive.extractfile(member)
                with content or open(os.devnull, "rb") as read, target.open("xb") as write:
                    target.chmod(0o600)
                    shutil.copyfileobj(read, write, 2**20)
                    write.flush()
                    os.fsync(write.fileno())
    except FileNotFoundError as error:
        raise StoreError(f"There is no file {source}.") from error
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{source} is damaged, or not a backup of a desk. Nothing was changed.") from error


def _check(unpacked: Path, *, with_bytes: bool) -> int:
    """Whether the backup is whole: a sound database of a known version, and the bytes of each file as they were."""
    driver = sqlite_driver()
    try:
        with closing(driver.connect(unpacked / DATABASE)) as database:
            sound = database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            query = "SELECT value FROM settings WHERE name = 'schema_version'"
            version = int(database.execute(query).fetchone()[0])
        files = _files(unpacked / DATABASE)
    except (driver.Error, TypeError, ValueError) as error:
        raise StoreError("The backup's database cannot be read. Nothing was changed.") from error
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"The backup has schema version {version}; this calltriage knows {SCHEMA_VERSION}: use a newer one."
        )
    if not with_bytes and (unpacked / "blobs").exists():
        raise StoreError(
            "The backup holds the bytes of its files, and CALLTRIAGE_BLOBS_URL says that they are elsewhere. Restore it "
            "without that setting. Nothing was changed."
        )
    for blob, sha256 in files if with_bytes else ():
        path = unpacked / "blobs" / blob
        if not path.is_file() or _hash(path) != sha256:
            raise StoreError(
                "The backup lacks bytes of a file, or holds others. If an object store keeps them, set "
                "CALLTRIAGE_BLOBS_URL. Nothing was changed."
            )
    if not sound:
        raise StoreError("The backup's database is damaged. Nothing was changed.")
    return len(files)


def _put_in_place(unpacked: Path, folder: Path) -> None:
    """Bytes and key first; the desk is the restored one with the step that names its database."""
    current = folder / DATABASE
    if current.exists():
        _let_go(current)
        replaced = folder / REPLACED
        replaced.unlink(missing_ok=True)
        os.link(current, replaced)
    for path in sorted(unpacked.rglob("*"), key=lambda path: path.name == DATABASE):
        if path.is_file():
            target = folder / path.relative_to(unpacked)
            _make_folders(folder, target)
            settle(path, target)


def _make_folders(root: Path, target: Path) -> None:
    """The folders between, each for its owner alone."""
    for folder in reversed(target.relative_to(root).parents):
        (root / folder).mkdir(exist_ok=True, mode=0o700)


def _let_go(database: Path) -> None:
    """Refuse when another process has the database open: it would go on in a file that is no longer there."""
    with closing(sqlite_driver().connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if database.with_name(f"{database.name}-wal").exists():
        raise StoreError(f"A calltriage server uses {database.parent}. Stop it first.")


def _files(database: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of the bytes that a database speaks of."""
    with closing(sqlite_driver().connect(database)) as connection:
        rows: list[Any] = connection.execute(FILES).fetchall()
    return [(str(blob), str(sha256)) for blob, sha256 in rows]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _explained(what: str) -> Generator[None]:
    try:
        yield
    except (OSError, sqlite_driver().Error) as error:
        raise StoreError(f"{what} ({type(error).__name__}). Check its rights and the space left.") from error
