"""What a server leaves in its data folder, whatever the umask: its owner's alone."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from e2e.processes import ask, over_stdio, run, started
from mcp.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="rights there are no mode bits")]


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set here; the processes started meanwhile have it, too."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    found = dict[str, str]()
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # a running server removes some
            if (mode := path.stat().st_mode) & 0o077:
                found[path.relative_to(folder).as_posix()] = oct(stat.S_IMODE(mode))
    return found


@pytest.mark.usefixtures("umask")
async def test_everything_in_the_data_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with Client(over_stdio(tmp_path)) as client:
        await client.list_tools()
        issue = await ask(client, "create_issue", title="A", severity="low", category="Routing")
        await ask(client, "create_attachment", name="a.txt", text="words", attach_to=issue["triage_id"])
        assert not open_to_others(data), "while it runs"
    async with started(tmp_path, "serve", "--http", "--port", "0"), started(tmp_path, "desk", "serve", "--port", "0"):
        assert not open_to_others(data), "over HTTP"
    status, said, complaints = await run(tmp_path, "desk", "backup", "backup")
    assert status == 0, complaints
    assert "Wrote" in said
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    status, _, complaints = await run(tmp_path, "desk", "restore", "--overwrite", "backup")
    assert status == 0, complaints
    names = {path.name for path in data.iterdir()}
    assert {"desk.sqlite3", "desk.before-restore.sqlite3", "desk.key", "desk.opening", "journal.key", "blobs"} <= names
    assert not open_to_others(data)


async def test_a_lock_that_an_older_version_left_open_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    for name in ("desk.opening", "desk.key.lock", "journal.opening"):
        (data / name).touch(mode=0o644)
        (data / name).chmod(0o644)
    status, said, complaints = await run(tmp_path, "doctor")
    assert status == 0, said + complaints
    assert not open_to_others(data)
