"""Write the desk in the data folder to a file, and make the desk in a file the one in the folder."""

from __future__ import annotations

from pathlib import Path

from calltriage.desk.database import backup
from calltriage.desk.database.backup import Other, Others
from calltriage.errors import SettingsError
from calltriage.journal import head_notes
from calltriage.journal.checking import refuse_unsound
from calltriage.journal.rows import FILE
from calltriage.pipelines.ledger import ledger
from calltriage.pipelines.ledger.checking import refuse_unsound as refuse_unsound_ledger
from calltriage.settings import Settings


def back_up(settings: Settings, target: Path) -> int:
    """Write the desk in the data folder to a file, without the bytes that an object store keeps; the number of attachments
    that it speaks of."""
    folder, with_bytes = _own_folder(settings, "pg_dump"), settings.blobs_url is None
    return backup.back_up(folder, target, _beside_the_desk(), with_bytes=with_bytes)


def restore(settings: Settings, source: Path, *, overwrite: bool) -> int:
    """Make the desk in a file the one in the data folder; the number of attachments that it speaks of."""
    folder, with_bytes = _own_folder(settings, "pg_restore"), settings.blobs_url is None
    return backup.restore(source, folder, _beside_the_desk(), overwrite=overwrite, with_bytes=with_bytes)


def _beside_the_desk() -> Others:
    """The databases of a data folder that a backup holds besides the desk's."""
    return {
        FILE: Other(refuse_unsound, spoken_in=(head_notes.NOTE, head_notes.NOTED)),
        ledger.FILE: Other(refuse_unsound_ledger),
    }


def _own_folder(settings: Settings, tool: str) -> Path:
    if settings.database_url is not None:
        and_bytes = (
            f"copy the folder blobs of {settings.data_dir}"
            if settings.blobs_url is None
            else "copy the bucket of CALLTRIAGE_BLOBS_URL with the store's own tools"
        )
        raise SettingsError(f"The desk is on PostgreSQL (CALLTRIAGE_DATABASE_URL): use {tool}, then {and_bytes}.")
    return settings.data_dir
