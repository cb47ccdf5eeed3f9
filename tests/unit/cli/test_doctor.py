"""What an operator is told about a desk that does not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from faults import http_answer, says, tcp_server

from calltriage.cli.doctor import examine
from calltriage.settings import Settings, load_settings


async def test_a_folder_that_cannot_be_used_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "file").touch()
    assert not await examine(Settings(data_dir=tmp_path / "file"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be used" in line]
    assert [line.split()[1] for line in lines] == ["Triage", "Attachments"]
    assert all("point CALLTRIAGE_DATA_DIR elsewhere" in line for line in lines)


@pytest.mark.parametrize(("roots", "said"), [("none", "none"), ("/tmp/[dev]/x[/]", "/tmp/[dev]/x[/]")])
async def test_the_open_folders_are_said_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, roots: str, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", roots)
    await examine(load_settings(data_dir=tmp_path / "desk"))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "Local files" in line]
    assert line.split("Local files")[1].strip() == said


async def test_an_object_store_that_cannot_be_reached_is_said_with_what_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    async with tcp_server(says(http_answer("403 Forbidden", b"<Error><Code>canary</Code></Error>"))) as (url, heads):
        for name, value in {
            "ENDPOINT_URL": url,
            "ALLOW_HTTP": "true",
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        assert not await examine(load_settings(data_dir=tmp_path / "desk", blobs_url="s3://bucket/prefix"))
    assert heads, "the store was asked"
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if "Object store" in line]
    assert "CALLTRIAGE_BLOBS_URL" in line
    assert line.split()[0] in {"✗", "NO"}
    assert "canary" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="rights there are no mode bits")
@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("desk.key", 0o666, "desk.key"),
        ("desk.key", 0o640, "desk.key"),
        (".", 0o777, "the folder itself"),
        (".", 0o711, "the folder itself"),
        ("blobs/aa/bb", 0o604, "blobs/aa/bb"),
        ("blobs/aa", 0o701, "blobs/aa"),
        ("desk.sqlite3-old", 0o602, "desk.sqlite3-old"),
    ],
)
async def test_what_others_may_get_at_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, mode: int, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    folder = tmp_path / "my desk"
    (folder / "blobs" / "aa").mkdir(parents=True, mode=0o700)
    for path in (folder, folder / "blobs", folder / "blobs" / "aa"):
        path.chmod(0o700)
    for file in ("desk.key", "blobs/aa/bb", "desk.sqlite3-old"):
        (folder / file).write_text("k" * 43)
        (folder / file).chmod(0o600)
    assert await examine(Settings(data_dir=folder)), capsys.readouterr().out
    (folder / name).chmod(mode)
    assert not await examine(Settings(data_dir=folder))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "others than the owner" in line]
    assert line.split()[0] in {"✗", "NO"}
    assert f" {said}. Run: chmod -R go= '{folder}'" in line
    assert ("make another one" in line) == (name == "desk.key")
