"""The data folder while others work in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calltriage.storage.folders import make_folder


def test_a_lock_file_that_goes_while_a_folder_is_looked_through_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = tmp_path / "a.lock", tmp_path / "b.lock"
    kept.touch(mode=0o666)
    kept.chmod(0o666)

    def listed(folder: Path, pattern: str) -> Iterator[Path]:
        yield from [gone, kept] if pattern == "*.lock" else []

    monkeypatch.setattr(Path, "glob", listed)
    make_folder(tmp_path)
    assert kept.stat().st_mode & 0o777 == 0o600
