"""The form, the limits and the words of each kind of value."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from calltriage.operations.fields import (
    AttachmentId,
    AttachmentName,
    CallId,
    Cursor,
    IssueId,
    Limit,
    MediaType,
    Metadata,
    Note,
    OpaqueId,
    stored_flag_type,
)

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"


def accepts(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", [IssueId, OpaqueId, CallId, AttachmentId])
@pytest.mark.parametrize(
    "value",
    [
        "", " ", "a b", "\t", "../x", "..", ".", "a/b", "a\\b", "%2F", "a%2Fb", "a\x00", "a\n", "\u202ea", "ａ", "a?b",
        "a#b", "a;b", f"{UUID}\n", f" {UUID}", f"{UUID}/..", "x" * 129, "\ud800",
    ],
)  # fmt: skip
def test_no_id_can_leave_its_path_segment(kind: Any, value: str) -> None:
    assert not accepts(kind, value)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=40))
@example("a.b:c@d+e-f_g")
def test_an_accepted_id_is_only_letters_digits_and_harmless_marks(value: str) -> None:
    if accepts(OpaqueId, value):
        assert re.fullmatch(r"[A-Za-z0-9_.:@+-]+", value)
        assert not value.startswith(".")


def test_an_issue_id_is_a_uuid_in_lower_case() -> None:
    assert TypeAdapter(IssueId).validate_python(UUID.upper()) == UUID
    assert not accepts(IssueId, "T-1001")
    assert not accepts(IssueId, UUID.replace("-", ""))
    assert not accepts(IssueId, UUID + "0")


@pytest.mark.parametrize("value", ["9a99931a-b58b-5ba6-82f2-df84e28886c3", "call-card", "a", "x" * 128, "+49:1@x.y"])
def test_ids_of_usual_forms_are_accepted(value: str) -> None:
    assert accepts(CallId, value)


def test_an_attachment_id_is_shorter_than_others() -> None:
    assert accepts(AttachmentId, "x" * 64)
    assert not accepts(AttachmentId, "x" * 65)


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x0b", "\x1b", "\x1f", "\x7f"])
@pytest.mark.parametrize("kind", [Note, Cursor, AttachmentName])
def test_text_refuses_control_characters(kind: Any, character: str) -> None:
    assert not accepts(kind, f"a{character}b")


@pytest.mark.parametrize("text", ["line\nfeed", "tab\tbed", "a\r\nb", "你好 🙂", "עברית", "e\u0301"])
def test_text_is_any_other_unicode(text: str) -> None:
    assert TypeAdapter(Note).validate_python(text) == text


def test_a_lone_surrogate_is_not_text() -> None:
    assert not accepts(Note, "a\ud800b")


@pytest.mark.parametrize(
    ("limit", "good"), [(0, False), (1, True), (100, True), (101, False), (-1, False), (1.5, False)]
)
def test_a_page_holds_1_to_100_items(limit: Any, good: bool) -> None:
    assert accepts(Limit, limit) is good


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("audio/mpeg", True),
        ("application/vnd.x+json", True),
        ("audio/*", False),
        ("*/*", False),
        ("audio", False),
        ("audio/", False),
        ("text/plain; charset=utf-8", False),
        ("text/plain\r\nx: y", False),
        ("a/" + "b" * 125, True),
        ("a/" + "b" * 126, False),
    ],
)
def test_a_media_type_is_exact(value: str, good: bool) -> None:
    assert accepts(MediaType, value) is good


@pytest.mark.parametrize(
    ("labels", "good"),
    [
        ({}, True),
        ({"a": "b", "n": 1, "f": 1.5, "t": True}, True),
        ({"k" * 127: "v" * 127}, True),
        ({"k" * 128: "v"}, False),
        ({"k": "v" * 128}, False),
        ({"": "v"}, False),
        ({"k": ""}, False),
        ({"k": None}, False),
        ({"k": ["v"]}, False),
        ({"k": {"v": 1}}, False),
        ({str(n): n for n in range(50)}, True),
        ({str(n): n for n in range(51)}, False),
        ({"k": "a\ud800"}, False),
    ],
)
def test_labels_are_flat_and_bounded(labels: Any, good: bool) -> None:
    assert accepts(Metadata, labels) is good


def test_labels_keep_their_types() -> None:
    labels = {"b": True, "i": 1, "f": 1.0, "s": "1"}
    kept = TypeAdapter(Metadata).validate_python(labels)
    assert [(name, type(value)) for name, value in kept.items()] == [(n, type(v)) for n, v in labels.items()]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_labels_refuse_numbers_that_json_does_not_have(number: float) -> None:
    assert not accepts(Metadata, {"k": number})


@pytest.mark.parametrize("labels", [{"k": "a\x00b"}, {"k\x00": "v"}])
def test_labels_refuse_control_characters(labels: Any) -> None:
    assert not accepts(Metadata, labels)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Missed handoff", "missed_handoff"),
        ("missed_handoff", "missed_handoff"),
        ("MissedHandoff", "missed_handoff"),
        ("missedHandoff", "missed_handoff"),
        ("HTTPError", "http_error"),
        ("wrong--answer!!", "wrong_answer"),
        ("  __x__  ", "x"),
        ("v2Beta", "v2_beta"),
        ("ＦＵＬＬ width", "full_width"),
        ("ﬁnal", "final"),
        ("caf\u00e9 noir", "caf_noir"),
        ("", ""),
        ("🙂", ""),
        ("漢字", ""),
    ],
)
def test_a_flag_type_is_stored_in_lower_snake_case(typed: str, stored: str) -> None:
    assert stored_flag_type(typed) == stored


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.text("aZ9 _-É", max_size=20))
def test_the_stored_form_of_a_stored_form_is_itself(typed: str) -> None:
    stored = stored_flag_type(typed)
    assert stored == "" or re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", stored)
    assert stored_flag_type(stored) == stored
