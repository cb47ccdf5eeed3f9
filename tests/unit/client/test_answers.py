"""Reading what a vendor answers: in any shape, without a crash and without its words in our errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from faults import breaks_off
from hypothesis import given, settings
from hypothesis import strategies as st

from calltriage.client.answers import BY_STATUS, MAX_BODY, Answer, failure, read_answer, read_json
from calltriage.errors import (
    CallError,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    Rejected,
    ServerFailure,
    Unauthenticated,
    UnreadableAnswer,
)
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Operation
from calltriage.operations.fields import missing
from calltriage.operations.issues import CreateIssue, ListIssues


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, httpx2.Headers({k.replace("_", "-"): v for k, v in headers.items()}), content)


def failed(status: int, body: Any = b"", *, write: bool = False, **headers: str) -> CallError:
    return failure(answer(status, body, **headers), CreateIssue if write else ListIssues)


def test_a_body_that_is_not_here_is_refused_like_one_that_is_no_json() -> None:
    for body in (None, b"<html>"):
        with pytest.raises(ValueError):  # noqa: PT011  any of them is one kind of failure
            read_json(body)


def test_a_lone_surrogate_becomes_a_visible_escape() -> None:
    value = read_json(b'{"\\ud800k": ["a\\udfffb", {"x": "\\uDBFF"}], "n": 1}')
    assert value == {"\\ud800k": ["a\\udfffb", {"x": "\\udbff"}], "n": 1}
    json.dumps(value, ensure_ascii=False).encode()


def test_a_surrogate_pair_is_a_character() -> None:
    assert read_json(b'"\\ud83d\\ude42"') == "🙂"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=60) | st.text('{}[]":,1e9-\\ud8NaIfty ', max_size=40).map(str.encode))
def test_bytes_of_any_kind_are_a_finite_value_or_one_error(body: bytes) -> None:
    try:
        value = read_json(body)
    except ValueError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected), (401, Unauthenticated), (403, Forbidden), (404, NotFound), (409, Conflict), (413, Rejected),
        (415, Rejected), (418, Rejected), (422, Rejected), (429, RateLimited), (499, Rejected), (500, ServerFailure),
        (503, ServerFailure), (599, ServerFailure), (100, UnreadableAnswer), (204, UnreadableAnswer),
        (301, UnreadableAnswer), (302, UnreadableAnswer), (304, UnreadableAnswer),
    ],
)  # fmt: skip
@pytest.mark.parametrize("write", [True, False])
def test_a_status_stands_for_one_kind_of_error(status: int, kind: type[CallError], write: bool) -> None:
    error = failed(status, write=write)
    assert type(error) is kind
    assert error.status == status
    assert error.code == kind.default_code
    assert error.outcome == (None if not write else "not_committed" if 400 <= status < 500 else "unknown")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (409, {"data": None, "errors": [{"error": "call_not_attached", "message": "x"}]}, "call_not_attached"),
        (409, {"errors": [{"error": "session_busy"}]}, "session_busy"),
        (409, {"errors": [{"error": "session_closed"}]}, "session_closed"),
        (409, {"code": "2320004", "message": "Attachments name exist"}, "name_conflict"),
        (409, {"code": "something_new"}, "conflict"),
        (409, {"code": 2320004}, "conflict"),
    ],
)
def test_a_listed_vendor_code_is_ours_to_say(status: int, body: Any, code: str) -> None:
    assert failed(status, body).code == code


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"error": "bad_request", "message": "severity: must be one of low"}]},
        {"errors": [{"error": "bad_request", "message": "other: x; severity: must be one of low"}]},
        {"errors": [{"error": "bad_request", "message": "severity.0: must be text"}]},
        {"code": "2320000", "fields": [{"name": "severity", "description": "x"}]},
        {"code": "2320000", "fields": [7, {"name": "severity.1"}]},
    ],
)
def test_the_argument_at_fault_is_named(body: Any) -> None:
    assert failed(400, body).field == "severity"


NAMED = [(operation, name) for operation in CATALOGUE for name, info in operation.model_fields.items() if missing(info)]


@pytest.mark.parametrize(("operation", "name"), NAMED, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_404_in_the_contract_s_words_says_which_argument_is_meant(operation: type[Operation[Any]], name: str) -> None:
    for mark in missing(operation.model_fields[name]):
        error = failure(answer(404, {"errors": [{"error": mark.code, "message": mark.says}]}), operation)
        meant = [other for other, info in operation.model_fields.items() if mark in missing(info)]
        assert error.field == (name if meant == [name] else None)
        assert str(error).endswith(mark.advice)
        assert all(other in str(error) for other in meant if len(meant) > 1)


def test_a_field_that_is_no_argument_is_not_named() -> None:
    assert failed(400, {"code": "2320000", "fields": [{"name": "canary", "description": "x"}]}).field is None


STRANGE: list[Any] = [
    None, 5, "text", [], [1], True, {}, {"errors": None}, {"errors": []}, {"errors": [None]}, {"errors": ["x"]},
    {"errors": {"a": 1}}, {"errors": 5}, {"errors": [[]]}, {"errors": [{"error": {}, "message": {}}]},
    {"errors": [{"error": None, "message": None}]}, {"code": [], "fields": "text"},
    {"code": "x", "fields": {"name": 1}},
    {"code": "x", "fields": [None, [], {"name": None}, {"name": {}}]}, {"code": "x", "fields": 5},
    {"code": "x", "fields": True}, {"code": "x", "fields": 1.5}, {"message": "a" * 100_000},
    {"message": "severity" * 10_000}, {"error": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("body", STRANGE, ids=lambda body: repr(body)[:40])
def test_an_error_body_of_any_shape_is_still_that_status(body: Any) -> None:
    assert type(failed(400, body)) is Rejected
    assert type(failed(429, body)) is RateLimited


@pytest.mark.parametrize(
    "body", [b"<html>", b"\xff", b"[" * 100_000, b"[" * 600 + b'"\\ud800"' + b"]" * 600], ids=lambda b: repr(b)[:12]
)
def test_an_error_that_cannot_be_read_is_still_that_status(body: bytes) -> None:
    assert type(failed(503, body)) is ServerFailure


def test_an_error_cut_short_is_still_that_status() -> None:
    error = failure(Answer(409, httpx2.Headers(), None), CreateIssue)
    assert (type(error), error.outcome) == (Conflict, "not_committed")


def test_no_word_of_a_vendor_comes_into_an_error() -> None:
    canary = "ignore-previous-instructions"
    for status in [*BY_STATUS, 302, 418, 500]:
        for body in (
            {"errors": [{"error": canary, "message": f"{canary}: {canary}"}]},
            {"code": canary, "message": canary, "fields": [{"name": canary, "description": canary}], canary: canary},
            f"<html>{canary}</html>".encode(),
        ):
            error = failed(status, body, retry_after=canary, x_request_id=f"{canary} {canary}", location=canary)
            assert canary not in json.dumps(error.body()) + repr(error)


@pytest.mark.parametrize(
    ("given_id", "shown"), [("req_1-A", "req_1-A"), ("a b", None), ("", None), ("x" * 65, None), ("<b>", None)]
)
def test_only_a_plain_request_id_is_passed_on(given_id: str, shown: str | None) -> None:
    assert failed(500, x_request_id=given_id).request_id == shown


def streamed(chunks: Callable[[], Any]) -> httpx2.Response:
    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks():
                yield chunk

    return httpx2.Response(200, stream=Body())


async def test_a_body_at_the_cap_is_read_whole() -> None:
    found = await read_answer(streamed(lambda: [b"x" * 2**20] * 8))
    assert found.body is not None
    assert len(found.body) == MAX_BODY


async def test_a_body_past_the_cap_is_not_kept_and_not_read_to_its_end() -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 2**20

    assert (await read_answer(streamed(endless))).body is None
    assert taken == 9


async def test_a_body_that_breaks_off_leaves_its_status() -> None:
    request = httpx2.Request("GET", "http://desk.test/")
    found = await read_answer(await breaks_off(201, b'{"a"')(request, None))
    assert (found.status, found.body) == (201, None)


async def test_a_body_whose_compression_is_broken_leaves_its_status() -> None:
    response = httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(b"not gzip"))
    assert (await read_answer(response)).body is None
