"""Transcripts kept of a vendor's calls: which, how long, how many, and for whom."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from calltriage.client.transcripts import Transcripts, account_of, cleared, measured
from calltriage.operations.calls import Call

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


def call(name: str = "one", ago_minutes: float = 60, **more: Any) -> Call:
    at = (NOW - timedelta(minutes=ago_minutes)).isoformat()
    turns = [{"user": "user", "text": "my refund \ud83d please", "start_ms": 5}]
    facts = {"call_id": name, "created_at": at, "completed": True, "call_length": 1.5, "transcripts": turns}
    return Call.model_validate(facts | more)


@pytest.fixture
def kept(tmp_path: Path) -> Transcripts:
    return Transcripts(tmp_path / "data" / "transcripts", lambda: "account", clock=lambda: NOW)


async def are_kept(kept: Transcripts, *calls: Call) -> list[bool]:
    return [await kept.turns_of(one) is not None for one in calls]


async def test_what_was_said_is_kept_for_its_owner_alone(kept: Transcripts) -> None:
    assert await kept.turns_of(call()) is None
    await kept.keep(call(), call())
    (turn,) = await kept.turns_of(call()) or []
    assert (turn.user, turn.text.startswith("my refund"), turn.start_ms) == ("user", True, None)
    (file,) = kept.folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept.folder.parent, kept.folder, file)] == [
        0o700,
        0o700,
        0o600,
    ]
    assert "one" not in file.name
    assert measured(kept.folder) == (1, file.stat().st_size)


@pytest.mark.parametrize(
    "not_over",
    [call(ago_minutes=11, call_length=2), call(ago_minutes=9, call_length=0), call(completed=False),
     call(completed=None), call(ago_minutes=600, end_at=(NOW - timedelta(minutes=9)).isoformat()),
     call(created_at=None), call(created_at="yesterday"), call(transcripts=[]), call(transcripts=None),
     call(transcripts=[{"user": "user", "text": {"no": "text"}}]), call(ago_minutes=-5)],
    ids=["short_ago", "just_begun", "under_way", "unsaid", "ended_late", "no_time", "bad_time", "no_turns", "none", "unread",
         "ahead"],
)  # fmt: skip
async def test_a_call_that_may_still_change_is_not_kept(kept: Transcripts, not_over: Call) -> None:
    await kept.keep(not_over, not_over)
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    "over", [call(completed=None, status="completed"), call(call_length=None), call(call_length=1e9)]
)
async def test_how_a_call_says_that_it_is_over(kept: Transcripts, over: Call) -> None:
    await kept.keep(over, over)
    assert await are_kept(kept, over) == [over.call_length != 1e9]


async def test_another_account_another_call_and_a_changed_call_are_not_found(tmp_path: Path) -> None:
    account = ["a"]
    kept = Transcripts(tmp_path / "t", lambda: account[0], clock=lambda: NOW)
    listed = call(updated_at="2026-05-06T11:30:00Z")
    await kept.keep(listed, call())
    assert await are_kept(kept, listed, call("two"), call(), call(updated_at="2026-05-06T11:31:00Z")) == [
        True,
        False,
        False,
        False,
    ]
    account[0] = "b"
    assert await are_kept(kept, listed) == [False]
    names = {account_of(url, SecretStr(key)) for url in ("https://a", "https://b") for key in ("k", "l")}
    assert len(names) == 4


async def test_the_oldest_leave_first_and_no_more_than_the_bound_stays(tmp_path: Path) -> None:
    kept = Transcripts(tmp_path / "t", lambda: "a", clock=lambda: NOW, most_bytes=2000)
    calls = [call(f"c{n}", transcripts=[{"user": "u", "text": "x" * 400}]) for n in range(12)]
    for n, one in enumerate(calls):
        await kept.keep(one, one)
        newest = max(kept.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (NOW.timestamp() + n, NOW.timestamp() + n))
        assert measured(kept.folder)[1] <= 2000
    held = await are_kept(kept, *calls)
    assert held == [False] * (12 - sum(held)) + [True] * sum(held)
    assert 3 <= sum(held) <= 4


async def test_what_is_old_is_neither_used_nor_kept(kept: Transcripts) -> None:
    await kept.keep(call(), call())
    (file,) = kept.folder.iterdir()
    long_ago = (NOW - timedelta(days=31)).timestamp()
    os.utime(file, (long_ago, long_ago))
    assert await are_kept(kept, call()) == [False]
    later = Transcripts(kept.folder, kept.account, clock=kept.clock)
    await later.keep(call("two"), call("two"))
    assert not file.exists()
    assert (cleared(kept.folder), list(kept.folder.iterdir()), cleared(kept.folder / "absent")) == (1, [], 0)


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"turns": 5, "updated_at": null}'], ids=range(4))
async def test_a_file_that_a_crash_cut_off_is_read_anew(kept: Transcripts, left: bytes) -> None:
    await kept.keep(call(), call())
    next(kept.folder.iterdir()).write_bytes(left)
    assert await are_kept(kept, call()) == [False]
    await kept.keep(call(), call())
    assert await are_kept(kept, call()) == [True]


async def test_a_folder_that_cannot_be_used_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    kept = Transcripts(tmp_path / "data" / "transcripts", lambda: "a", clock=lambda: NOW)
    await kept.keep(call(), call())
    assert await are_kept(kept, call()) == [False]


async def test_a_link_in_the_place_of_a_transcript_is_not_followed(kept: Transcripts, tmp_path: Path) -> None:
    await kept.keep(call(), call())
    (file,) = kept.folder.iterdir()
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert await are_kept(kept, call()) == [False]
