"""Checking an import: every fault is named, from whatever a file is made of."""

from __future__ import annotations

import json
import tracemalloc
from io import BytesIO
from typing import Any, BinaryIO, cast
from zoneinfo import ZoneInfo

import pytest
from conftest import call_line, read_lines

from calltriage.desk.importing import checking, documents
from calltriage.desk.importing.checking import checked
from calltriage.desk.importing.sources import Borrowed, Source, Text
from calltriage.errors import ImportFileError

CALL: dict[str, Any] = json.loads(call_line("c-1", "hello"))


def test_the_first_fifty_bad_lines_are_named_and_the_rest_counted() -> None:
    with pytest.raises(ImportFileError) as caught:
        read_lines([call_line("c-1"), *["{}"] * 73], skip_bad=False)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:50]] == [f"line {n}" for n in range(2, 52)]
    assert lines[50:] == ["and 23 more like these", "Nothing was loaded; mend them, or pass --skip-bad."]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([CALL, {**CALL, "call_id": "c-2"}], indent=2),
        json.dumps({"count": 2, "calls": [CALL, {**CALL, "call_id": "c-2"}]}, indent=2),
        json.dumps({"calls": [CALL, {**CALL, "call_id": "c-2"}], "next": None}),
        json.dumps([CALL, {**CALL, "call_id": "c-2"}]),
        json.dumps(CALL, indent=2) + "\n" + json.dumps({**CALL, "call_id": "c-2"}, indent=2),
        json.dumps(CALL) + json.dumps({**CALL, "call_id": "c-2"}),
        json.dumps(CALL) + "\r\n\r\n" + json.dumps([{**CALL, "call_id": "c-2"}]) + "\r\n",
        "\ufeff" + json.dumps([CALL, {**CALL, "call_id": "c-2"}], indent=2),
    ],
    ids=["list", "calls", "calls in a line", "list in a line", "one after another", "run together", "lines", "mark"],
)
def test_json_is_read_however_it_is_laid_out(text: str) -> None:
    entries, bad = read_lines([text], skip_bad=True)
    assert ([entry.id for entry in entries], bad) == (["c-1", "c-2"], ())


def test_a_call_that_has_calls_of_its_own_is_one_call() -> None:
    for indent in (None, 1):
        entries, _ = read_lines([json.dumps({**CALL, "calls": [{"to": "x"}]}, indent=indent)], skip_bad=False)
        assert entries[0].values["record"]["metadata"] == {"calls": [{"to": "x"}]}


def test_a_broken_document_is_named_by_its_line_and_what_was_expected() -> None:
    text = json.dumps([CALL, CALL], indent=1).replace('"turns": [', '"turns" [', 1)
    place = next(n for n, line in enumerate(text.splitlines(), 1) if '"turns" [' in line)
    entries, bad = read_lines([text], skip_bad=True)
    assert entries == []
    assert bad == (f"line {place}: not valid JSON at character 11: expecting ':' delimiter",)


def test_a_document_that_ends_early_keeps_what_came_before() -> None:
    text = json.dumps([CALL, {**CALL, "call_id": "c-2"}], indent=1)[:-20]
    entries, (complaint,) = read_lines([text], skip_bad=True)
    assert [entry.id for entry in entries] == ["c-1"]
    assert "not valid JSON" in complaint


def test_one_value_of_a_document_that_is_too_large_is_named_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "MAX_LINE", 2000)
    large = {**CALL, "call_id": "large", "more": "x" * 3000}
    entries, (complaint,) = read_lines([json.dumps([large, CALL], indent=1)], skip_bad=True)
    assert [entry.id for entry in entries] == ["c-1"]
    assert complaint.startswith("item 1: is larger than")


def test_a_text_that_does_not_end_is_given_up_and_what_came_before_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser goes through it again with each piece, so that its time grows with the square of the length."""
    monkeypatch.setattr(documents, "MAX_LINE", 2**16)
    monkeypatch.setattr(documents, "MAX_PIECE", 2**16)
    for rest in (
        '{"call_id": "' + "x" * 2**20,
        '{"call_id": "' + '\\"' * 2**17,
        '{"call_id": "c-2"' + " " * 2**20 + "}]",
    ):
        entries, (complaint,) = read_lines([f"[{json.dumps(CALL, indent=1)},\n{rest}"], skip_bad=True)
        assert [entry.id for entry in entries] == ["c-1"]
        assert complaint.startswith("item 2: holds a text of more than")


def test_a_list_in_a_line_that_is_too_long_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_LINE", 2**20)
    text = b"[" + b'{"a":1},' * 2**18 + b'{"a":1}]'
    source = Source("", lambda: cast("BinaryIO", Borrowed(BytesIO(text))))
    tracemalloc.start()
    found = next(documents.json_values(Text(source), lambda _: False))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == documents.Found("item 1", {"a": 1})
    assert peak < 8 * 2**20


DEEP = '{"call_id": "deep", "created_at": "2026-05-01T10:00:00Z", "turns": [], "more": %s}'


@pytest.mark.parametrize("indent", [None, 1])
def test_a_value_that_is_nested_too_deeply_is_named_and_the_others_are_read(indent: int | None) -> None:
    deep = DEEP % ("[" * 100 + "]" * 100)
    entries, (complaint,) = read_lines([f"[{deep},\n{json.dumps(CALL, indent=indent)}]"], skip_bad=True)
    assert [entry.id for entry in entries] == ["c-1"]
    assert complaint == "item 1: is nested too deeply"


def test_a_document_without_hope_is_read_no_further() -> None:
    entries, (complaint,) = read_lines([f"[{json.dumps(CALL)},\n" + "[" * 10**6], skip_bad=True)
    assert [entry.id for entry in entries] == ["c-1"]
    assert complaint == "item 2: is nested too deeply; nothing after it was read"


def test_the_members_of_one_object_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_LINE", 2**20)
    monkeypatch.setattr(documents, "MAX_VALUES", 2**16)
    crowd = ",\n".join(f'"m{number}": [{number}]' for number in range(2**16))
    entries, (complaint,) = read_lines([f"{{\n{crowd}}}\n{json.dumps(CALL)}"], skip_bad=True)
    assert [entry.id for entry in entries] == ["c-1"]
    assert complaint == "item 1: is larger than 1 MiB"


def test_of_a_file_that_is_no_file_of_calls_the_rest_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MOST_BAD", 3)
    lines = ["{}", "{}", json.dumps(CALL), "{}", "{}", "{}", json.dumps({**CALL, "call_id": "c-2"})]
    with checked([Source("", lambda: cast("BinaryIO", BytesIO("\n".join(lines).encode())))]) as found:
        assert (found.bad, found.entries.counts["call"]) == (5, 1)
        assert found.notes == ["not read beyond line 6: 3 in a row could not be loaded"]


@pytest.mark.parametrize(
    ("said", "zone", "shown"),
    [
        ("2026-05-01T10:00:00", "UTC", "2026-05-01T10:00:00.000Z"),
        ("2026-05-01T10:00:00", "Europe/Berlin", "2026-05-01T08:00:00.000Z"),
        ("2026-05-01T10:00:00+05:00", "Europe/Berlin", "2026-05-01T05:00:00.000Z"),
        (1777629600, "Europe/Berlin", "2026-05-01T10:00:00.000Z"),
        (1777629600000, "UTC", "2026-05-01T10:00:00.000Z"),
        (1777629600.5, "UTC", "2026-05-01T10:00:00.500Z"),
    ],
)
def test_times_are_told_apart_by_their_form(said: Any, zone: str, shown: str) -> None:
    (entry,), _ = read_lines([json.dumps({**CALL, "created_at": said})], skip_bad=False, zone=ZoneInfo(zone))
    assert entry.values["created_at"] == shown
    record = entry.values["record"]["created_at"]
    assert record in (said, shown)
    assert record == shown or zone == "UTC" or "+" in record


@pytest.mark.parametrize("number", [5, -1, 99_999_999, 10**30, True])
def test_a_number_that_is_no_time_is_refused(number: Any) -> None:
    with pytest.raises(ImportFileError, match="created_at: must be"):
        read_lines([json.dumps({**CALL, "created_at": number})], skip_bad=False)


WORDS = "Grüße – „Überweisung“ für 20 €, das wäre schön; à bientôt, señor."


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-8", "utf-8-sig"])
def test_a_file_is_read_in_the_encoding_that_it_has(encoding: str) -> None:
    text = json.dumps({**CALL, "summary": WORDS}, ensure_ascii=False) + "\n" + call_line("c-2", "plain")
    entries, bad = read_lines([text.encode(encoding)], skip_bad=True)
    assert ([entry.values["record"]["summary"] for entry in entries], bad) == ([WORDS, None], ())


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize(
    "words",
    [
        "The line is dead.",
        "Добрый день, мне нужна помощь с заказом. " * 9,
        "\u4e0a\u4e0a\u5348請求が二回来ています。" * 9,  # in UTF-16 the first characters hold the byte of a line's end
        "مرحبا أريد إلغاء الاشتراك " * 9,
        "고객이 환불을 요청했습니다. " * 9,
    ],
)
def test_a_file_of_two_or_four_bytes_a_character_needs_no_mark(words: str, encoding: str) -> None:
    text = json.dumps({**CALL, "summary": words.strip()}, ensure_ascii=False) + "\n"
    with checked([Source("", lambda: cast("BinaryIO", BytesIO(text.encode(encoding))))]) as found:
        assert [entry.values["record"]["summary"] for entry in found.entries] == [words.strip()]
        assert found.notes == [f"read as {encoding.upper()}"]


def test_a_byte_that_is_broken_in_utf_8_does_not_make_the_file_one_of_another_encoding() -> None:
    good = json.dumps({**CALL, "summary": WORDS}, ensure_ascii=False).encode()
    entries, bad = read_lines([good.replace("ü".encode(), b"\xfc"), good], skip_bad=True)
    assert [entry.values["record"]["summary"] for entry in entries] == [WORDS]
    assert bad == ("line 1: is not UTF-8; save the file in that encoding",)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8,
        b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(range(256)) * 8,
        b"%PDF-1.7\n" + bytes(range(128, 256)) * 8,
        b"\x1f\x8b\x08\x00broken",
        b"Dear all, please find the calls attached.\n",
        b"<html><body>404</body></html>",
    ],
    ids=["png", "wav", "pdf", "gzip", "letter", "page"],
)
def test_what_is_no_import_file_is_named_once_with_what_was_expected(data: bytes) -> None:
    entries, bad = read_lines([data], skip_bad=True)
    assert (entries, len(bad)) == ([], 1)
    assert "expected" in bad[0] or "packed" in bad[0]
