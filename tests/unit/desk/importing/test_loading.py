"""Bringing own calls to the desk."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import anyio.lowlevel
import httpx2
import pytest
from conftest import KEY, Report, call_line, load_lines, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import update

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.desk.database.tables import organisations
from calltriage.desk.importing import loading as imports
from calltriage.desk.importing.checking import checked
from calltriage.desk.importing.documents import MAX_LINE, bounded_lines
from calltriage.desk.importing.loading import Imported, load_import
from calltriage.desk.importing.our_lines import CallFacts, CallLine
from calltriage.desk.importing.sources import find_sources
from calltriage.errors import ImportFileError, NotFound
from calltriage.operations.calls import GetCall, ListCalls
from calltriage.operations.issues import CreateIssue
from calltriage.operations.resource_links import AttachResource

SAMPLE = Path(__file__).parents[4] / "../shared/data/harper-valley-28.jsonl"

TYPED = {*CallLine.model_fields, *CallFacts.__annotations__}
"""Fields of a call's line that are not of any type."""

TURN = {"speaker": "agent", "text": "hello"}


EVENT: dict[str, Any] = {
    "sequence": 1, "event_type": "node.transition", "node_id": None, "operation_id": None, "payload": None,
}  # fmt: skip


def line(**changes: Any) -> str:
    """A good line with changes; `...` leaves a field out."""
    good: dict[str, Any] = {"call_id": "c-1", "created_at": "2026-05-01T10:00:00.000Z", "turns": [TURN]}
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not ...})


def record_of(text: str) -> dict[str, Any]:
    """The one call of the line."""
    (entry,), _ = read_lines([text], skip_bad=False)
    return entry.values["record"]


async def test_a_call_can_be_read_after_its_import(the_desk: Desk, client: Client) -> None:
    report = await load_lines(
        the_desk,
        line(
            ended_at="2026-05-01T10:01:30.000Z",
            summary="Lost card.",
            turns=[TURN, {"speaker": "caller", "text": "hi"}, {"speaker": "bot", "text": ""}],
        ),
    )
    assert report == Report(added=1, changed=0, unchanged=0, skipped=())
    call = await client.send(GetCall(call_id="c-1"))
    assert (call.call_id, call.created_at, call.call_length) == ("c-1", "2026-05-01T10:00:00.000Z", 1.5)
    assert call.summary == "Lost card."
    assert [(turn.user, turn.text) for turn in call.transcripts or []] == [
        ("assistant", "hello"),
        ("user", "hi"),
        ("bot", ""),
    ]


async def test_the_same_file_again_changes_nothing(the_desk: Desk) -> None:
    lines = [line(call_id=f"c-{number}") for number in range(5)]
    assert (await load_lines(the_desk, *lines)).added == 5
    assert await load_lines(the_desk, *lines) == Report(added=0, changed=0, unchanged=5, skipped=())


async def test_a_call_that_changed_is_replaced(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, line(summary="Old."))
    report = await load_lines(the_desk, line(summary="New."), line(call_id="c-2"))
    assert (report.added, report.changed, report.unchanged) == (1, 1, 0)
    assert (await client.send(GetCall(call_id="c-1"))).summary == "New."


async def test_a_call_that_only_its_files_name_names_is_told_when_another_file_replaces_it(
    the_desk: Desk, tmp_path: Path
) -> None:
    cue = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Agent>{}\n"
    replaced = list[tuple[tuple[str, str], ...]]()
    for folder, said in (("a", "Hello"), ("b", "Hi"), ("b", "Hi")):
        file = tmp_path / folder / "call.vtt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(cue.format(said), encoding="utf-8")
        with checked(find_sources([file])) as found:
            done = await load_import(the_desk, found.entries)
        replaced.append(done.replaced)
    assert replaced == [(), (("call", str(tmp_path / "b" / "call.vtt")),), ()]
    with checked(find_sources([tmp_path])) as found:
        done = await load_import(the_desk, found.entries)
    assert (done.added, done.replaced) == (2, ())


def many(count: int) -> list[str]:
    return [line(call_id=f"c-{number}") for number in range(count)]


async def test_an_import_goes_in_steps_and_tells_how_far_it_is(the_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "BATCH_ENTRIES", 2)
    monkeypatch.setattr(imports, "PAUSE", 0)
    entries, _ = read_lines(many(5), skip_bad=False)
    heard: list[int] = []
    await load_import(the_desk, entries, progress=lambda done: heard.append(done.through))
    assert heard == [2, 4, 5]


async def test_others_write_while_an_import_is_under_way(
    the_desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer is another connection, as another process would be, and waits for no longer than one step."""
    monkeypatch.setattr(imports, "BATCH_ENTRIES", 20)
    other = Desk(the_desk.folder, SecretStr(KEY), "http://other.test")
    entries, _ = read_lines(many(200), skip_bad=False)
    through: list[int] = []
    written_at: list[int] = []

    async def write_beside() -> None:
        while not through:
            await anyio.lowlevel.checkpoint()
        while len(through) < 10:
            await other.store.write(
                lambda connection: connection.execute(update(organisations).values(name=f"after {len(through)}"))
            )
            written_at.append(len(through))

    async with anyio.create_task_group() as group:
        group.start_soon(write_beside)
        assert (await load_import(the_desk, entries, progress=lambda done: through.append(done.through))).added == 200
    await other.close()
    assert written_at[0] < 10, "the other had its turn before the import was through"


async def test_an_import_that_breaks_off_is_completed_by_another_one(
    the_desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH_ENTRIES", 2)
    monkeypatch.setattr(imports, "PAUSE", 0)
    entries, _ = read_lines(many(5), skip_bad=False)

    def breaks(done: Imported) -> None:
        if done.through == 4:
            raise LookupError

    with pytest.raises(LookupError):
        await load_import(the_desk, entries, progress=breaks)
    assert (await client.send(GetCall(call_id="c-3"))).call_id == "c-3"
    with pytest.raises(NotFound):
        await client.send(GetCall(call_id="c-4"))
    assert await load_import(the_desk, entries) == Imported(added=1, changed=0, unchanged=4)
    assert await load_import(the_desk, entries) == Imported(added=0, changed=0, unchanged=5)


BAD: dict[str, str] = {
    "not JSON": "{",
    "two objects": line() + line(),
    "a list": "[]",
    "text": '"x"',
    "a number": "5",
    "null": "null",
    "no call_id": line(call_id=...),
    "no created_at": line(created_at=...),
    "no turns": line(turns=...),
    "call_id empty": line(call_id=""),
    "call_id a path": line(call_id="../x"),
    "call_id with a slash": line(call_id="a/b"),
    "call_id with a NUL": line(call_id="a\x00"),
    "call_id with a lone surrogate": line(call_id="a\ud800"),
    "call_id too long": line(call_id="x" * 129),
    "call_id a fraction": line(call_id=5.5),
    "call_id true": line(call_id=True),
    "created_at in words": line(created_at="yesterday"),
    "created_at null": line(created_at=None),
    "turns an object": line(turns={}),
    "turns null": line(turns=None),
    "a turn of text": line(turns=["hello"]),
    "a turn without text": line(turns=[{"speaker": "agent"}]),
    "a turn without speaker": line(turns=[{"text": "hello"}]),
    "a turn with an empty speaker": line(turns=[{"speaker": "", "text": "x"}]),
    "a turn whose text is a number": line(turns=[{"speaker": "agent", "text": 5}]),
    "a turn whose text is endless": line(turns=[{"speaker": "agent", "text": "x" * 100_001}]),
    "summary a list": line(summary=["x"]),
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep metadata": line()[:-1] + ', "more": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "a number of 5000 digits": line()[:-1] + ', "more": ' + "1" * 5_000 + "}",
    "NaN": line()[:-1] + ', "more": NaN}',
    "Infinity in a turn": line(turns=[{**TURN, "at": float("inf")}]),
    "a number past all floats": line()[:-1] + ', "more": 1e999}',
    "created_at before the calendar": line(created_at="0001-01-01T00:00:00+14:00"),
    "created_at after the calendar": line(created_at="9999-12-31T23:59:59-14:00"),
    "created_at in the year 1": line(created_at="0001-01-01T00:00:00Z"),
    "created_at on no day": line(created_at="2026-02-30T00:00:00Z"),
    "created_at with an absurd offset": line(created_at="2026-05-01T10:00:00+99:99"),
    "created_at as seconds in text": line(created_at="1591056783"),
    "created_at endless": line(created_at="2026-05-01T10:00:00." + "0" * 5000),
    "an event at no time": line(pathway_events=[{**EVENT, "created_at": "0001-01-01T00:00:00+14:00"}]),
    "an event at the end of time": line(pathway_events=[{**EVENT, "created_at": "9999-12-31T23:59:59-14:00"}]),
    "a number that is no text": line(to=5551234567),
    "a completed that is no truth value": line(completed="yes"),
    "a batch id that is endless": line(batch_id="b" * 257),
    "a kind that is unknown": line(kind="fax"),
    "a kind that is no text": line(kind=["call"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_line_is_named_and_nothing_is_loaded(the_desk: Desk, client: Client, name: str) -> None:
    with pytest.raises(ImportFileError, match=r"^line 3: .*Nothing was loaded"):
        await load_lines(the_desk, line(call_id="c-0"), "", BAD[name], line(call_id="c-9"))
    with pytest.raises(NotFound):
        await client.send(GetCall(call_id="c-0"))


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_line_may_be_skipped(the_desk: Desk, client: Client, name: str) -> None:
    report = await load_lines(the_desk, line(call_id="c-0"), "", BAD[name], line(call_id="c-9"), skip_bad=True)
    assert report.added == 2
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith("line 3: ")
    assert [(await client.send(GetCall(call_id=call))).call_id for call in ("c-0", "c-9")] == ["c-0", "c-9"]


async def test_one_id_with_two_contents_is_a_bad_line(the_desk: Desk) -> None:
    with pytest.raises(ImportFileError, match=r"^line 2: .*earlier line"):
        await load_lines(the_desk, line(), line(summary="Other."))
    report = await load_lines(the_desk, line(), line(summary="Other."), line(call_id="c-2"), skip_bad=True)
    assert (report.added, len(report.skipped)) == (2, 1)


async def test_one_id_with_one_content_twice_is_one_call(the_desk: Desk) -> None:
    assert (await load_lines(the_desk, line(), line())).added == 1


@pytest.mark.parametrize("name", BAD)
def test_a_complaint_does_not_repeat_the_line(name: str) -> None:
    text = BAD[name].replace("yesterday", "canary").replace("hello", "canary")
    with pytest.raises(ImportFileError) as caught:
        read_lines([line(call_id="c-0", turns=[]), text], skip_bad=False)
    assert "canary" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_blank_lines_are_nothing() -> None:
    assert read_lines(["", "  ", "\n"], skip_bad=False) == ([], ())


def test_everything_else_is_kept_as_metadata() -> None:
    record = record_of(line(session="s", labels={"mos": 3.0}, agent={"name": "Elizabeth", "more": [1, None]}))
    assert record["metadata"] == {
        "session": "s",
        "labels": {"mos": 3.0},
        "agent": {"name": "Elizabeth", "more": [1, None]},
    }


def test_further_fields_of_a_turn_are_kept() -> None:
    (turn,) = record_of(line(turns=[{**TURN, "start_ms": 5, "emotion": {"calm": 0.5}}]))["transcripts"]
    assert (turn["start_ms"], turn["emotion"]) == (5, {"calm": 0.5})


def test_further_fields_of_a_turn_do_not_change_who_said_it_or_its_place() -> None:
    turns = [{"speaker": "agent", "text": "a", "user": "user", "id": "x"}, {"speaker": "caller", "text": "b", "id": 7}]
    record = record_of(line(turns=turns))
    assert [(turn["id"], turn["user"], turn["text"]) for turn in record["transcripts"]] == [
        (0, "assistant", "a"),
        (1, "user", "b"),
    ]


@pytest.mark.parametrize("created_at", [1591056783, 1591056783191, 1591056783.5, True])
async def test_a_call_whose_time_is_a_number_is_refused_or_can_be_read(
    the_desk: Desk, client: Client, created_at: Any
) -> None:
    try:
        await load_lines(the_desk, line(created_at=created_at))
    except ImportFileError:
        return
    assert isinstance((await client.send(GetCall(call_id="c-1"))).created_at, str)


@pytest.mark.slow
@pytest.mark.parametrize("ended_at", ["yesterday", "2026-05-01T09:00:00.000Z", 5, None, ["x"], "", "9999-99-99"])
async def test_an_end_that_makes_no_sense_gives_no_length(the_desk: Desk, client: Client, ended_at: Any) -> None:
    await load_lines(the_desk, line(ended_at=ended_at))
    call = await client.send(GetCall(call_id="c-1"))
    assert call.call_length is None
    assert call.metadata == {"ended_at": ended_at}


@pytest.mark.parametrize(
    ("began", "zone", "shown", "length"),
    [
        ("2026-05-01T10:00:00", "UTC", "2026-05-01T10:00:00.000Z", 6.0),
        ("2026-05-01 10:00:00", "Asia/Kolkata", "2026-05-01T04:30:00.000Z", 6.0),
        ("2026-05-01T10:00:00+05:30", "UTC", "2026-05-01T10:00:00+05:30", 6.0),
        ("2026-05-01T10:00:00+05:30", "Europe/Oslo", "2026-05-01T10:00:00+05:30", 6.0),
        ("2026-05-01T09:00:00Z", "Europe/Oslo", "2026-05-01T09:00:00Z", 66.0),
    ],
)
def test_naive_times_are_of_the_zone_that_the_call_names_or_else_of_the_import(
    began: str, zone: str, shown: str, length: float
) -> None:
    end = "2026-05-01T10:06:00"
    text = line(created_at=began, ended_at=end, pathway_events=[{**EVENT, "created_at": end}])
    (entry,), _ = read_lines([text], skip_bad=False, zone=ZoneInfo(zone))
    record = entry.values["record"]
    assert (record["created_at"], record["call_length"]) == (shown, length)
    ended = datetime.fromisoformat(record["end_at"])
    assert ended == datetime.fromisoformat(entry.values["events"][0]["created_at"])
    assert ended - datetime.fromisoformat(shown) == timedelta(minutes=length)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "length"),
    [
        ({"ended_at": "2026-05-01T10:01:30"}, 1.5),
        ({"ended_at": 1777629690}, 1.5),
        ({"call_length": 3}, 3.0),
        ({"call_length": 3, "ended_at": "2026-05-01T10:01:30Z"}, 1.5),
        ({"call_length": True}, None),
        ({"call_length": 10**400}, None),
        ({"call_length": -1}, None),
    ],
)
async def test_the_length_of_a_call_is_taken_from_its_end_or_as_given(
    the_desk: Desk, client: Client, more: dict[str, Any], length: float | None
) -> None:
    await load_lines(the_desk, line(**more))
    call = await client.send(GetCall(call_id="c-1"))
    kept = {name: value for name, value in more.items() if name != "call_length" or value != length}
    assert (call.call_length, call.metadata) == (length, kept)
    listed = (await client.send(ListCalls())).calls
    assert [row.call_length for row in listed if row.call_id == "c-1"] == [length]


async def test_rows_of_lists_show_what_there_is_and_no_more(the_desk: Desk, desk: httpx2.AsyncClient) -> None:
    facts = {"from": "+1", "to": None, "completed": True, "inbound": False, "pathway_id": "p", "batch_id": "b", "x": 1}
    conversation = {"kind": "sms_conversation", "conversation_id": "s-1", "created_at": "2026-05-01T10:00:00Z"}
    more = {"is_active": True, "messages": [{"sender": "user", "text": "hi"}], "own": {"a": [True, None]}}
    await load_lines(the_desk, line(created_at="2026-05-02T10:00:00Z", **facts), json.dumps({**conversation, **more}))
    row = (await desk.get("/v1/calls", params={"limit": 1})).json()["calls"][0]
    assert row == {
        "call_id": "c-1", "created_at": "2026-05-02T10:00:00Z", "call_length": None, "queue_status": "complete",
        "status": "completed", "error_message": None, "answered_by": None, "issues": [],
        **{name: facts[name] for name in facts if name != "x"},
    }  # fmt: skip
    [row] = (await desk.get("/v1/sms/conversations")).json()["data"]
    assert (row["is_active"], row["own"], row["last_message"]) == (True, {"a": [True, None]}, "hi")
    assert not {"messages", "disposition_logs"} & row.keys()


async def test_the_bytes_of_files_count_for_what_a_step_takes(the_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "BATCH_BYTES", 5000)
    entries, _ = read_lines([file_line(f"f-{n}", b"x" * 3000 + bytes([n])) for n in range(4)], skip_bad=False)
    heard = list[int]()
    await load_import(the_desk, entries, progress=lambda done: heard.append(done.through))
    assert heard == [2, 4]


STRANGE_TEXT: dict[str, tuple[str, str]] = {
    "a lone surrogate": ("a\ud800b", "a\\ud800b"),
    "a lone low surrogate": ("\udfff", "\\udfff"),
    "an emoji": ("🙂", "🙂"),
    "right to left": ("\u202eabc", "\u202eabc"),
    "a line feed": ("a\nb", "a\nb"),
    "an escape that was text already": ("a\\ud800b", "a\\ud800b"),
    "quotes": ('"}', '"}'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRANGE_TEXT)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"turns": [{"speaker": "agent", "text": text}]},
        lambda text: {"turns": [{"speaker": text, "text": "x"}]},
        lambda text: {"summary": text},
        lambda text: {"more": {text: [text]}},
        lambda text: {text: 1},
    ],
    ids=["text", "speaker", "summary", "metadata", "key"],
)
async def test_strange_text_comes_back_visible(
    the_desk: Desk, client: Client, name: str, place: Callable[[str], dict[str, Any]]
) -> None:
    given_text, shown = STRANGE_TEXT[name]
    await load_lines(the_desk, line(**place(given_text)))
    call = (await client.send(GetCall(call_id="c-1"))).model_dump(mode="json")
    json.dumps(call, ensure_ascii=False).encode()
    assert json.dumps(shown) in json.dumps(call)


async def test_text_with_a_nul_comes_back_with_all_its_words(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, line(turns=[{"speaker": "agent", "text": "before\x00after"}], summary="one\x00two"))
    call = await client.send(GetCall(call_id="c-1"))
    (turn,) = call.transcripts or []
    assert turn.text.startswith("before")
    assert turn.text.endswith("after")
    assert (call.summary or "").endswith("two")


async def test_nested_metadata_that_was_accepted_can_be_read(the_desk: Desk, client: Client) -> None:
    for depth in (50, 200, 300, 400, 600, 800, 900, 950):
        call_id = f"deep-{depth}"
        text = line(call_id=call_id)[:-1] + ', "more": ' + "[" * depth + "]" * depth + "}"
        try:
            await load_lines(the_desk, text)
        except ImportFileError:
            continue
        assert (await client.send(GetCall(call_id=call_id))).call_id == call_id


@pytest.mark.slow
async def test_the_largest_call_that_can_be_imported_can_be_read_and_one_byte_more_is_refused(
    the_desk: Desk, client: Client
) -> None:
    """The bound is found by halving: whatever is accepted must be readable, and the first refusal says why."""

    def of_size(count: int) -> str:
        full, rest = divmod(count, 100_000)
        texts = ["é" * 100_000] * full + ["x" * rest]
        return line(call_id="large", turns=[{"speaker": "agent", "text": text} for text in texts])

    def is_accepted(count: int) -> bool:
        return not read_lines([of_size(count)], skip_bad=True)[1]

    low, high = 1_000_000, 5_000_000
    assert is_accepted(low)
    assert not is_accepted(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_accepted(middle) else (low, middle)
    await load_lines(the_desk, of_size(low))
    call = await client.send(GetCall(call_id="large"))
    assert sum(len(turn.text) for turn in call.transcripts or []) == low
    with pytest.raises(ImportFileError, match=r"^line 1: is too large to be read back: .* 8 MiB\."):
        await load_lines(the_desk, of_size(high))


async def test_the_neighbouring_answers_of_a_call_are_bounded_too(the_desk: Desk) -> None:
    heard = [{"start": 0.0, "end": 1.0, "text": "x" * 90_000} for _ in range(100)]
    events = [{**EVENT, "created_at": "2026-05-01T10:00:00Z", "payload": {"a": "x" * 90_000}} for _ in range(100)]
    for more in ({"corrected": heard}, {"pathway_events": events}):
        with pytest.raises(ImportFileError, match="too large to be read back"):
            await load_lines(the_desk, line(**more))


@pytest.mark.slow
async def test_a_page_of_calls_with_the_longest_facts_can_be_read(the_desk: Desk, client: Client) -> None:
    facts = dict.fromkeys(["from", "to", "queue_status", "error_message", "answered_by", "pathway_id"], "🙂" * 256)
    await load_lines(the_desk, *(line(call_id=f"f-{n}", summary="🙂" * 50_000, **facts) for n in range(100)))
    assert len((await client.send(ListCalls(limit=100))).calls) == 100


async def test_the_title_of_a_link_is_one_line_of_a_summary_that_is_kept_whole(the_desk: Desk, client: Client) -> None:
    summary = "First line.\n" + "and so on " * 1000
    await load_lines(the_desk, line(summary=summary))
    issue = await client.send(CreateIssue(title="t", severity="low", category="Bug"))
    link = await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="c-1"))
    assert link.title.startswith("First line. and so on")
    assert len(link.title) == 200
    assert (await client.send(GetCall(call_id="c-1"))).summary == summary


def test_a_line_without_end_is_refused_without_being_held() -> None:
    endless = line(call_id="c-0").encode() + b"\n" + b"x" * (3 * MAX_LINE) + b"\n" + line().encode()
    assert [len(found) <= MAX_LINE + 1 for found in bounded_lines(TextIOWrapper(BytesIO(endless)))] == [True] * 3
    entries, skipped = read_lines([endless], skip_bad=True)
    assert len(entries) == 2
    assert skipped == ("line 2: is longer than 32 MiB",)


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    entries, _ = read_lines([b"\xef\xbb\xbf" + line().encode()], skip_bad=False)
    assert entries[0].id == "c-1"


def test_separators_of_lines_in_unicode_are_part_of_a_text() -> None:
    text = json.dumps(
        json.loads(line(turns=[{"speaker": "agent", "text": "one\u2028two\x85three"}])), ensure_ascii=False
    )
    lines = list(
        bounded_lines(TextIOWrapper(BytesIO(f"{text}\r\n{line(call_id='c-2')}\n".encode()), "utf-8", newline="\n"))
    )
    entries, _ = read_lines(lines, skip_bad=False)
    assert [entry.id for entry in entries] == ["c-1", "c-2"]


def file_line(name: str, data: bytes, **more: Any) -> str:
    return json.dumps({"kind": "file", "name": name, "base64": base64.b64encode(data).decode(), **more})


async def test_a_file_that_was_skipped_is_not_loaded(the_desk: Desk) -> None:
    lines = [file_line("a.txt", b"one", file_id="id1"), file_line("a.txt", b"two", file_id="id2")]
    done = await load_lines(the_desk, *lines, skip_bad=True)
    assert (done.added, len(done.skipped)) == (1, 1)


def test_a_call_and_a_conversation_may_have_one_id() -> None:
    conversation = {"kind": "sms_conversation", "conversation_id": "1", "created_at": "2026-05-01T10:00:00Z"}
    entries, _ = read_lines([line(call_id="1"), json.dumps({**conversation, "messages": []})], skip_bad=False)
    assert [entry.kind for entry in entries] == ["call", "sms_conversation"]


@pytest.mark.parametrize("where", ["base64", "path"])
def test_one_limit_bounds_every_file_before_anything_is_loaded(tmp_path: Path, where: str) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    big = file_line("big", b"x" * 11) if where == "base64" else json.dumps({"kind": "file", "path": "big"})
    with pytest.raises(ImportFileError, match=r"^line 2: is a file larger than"):
        read_lines([file_line("small", b"x" * 10), big], skip_bad=False, folder=tmp_path, limit=10)


STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
"""What is kept as it is; half a surrogate pair and NUL become visible escapes."""
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(STORABLE, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(STORABLE, max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(JSON_VALUES | st.dictionaries(st.sampled_from(["call_id", "created_at", "turns", "summary"]), JSON_VALUES))
def test_a_line_of_any_json_is_a_call_or_a_named_complaint(value: Any) -> None:
    found, skipped = read_lines([json.dumps(value)], skip_bad=True)
    assert len(found) + len(skipped) == (len(value) or 1 if isinstance(value, list) else 1)
    assert all(re.match(r"line 1(, item [0-9]+)?: ", complaint) for complaint in skipped)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    more=st.dictionaries(st.text(STORABLE, max_size=8).filter(lambda name: name not in TYPED), JSON_VALUES, max_size=4),
    texts=st.lists(st.text(STORABLE, max_size=20), max_size=5),
)
def test_nothing_of_a_good_line_is_lost(more: dict[str, Any], texts: list[str]) -> None:
    taken = {"call_id", "created_at", "turns", "summary"}
    more = {key: value for key, value in more.items() if key not in taken}
    record = record_of(call_line("c-1", *texts, **more))
    assert [turn["text"] for turn in record["transcripts"]] == texts
    assert record["metadata"] == more


def test_nul_is_shown_and_what_looks_like_it_is_kept() -> None:
    record = record_of(call_line("c-1", "a\x00b", "a\\u0000b", "\\\x00", more={"\x00": ["\x00"]}))
    assert [turn["text"] for turn in record["transcripts"]] == ["a\\u0000b", "a\\u0000b", "\\\\u0000"]
    assert record["metadata"] == {"more": {"\\u0000": ["\\u0000"]}}


def sample_lines() -> list[str]:
    if not SAMPLE.is_file():
        pytest.skip("no sample calls here")
    return SAMPLE.read_text(encoding="utf-8").splitlines()


async def test_the_sample_calls_can_be_imported_and_read(the_desk: Desk, client: Client) -> None:
    lines = sample_lines()
    assert await load_lines(the_desk, *lines) == Report(added=28, changed=0, unchanged=0, skipped=())
    calls = [await client.send(GetCall(call_id=json.loads(text)["call_id"])) for text in lines]
    assert sum(len(call.transcripts or []) for call in calls) == 509
    assert all(call.call_length for call in calls)
    assert await load_lines(the_desk, *lines) == Report(added=0, changed=0, unchanged=28, skipped=())
