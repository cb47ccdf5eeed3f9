"""Flags: marked moments of attached calls, and the catalogue of their types (bland-triage, section 7)."""

import re

from pydantic import Field

from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import (
    DEFAULT_LIMIT,
    CallId,
    Cursor,
    FlagId,
    FlagType,
    IssueId,
    Limit,
    MessageText,
    NodeName,
    Note,
    TurnIndex,
)
from calltriage.operations.results import Page, Result
from calltriage.operations.traces import Likeness, NoRow, Rows, Trace, agree, row


class Flag(Result, origin="flag authors and call parties"):
    """A marked moment."""

    id: str
    org_id: str | None = None
    issue_id: str = ""
    call_id: str = ""
    type: str = ""
    """Stored form, lower_snake_case."""
    note: str = ""
    node_id: str | None = None
    node_name: str | None = None
    message_index: int | None = None
    message_text: str | None = None
    author_id: str | None = None
    created_at: str = ""


class AddFlag(
    Operation[Flag],
    http="POST /v1/triage/issues/{issue_id}/flags",
    effect=Effect.ADD,
    success=(201,),
    refuses=(409,),
    also_changes=("flag_types",),
):
    """Mark a moment of an attached call; every request makes a flag.

    Answers 409 `call_not_attached` unless the call is attached to this issue.
    """

    issue_id: IssueId = Field(description="The issue.")
    call_id: CallId = Field(description="Attached call.")
    type: FlagType = Field(description="What went wrong, stored as lower_snake_case; prefer one from list_flag_types.")
    note: Note | None = Field(default=None, description="Why it matters.")
    message_index: TurnIndex | None = Field(default=None, description="Turn in the transcript, from 0.")
    message_text: MessageText | None = Field(default=None, description="The turn, word for word.")
    node_id: NodeName | None = Field(default=None, description="Pathway node.")
    node_name: NodeName | None = None

    def trace(self) -> Trace[Flag]:
        return row(Rows(ListFlags(issue_id=self.issue_id), self.is_like))

    def is_like(self, flag: Flag) -> Likeness:
        """Whether a flag is what is asked for."""
        return agree(self, flag, forms={"type": _letters})


def _letters(flag_type: str) -> str:
    """A flag type as it is compared: how it is stored is not documented, so only letters and digits count."""
    return re.sub(r"[\W_]+", "", flag_type.casefold())


class ListFlags(Operation[Page[Flag]], http="GET /v1/triage/issues/{issue_id}/flags", effect=Effect.READ):
    """List the flags of an issue, that is the marked moments of its calls, oldest first."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = Field(default=None, description="Page size.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class FlagTypeUse(Result, origin="flag authors"):
    """A flag type and how it is used in the organisation."""

    type: str
    description: str = ""
    """Note of the newest flag of the type that has one."""
    usage_count: int = 0
    """Flags of the type that exist now."""
    last_used_at: str | None = None


class ListFlagTypes(Operation[Page[FlagTypeUse]], http="GET /v1/triage/flag-types", effect=Effect.READ):
    """List the flag types in use, most used first, with what they mean and how often they are set.

    Read it before add_flag, so that equal moments get equal types.
    """

    limit: Limit | None = Field(default=None, description=f"Page size, default {DEFAULT_LIMIT}.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class RemoveFlag(
    Operation[None],
    http="DELETE /v1/triage/issues/{issue_id}/flags/{flag_id}",
    effect=Effect.REMOVE,
    success=(204,),
    also_changes=("flag_types",),
):
    """Remove a flag from an issue; its type leaves the catalogue with its last flag."""

    issue_id: IssueId = Field(description="The issue.")
    flag_id: FlagId = Field(description="The flag.")

    def trace(self) -> Trace[None]:
        return NoRow(Rows(ListFlags(issue_id=self.issue_id), lambda flag: flag.id == self.flag_id))
