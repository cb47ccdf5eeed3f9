"""How a write whose answer was lost is told from others: by every field that it and its row have in common."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import types
from typing import Any, get_args

import pytest
from samples import samples

from calltriage.client.look_ups import Found, Verdict
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Effect, Operation
from calltriage.operations.flags import Flag, RemoveFlag
from calltriage.operations.results import Result
from calltriage.operations.traces import LeftRow, Likeness, Rows, Trace, all_agree, shared_fields

OTHERWISE_TYPED = {"add_comment": "comment", "prompt_norm": "prompt"}
"""Entries of the feed say besides what kind of entry they are."""


def asked(operation: type[Operation[Any]]) -> Operation[Any]:
    """The operation with all of its fields given."""
    given = {name: samples(operation, name)[0] for name in operation.model_fields}
    if "related_issue_id" in given:
        given["related_issue_id"] = samples(operation, "related_issue_id")[1]
    return operation.model_validate(given)


def rows_of(operation: Operation[Any]) -> Rows[Any]:
    trace = operation.trace()
    assert isinstance(trace, LeftRow)
    return trace.rows


def row_type(rows: Any) -> type[Result]:
    return rows.pages.result_type().__pydantic_generic_metadata__["args"][0]


LEAVING = [op for op in CATALOGUE if op.trace is not Operation[Any].trace and isinstance(asked(op).trace(), LeftRow)]


@pytest.mark.parametrize("operation", LEAVING, ids=lambda operation: operation.tool_name())
def test_a_row_that_differs_in_one_shared_field_is_not_the_write_s(operation: type[Operation[Any]]) -> None:
    write = asked(operation)
    rows = rows_of(write)
    row = row_type(rows)
    stored = {name: getattr(write, name) for name in operation.model_fields.keys() & row.model_fields.keys()}
    stored |= {"id": "row", "created_at": "2026-05-06T21:09:57Z", "updated_at": "2026-05-06T21:09:57Z"}
    if operation.tool_name() in OTHERWISE_TYPED:
        stored["type"] = OTHERWISE_TYPED[operation.tool_name()]
    equal = row.model_validate(
        {**stored, "resource_type": "call", "resource_id": getattr(write, "call_id", "")} | stored
    )
    if operation.tool_name() == "create_agent_session":  # of a session only the feed tells, and not whose it is
        return
    assert rows.same(equal) is True
    for name in shared_fields(write, equal):
        other = next(value for value in samples(operation, name) if value != stored[name])
        differing = row.model_validate({**equal.model_dump(exclude_none=True), name: other})
        assert rows.same(differing) is not True, name


def test_most_writes_share_fields_with_what_they_leave() -> None:
    shared = {
        op.tool_name(): len(shared_fields(asked(op), row_type(rows_of(asked(op))).model_construct())) for op in LEAVING
    }
    assert shared["add_flag"] >= 7
    assert shared["create_issue"] >= 8


def test_a_write_without_a_trace_is_named_at_the_start() -> None:
    with pytest.raises(TypeError, match="AddWidget"):
        types.new_class("AddWidget", (Operation[Flag],), {"http": "POST /v1/widgets", "effect": Effect.ADD})


class Forgetful(Operation[Flag], http="POST /v1/widgets", effect=Effect.ADD):
    """An operation that answers with a flag and says that nothing is left of it: the type checker refuses it."""

    def trace(self) -> Trace[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return RemoveFlag.model_construct().trace()


def test_nothing_is_not_found_for_a_write_that_answers_something() -> None:
    """The comment fails the type check once the checker takes this for right."""
    verdict: Verdict[Flag] = Found(None)  # pyright: ignore[reportAssignmentType]
    assert get_args(Verdict[Flag])
    assert isinstance(verdict, Found)


@pytest.mark.parametrize(
    ("likenesses", "together"),
    [([], True), ([True, True], True), ([True, None], None), ([None, True], None), ([None, True, False], False)],
)
def test_one_difference_decides_and_one_unreadable_field_leaves_it_open(
    likenesses: list[Likeness], together: Likeness
) -> None:
    assert all_agree(likenesses) is together


def test_fields_after_the_first_difference_are_not_compared() -> None:
    likenesses = iter([True, False, True])
    assert all_agree(likenesses) is False
    assert list(likenesses) == [True]
