"""The desk's schema: made once, known by its version."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete
from unit.storage.changes import adds, opened

from calltriage.desk.database.tables import settings
from calltriage.errors import StoreError


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        change = settings.update().where(settings.c.name == "schema_version").values(value="999")
        await store.write(lambda connection: connection.execute(change) and None)
    async with opened(tmp_path / "desk") as store:
        with pytest.raises(StoreError, match=r"999.*Install the calltriage") as caught:
            await store.open()
    assert "CALLTRIAGE_DATA_DIR" in str(caught.value)


async def test_a_folder_without_a_version_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        gone = delete(settings).where(settings.c.name == "schema_version")
        await store.write(lambda connection: connection.execute(gone) and None)
    async with opened(tmp_path / "desk") as store:
        with pytest.raises(StoreError):
            await store.open()
