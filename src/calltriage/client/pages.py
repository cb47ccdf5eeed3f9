"""A list that an API gives in pages, read from its beginning."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from calltriage.operations.base import Operation
from calltriage.operations.results import Page

R = TypeVar("R", bound=Page[Any])


async def pages(send: Callable[[Operation[R]], Awaitable[R]], asked: Operation[R], most: int) -> AsyncGenerator[R]:
    """The first `most` pages of a list. A cursor that comes again leads nowhere and ends them. Raises what `send` raises."""
    cursors = set[str]()
    for _ in range(most):
        page = await send(asked)
        yield page
        cursor = page.next_cursor
        if cursor is None or cursor in cursors:
            return
        cursors.add(cursor)
        asked = asked.model_copy(update={"cursor": cursor})
