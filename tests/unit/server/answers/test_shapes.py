"""Rows that say what was declared, whatever an API sends in them."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from calltriage.server.answers.shapes import as_declared


class Row(TypedDict, total=False):
    name: str
    count: int
    share: float
    done: bool
    tags: list[str]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a", "count": 2, "share": 2, "done": True, "tags": ["x"]},
        {"name": None, "share": 0.5, "further": {"any": 1}},
    ],
)
def test_values_of_the_declared_types_stay_as_they_are(fields: dict[str, Any]) -> None:
    assert as_declared(fields, Row) == fields


@pytest.mark.parametrize("known", [{}, {"unreadable_fields": None}, {"unreadable_fields": ["first"]}])
def test_other_values_are_left_out_and_named(known: dict[str, Any]) -> None:
    fields = {"name": ["a"], "count": True, "share": "half", "done": "yes", "tags": {"x": 1}}
    earlier = known.get("unreadable_fields") or []
    assert as_declared(fields | known, Row) == {"unreadable_fields": [*earlier, *fields]}


def test_a_number_where_a_text_is_declared_is_that_text() -> None:
    assert as_declared({"name": 17}, Row) == {"name": "17"}
