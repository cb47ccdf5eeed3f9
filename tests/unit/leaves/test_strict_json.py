"""The strict reader of JSON."""

from __future__ import annotations

import math
import tracemalloc

import pytest

from calltriage.leaves.strict_json import MAX_DEPTH, MAX_VALUES, RefusedJson, read_json


def is_refused(body: bytes) -> bool:
    try:
        read_json(body)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    "body",
    [
        "{}".encode("utf-16"),
        b"",
        b"<html>",
        b'{"a": 1',
        b'{"a": "',
        b"\xff\xfe\x00",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b"NaN",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"1" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"{} {}",
        b"{'a': 1}",
    ],
    ids=lambda body: repr(body)[:20],
)
def test_what_is_not_json_is_one_kind_of_error(body: bytes) -> None:
    assert is_refused(body)


@pytest.mark.parametrize("body", [b"1e999", b'{"a": -1e999}', b"[1e400]"])
def test_a_number_too_large_to_be_finite_is_refused(body: bytes) -> None:
    assert is_refused(body)


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert read_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_read_to_the_limit_and_refused_beyond(opening: bytes, closing: bytes) -> None:
    """What is read is written again by code that recurses; 700 levels stopped it."""

    def nested(depth: int) -> bytes:
        return opening * depth + b'"\\ud800"' + closing * depth

    value = read_json(nested(MAX_DEPTH - 1))
    for _ in range(MAX_DEPTH - 1):
        value = value[0] if isinstance(value, list) else value["a"]
    assert value == "\ud800"
    assert all(is_refused(nested(depth)) for depth in (MAX_DEPTH, 100, 700, 1_000, 5_000))


def test_finite_numbers_stay_what_they_are() -> None:
    assert read_json(b"[1, -0.5, 1e300]") == [1, -0.5, 1e300]
    assert not math.isinf(read_json(b"1e308"))


def test_a_byte_order_mark_is_no_part_of_the_value() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("unit", ["[", '{"a":', "[],", "0,", '{"a":1},'])
def test_megabytes_of_brackets_are_refused_before_their_values_are_made(unit: str) -> None:
    text = ("[" if unit.endswith(",") else "") + unit * (16 * 2**20 // len(unit))
    for raw in (text, text.encode()):
        tracemalloc.start()
        with pytest.raises(RefusedJson):
            read_json(raw)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20


def test_what_values_a_text_may_hold_is_counted_not_its_length() -> None:
    assert len(read_json('["' + "x" * (4 * MAX_VALUES) + '"]')[0]) == 4 * MAX_VALUES
    assert read_json("[1,2,3]", most=4) == [1, 2, 3]
    with pytest.raises(RefusedJson, match="holds more than 2 values"):
        read_json("[1,2,3]", most=2)
