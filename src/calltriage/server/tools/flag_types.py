"""Listing the types of flags, so that equal moments get equal types."""

from typing import ClassVar, Required, TypedDict

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.folding import folded, unaccented
from calltriage.operations.base import Effect
from calltriage.operations.fields import Limit, Word
from calltriage.operations.flags import FlagTypeUse, ListFlagTypes
from calltriage.operations.results import Page
from calltriage.server.answers.counted_lists import CURSOR, RowCursor, brief_row, page_of
from calltriage.server.answers.results import lacking
from calltriage.server.answers.shapes import Page as PageShown
from calltriage.server.context import Invocation, Workflow, every_page

PAGES = 20
"""Pages of a hundred types that are read at most."""
ROWS = 50
SCOPE = "Types of all flags in the organisation, not of one issue."


class FlagTypeRow(TypedDict, total=False):
    """A type of flags."""

    type: str
    description: str
    usage_count: int
    last_used_at: str


class FlagTypeRows(PageShown, total=False):
    """A page of types, and of which flags they are."""

    items: Required[list[FlagTypeRow]]
    scope: Required[str]


class ListFlagTypesTool(Workflow, effect=Effect.READ):
    """List the flag types in use, the organisation's, most used first, with what they mean and how often they are set.

    Read it before add_flag: equal moments get equal types.
    """

    result: ClassVar[object] = FlagTypeRows

    search: Word | None = Field(default=None, description="Parts of words.")
    limit: Limit = ROWS
    cursor: RowCursor | None = Field(default=None, description=CURSOR)

    async def run(self, work: Invocation) -> JsonObject:
        pages = list[Page[FlagTypeUse]]()
        _, is_whole = await every_page(
            work.server.client,
            lambda cursor: ListFlagTypes(limit=100, cursor=cursor),
            PAGES,
            lambda page: bool(pages.append(page)),
        )
        kinds = [kind for page in pages for kind in _in_their_places(page)]
        lost = [place for place, kind in enumerate(kinds) if kind is None]
        wanted = kinds if self.search is None else [kind for kind in kinds if kind and _holds(kind, self.search)]
        first = int(self.cursor or 0)
        some = wanted[first : first + self.limit]
        rows = [brief_row(kind.model_dump(mode="json"), tuple(FlagTypeRow.__annotations__)) for kind in some if kind]
        gone = [place for place, kind in enumerate(some) if kind is None]
        page = page_of(rows, first, len(wanted), FlagTypeUse.origin or "", lost=gone)
        missing: JsonObject = (
            {} if is_whole or lost else {"complete": False, "note": "The API's list may have more types."}
        )
        return page | (lacking(lost) if self.search else {}) | missing | {"scope": SCOPE}


def _in_their_places(page: Page[FlagTypeUse]) -> list[FlagTypeUse | None]:
    """The rows of a page, None where one cannot be read."""
    lost, rows = set(page.unreadable_rows("items")), iter(page.items)
    return [None if place in lost else next(rows) for place in range(len(page.items) + len(lost))]


def _holds(kind: FlagTypeUse, search: str) -> bool:
    """Whether each word of a search is part of the type or of what it means. "hand off" finds missed_handoff."""
    text = unaccented(folded(f"{kind.type} {kind.description}"))
    words = unaccented(folded(search)).replace("_", " ").split()
    return all(word in text for word in words)
