"""What an operator is told about a desk that does not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from calltriage.doctor import examine
from calltriage.settings import Settings


async def test_a_folder_that_cannot_be_used_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "file").touch()
    assert not await examine(Settings(data_dir=tmp_path / "file"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be used" in line]
    assert [line.split()[1] for line in lines] == ["Triage", "Attachments"]
    assert all("point CALLTRIAGE_DATA_DIR elsewhere" in line for line in lines)
