"""Changing an issue and commenting on it."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from calltriage.errors import Conflict, Rejected
from calltriage.leaves.gate import bare
from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import activity, issues
from calltriage.operations.base import Effect
from calltriage.operations.fields import (
    Comment,
    Form,
    IssueRef,
)
from calltriage.operations.norm import PromptNorm
from calltriage.server.answers.results import SHORT, shown, stored
from calltriage.server.answers.writes_shown import COMMENT, ISSUE_SHOWN, MadeComment, WrittenIssue
from calltriage.server.context import ISSUE, Invocation, Workflow, preparing

AN_INSTANT = "must be an updated_at as it was read, such as 2026-05-06T21:09:57.087Z"


def _instant(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(AN_INSTANT) from None
    return value


Instant = Annotated[
    str, StringConstraints(max_length=40), Form(r"^[0-9]{4}-[0-9TZ:.+-]+$", AN_INSTANT), AfterValidator(_instant)
]
"""An instant as the API writes it, in ISO 8601; UTC where it does not say."""


class UpdateIssueTool(Workflow, effect=Effect.CHANGE, wraps=issues.UpdateIssue):
    """Change fields of an issue: status (close or reopen it), severity, title, to whom it is assigned and so on. Only what
    is passed changes.

    With expect_updated_at (the updated_at you read) nothing is written if the issue was changed since, and its present
    state comes back. To take an issue off the board set status to closed. A repeat writes the same again.
    """

    result: ClassVar[object] = WrittenIssue

    issue_id: IssueRef = Field(description=ISSUE)
    expect_updated_at: Instant | None = Field(default=None, description="Write only if updated_at is still this.")

    async def run(self, work: Invocation) -> JsonObject:
        changes, untold = self._changes()
        if not changes:
            raise Rejected("Nothing to change. Pass the fields that should change.", code="empty_update")
        issue_id = await work.server.issue_id(self.issue_id)
        operation = issues.UpdateIssue.model_validate({"issue_id": issue_id, **changes})
        async with work.server.alone():
            if self.expect_updated_at is not None:
                await self._refuse_if_changed(work, issue_id, self.expect_updated_at)
            receipt = await work.server.client.deliver(operation)
        return {
            **stored(shown(receipt.result, ISSUE_SHOWN), "description", SHORT),
            **untold,
            "outcome": receipt.outcome,
        }

    async def _refuse_if_changed(self, work: Invocation, issue_id: str, expected: str) -> None:
        with preparing("issue_id"):
            current = await work.server.client.send(issues.GetIssue(issue_id=issue_id))
        now, then = instant(current.updated_at), instant(expected)
        if now is None:
            raise Conflict(
                "The issue's updated_at cannot be read, so nobody can tell whether it was changed. Nothing was written. "
                "Look at its present state in current. Without expect_updated_at the change is written in any case.",
                code="cannot_compare",
                field="expect_updated_at",
                details={"current": shown(current)},
            )
        if now != then:
            # No call is advised. The next one is a decision: to repeat this one would undo the other change.
            raise Conflict(
                "The issue was changed after you read it. Nothing was written. Look at its present state in current, then "
                "decide whether the change is still right, and pass its updated_at as expect_updated_at.",
                code="issue_changed",
                field="expect_updated_at",
                details={"current": shown(current)},
            )

    def _changes(self) -> tuple[JsonObject, JsonObject]:
        """The fields to write, and a `note` on nulls that were taken as not given.

        Some hosts send null for every argument that the agent left out. So nulls clear fields only if each null was
        passed for a field that can be cleared.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set - {"issue_id", "expect_updated_at"}}
        changes = {name: value for name, value in given.items() if value is not None}
        nulls = {name for name in self.model_fields_set if getattr(self, name) is None}
        if nulls <= self.clearable_fields():
            return changes | dict.fromkeys(sorted(nulls)), {}
        kept = sorted(nulls & self.clearable_fields())
        note = f"null was taken as not given, so {' and '.join(kept)} stayed; to clear, pass null for nothing else."
        return changes, {"note": note} if kept else {}


class AddCommentTool(Workflow, effect=Effect.ADD, wraps=activity.AddComment):
    """Write a comment or note on an issue, for the team and agents who read its activity; every call adds another.

    A comment with @norm in it would start a run of Bland's agent, which may write drafts; it is refused unless
    allow_agent_run is true. That agent is asked with a tool of its own, where the operator offers it.
    """

    result: ClassVar[object] = MadeComment

    issue_id: IssueRef = Field(description=ISSUE)
    detail: Comment
    allow_agent_run: bool = Field(default=False, description="Let @norm in detail start a run.")

    async def run(self, work: Invocation) -> JsonObject:
        if "@norm" in bare(self.detail):
            if not self.allow_agent_run:
                raise Rejected(
                    "The text holds @norm, which starts a run of Bland's agent. Write the name without @, or pass "
                    "allow_agent_run if a run is wanted. Nothing was done.",
                    code="agent_run_not_allowed",
                    field="detail",
                )
            work.server.allow(PromptNorm, "allow_agent_run")
        operation = self.request(activity.AddComment, issue_id=await work.server.issue_id(self.issue_id))
        receipt = await work.server.client.deliver(operation)
        return {**stored(shown(receipt.result, COMMENT), "detail", SHORT), "outcome": receipt.outcome}
