"""Categories: the catalogue of issue labels (bland-triage, section 4). A label need not be in it to be used."""

from pydantic import Field

from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import DEFAULT_LIMIT, Cursor, Limit
from calltriage.operations.fields import Category as CategoryName
from calltriage.operations.results import Page, Result
from calltriage.operations.traces import Rows, Trace, agree, caseless, row

BUILT_IN = ("Transcription", "Speech", "Dialogue", "Routing", "Tools", "Latency", "Telephony", "Bug")
"""Names that every organisation has; the id of each is `built-in:` and the name in lower case."""


class Category(Result, origin="issue authors"):
    """A label."""

    id: str = ""
    org_id: str | None = None
    name: str
    created_at: str | None = None


class ListCategories(Operation[Page[Category]], http="GET /v1/triage/categories", effect=Effect.READ):
    """List the categories (labels) that issues are filed under, by name: built-in ones, created ones, and those in use."""

    limit: Limit | None = Field(default=None, description=f"Page size, default {DEFAULT_LIMIT}.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class CreateCategory(Operation[Category], http="POST /v1/triage/categories", effect=Effect.ENSURE, success=(201, 200)):
    """Add a category to the catalogue. Needed only for a name that no issue uses yet: create_issue takes any.

    A name that exists, case ignored, is returned instead (outcome replayed).
    """

    name: CategoryName = Field(description="Its case is kept.")

    def trace(self) -> Trace[Category]:
        return row(Rows(ListCategories(), lambda one: agree(self, one, forms={"name": caseless}), unique=True))
