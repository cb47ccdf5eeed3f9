"""A list read page by page: to its end, to a bound, or to a cursor that leads nowhere."""

from __future__ import annotations

import pytest

from calltriage.client.pages import pages
from calltriage.operations.base import Operation
from calltriage.operations.issues import Issue, ListIssues
from calltriage.operations.results import Page


@pytest.mark.parametrize(
    ("most", "cursors", "asked"),
    [
        (9, ["b", "c", None], [None, "b", "c"]),
        (2, ["b", "c", None], [None, "b"]),
        (9, ["b", "b", "c"], [None, "b"]),
        (1, [None], [None]),
    ],
    ids=["to its end", "to a bound", "to a cursor that comes again", "one page"],
)
async def test_a_list_is_read_to_its_end_to_a_bound_or_to_a_cursor_that_comes_again(
    most: int, cursors: list[str | None], asked: list[str | None]
) -> None:
    answers, seen = iter(cursors), list[str | None]()

    async def send(operation: Operation[Page[Issue]]) -> Page[Issue]:
        assert isinstance(operation, ListIssues)
        assert operation.search == "lost card", "what else is asked for stays"
        seen.append(operation.cursor)
        return Page[Issue].model_construct(items=[], next_cursor=next(answers))

    assert len([page async for page in pages(send, ListIssues(search="lost card"), most)]) == len(asked)
    assert seen == asked
