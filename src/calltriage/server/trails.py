"""Notices lists that go round: pages that come again under another cursor, also in a later call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

MOST_CURSORS = 10_000
"""Cursors whose way is remembered; older ones are forgotten first."""
MOST_PAGES = 64
"""Pages before a cursor that are remembered. A longer round is not noticed."""


class Trails:
    """The pages that led to each cursor that this process handed out, in memory. Nothing is known of cursors of other
    processes."""

    def __init__(self) -> None:
        self._led: OrderedDict[int, tuple[int, ...]] = OrderedDict()

    def goes_round(self, asked: str, cursor: str | None, rows: Iterable[object], following: str | None) -> bool:
        """Whether a page has the rows of one that led to its cursor. If not, the next page's cursor is remembered.

        Args:
            asked: who asked for which list, by all that narrows or sorts it.
            cursor: of this page, None for the first.
            rows: what names each of its rows. A page without any repeats none.
            following: cursor of the next page.
        """
        page, led = frozenset(rows), self._led.get(hash((asked, cursor)), ())
        if not page:
            return False
        if hash(page) in led:
            return True
        if following is not None:
            key = hash((asked, following))
            self._led[key] = (*led, hash(page))[-MOST_PAGES:]
            self._led.move_to_end(key)
            if len(self._led) > MOST_CURSORS:
                self._led.popitem(last=False)
        return False
