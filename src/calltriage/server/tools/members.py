"""Who an issue can belong to."""

from typing import ClassVar, Required, TypedDict

from pydantic import Field

from calltriage.errors import NotFound
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.folding import folded, unaccented
from calltriage.operations import members
from calltriage.operations.base import Effect
from calltriage.operations.fields import Word
from calltriage.operations.issues import ListIssues
from calltriage.operations.members import OrgMember
from calltriage.operations.results import lost_rows
from calltriage.server.answers.counted_lists import CURSOR, RowCursor, brief_row, page_of
from calltriage.server.answers.results import lacking
from calltriage.server.answers.shapes import Page
from calltriage.server.context import Invocation, Workflow


class MemberRow(TypedDict, total=False):
    """A member of the organisation."""

    user_id: str
    name: str
    is_owner: bool


class MemberRows(Page, total=False):
    """A page of them."""

    items: Required[list[MemberRow]]


class ListOrgMembersTool(Workflow, effect=Effect.READ):
    """Find members of the organisation, colleagues by name: the user ids that owner_id and assignee_id take."""

    result: ClassVar[object] = MemberRows
    columns: ClassVar[tuple[str, ...]] = ("user_id", "name", "is_owner")

    name: Word | None = Field(default=None, description="Part of a name, case ignored.")
    cursor: RowCursor | None = Field(default=None, description=CURSOR)

    async def run(self, work: Invocation) -> JsonObject:
        newest = await work.server.client.send(ListIssues(limit=1))
        org_id = newest.items[0].org_id if newest.items else None
        if not org_id:
            raise NotFound("The API tells the organisation by its issues, and it has none yet. File one first.")
        found = await work.server.client.send(members.ListOrgMembers(org_id=org_id))
        named = [(one, _name(one)) for one in found]
        typed = unaccented(folded(self.name or ""))  # a part of a word, too: names are typed as they are remembered
        wanted = [(one, name) for one, name in named if typed in unaccented(folded(name))]
        first = int(self.cursor or 0)
        rows = [brief_row({**one.model_dump(), "name": name or None}, self.columns) for one, name in wanted[first:]]
        return page_of(rows, first, len(wanted), OrgMember.origin or "") | lacking(lost_rows(found))


def _name(member: OrgMember) -> str:
    return " ".join(part for part in (member.first_name, member.last_name) if part)
