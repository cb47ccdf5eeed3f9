"""Filing an issue, unless it is open already."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from calltriage.errors import CallError, Rejected, TryNext, UnreadableAnswer
from calltriage.filing.lookalikes import Draft, Similar, similar_to
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import issues
from calltriage.operations.base import Effect
from calltriage.operations.fields import Category, Description, Title
from calltriage.operations.flags import AddFlag, Flag
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource
from calltriage.server.answers.results import SHORT, shown, stored, together, untrusted
from calltriage.server.answers.writes_shown import ISSUE_SHOWN, ONE_FLAG, FiledIssue
from calltriage.server.context import Invocation, Workflow, preparing
from calltriage.server.tools.add_flag import AddFlagTool
from calltriage.server.tools.evidence import GetEvidenceTool
from calltriage.server.tools.flag_moments import Moment
from calltriage.server.tools.link_issue import LinkIssueTool
from calltriage.server.tools.several_flags import MOST_FLAGS, FlagRef, failed, flagged_each, moments_of


class CreateIssueTool(Workflow, effect=Effect.ADD, wraps=issues.CreateIssue):
    """File a new triage issue, a fault of calls that went wrong, with its evidence and flags, unless one like it is open.

    Open issues are searched first; those like it come back in similar, scored and with reasons. If one is very close,
    nothing is filed unless on_duplicate says so; nor with one unknown resource or one quote that no turn has. A repeat
    finds the first one.
    """

    result: ClassVar[object] = FiledIssue

    title: Title = Field(description="What goes wrong.")
    category: Category = Field(
        description="Free text; built-in: Transcription, Speech, Dialogue, Routing, Tools, Latency, Telephony, Bug."
    )
    description: Description | None = Field(
        default=None, description="What happened, what was expected, how to see it."
    )
    resource_links: Annotated[list[issues.ResourceRef], Field(max_length=100)] | None = None
    flags: Annotated[list[FlagRef], Field(min_length=1, max_length=MOST_FLAGS)] | None = Field(
        default=None, description="Moments of calls in resource_links."
    )
    on_duplicate: Literal["report", "create", "link"] = Field(
        default="report",
        description="A very close one is open: report (default), create anyway, or create and link as duplicate_of.",
    )

    async def run(self, work: Invocation) -> JsonObject:
        self._check(work)
        if self.on_duplicate == "create":
            return await self._file_anyway(work)
        async with work.server.alone():  # so that the second of two equal drafts finds the first
            return await self._file_unless_open(work)

    def _check(self, work: Invocation) -> None:
        """Raise Rejected for an argument that the operator has closed, and for a flag on a call that is not attached."""
        if self.resource_links:
            work.server.allow(AttachResource, "resource_links")
        if self.on_duplicate == "link":
            work.server.allow(LinkIssueTool, "on_duplicate")
        if not self.flags:
            return
        work.server.allow(AddFlagTool, "flags")
        attached = {link.resource_id for link in self.resource_links or () if link.resource_type == "call"}
        for n, flag in enumerate(self.flags):
            if flag.call_id not in attached:
                raise Rejected(
                    f"flags.{n}: its call is not in resource_links. Add it there. Nothing was done.",
                    code="call_not_attached",
                    field="flags",
                )

    async def _file_anyway(self, work: Invocation) -> JsonObject:
        """File it whatever issues are open, even if these cannot be read."""
        try:
            similar = _told(await self._similar(work))
        except CallError as error:
            similar = {"unread": error.code}
        return {**await self._flagged(work, await self._file(work, await self._moments(work))), "similar": similar}

    async def _file_unless_open(self, work: Invocation) -> JsonObject:
        is_repeat = work.server.journal is not None and await work.server.journal.has_asked(issues.CreateIssue)
        similar = await self._similar(work)
        closest = similar.closest()
        if closest is not None and self.on_duplicate == "report" and not is_repeat:
            return {
                "outcome": "not_committed",
                "note": "Nothing was filed: a very close issue is open (similar). If it is the same fault, add your "
                "evidence to that one. If not, call again with on_duplicate create, or link to file it as a duplicate.",
                "similar": _told(similar),
                "try_next": TryNext(tool=GetEvidenceTool.tool_name(), arguments={"issue_id": closest.id}),
            }
        filed = await self._file(work, await self._moments(work))
        other = similar.closest(besides=filed.issue.id)
        if other is not None and self.on_duplicate == "link":
            filed.link = await _linked(work, filed.issue.id, other.id)
        return {**await self._flagged(work, filed), "similar": _told(similar)}

    async def _moments(self, work: Invocation) -> list[Moment]:
        """What the flags point at, looked up before anything is filed. Raises Rejected if a call has no such moment, or
        several."""
        return await moments_of(work, [flag.sought(flag.call_id) for flag in self.flags or ()], "flags")

    async def _file(self, work: Invocation, moments: list[Moment]) -> "_Filed":
        try:
            receipt = await work.server.client.deliver(self.request(issues.CreateIssue))
        except UnreadableAnswer as error:
            if not moments or error.outcome not in {"committed", "replayed"}:
                raise
            raise _unnamed(error) from error
        flags = [
            AddFlag(
                issue_id=receipt.result.id,
                message_index=where.index,
                message_text=where.text,
                **flag.model_dump(include={"call_id", "type", "note"}),
            )
            for flag, where in zip(self.flags or (), moments, strict=True)
        ]
        return _Filed(receipt.result, receipt.outcome or "committed", flags)

    async def _flagged(self, work: Invocation, filed: "_Filed") -> JsonObject:
        """Add the flags of an issue that is filed. Returns the answer for both; raises CallError (`flags_missing`), which
        says what was made, if a flag could not be added."""

        async def add(flag: AddFlag) -> JsonObject:
            receipt = await work.server.client.deliver(flag)
            return {**shown(receipt.result, ONE_FLAG), "outcome": receipt.outcome}

        flags = await flagged_each(filed.flags, add)
        if missing := failed(flags):
            raise _unflagged(filed, flags, missing)
        outcomes = [filed.outcome, *(one["outcome"] for one in flags)]
        moved = {"updated_at"} if filed.flags or filed.link else set[str]()
        body = {
            **stored(shown(filed.issue, ISSUE_SHOWN - moved), "description", SHORT),
            "outcome": together(outcomes),
        }
        told = {"flags": untrusted(Flag.origin or "", items=flags)} if flags else {}
        return body | told | ({} if filed.link is None else {"link": filed.link})

    async def _similar(self, work: Invocation) -> Similar:
        links = frozenset((link.resource_type, link.resource_id) for link in self.resource_links or ())
        draft = Draft(self.title, self.description or "", self.category, links)
        with preparing():
            return await similar_to(draft, work.server.client)


def _told(similar: Similar) -> JsonObject:
    return untrusted("issue authors", **similar.body())


AGAIN = (
    "Add those with add_flag, or make this call again with the idempotency_key that it had: that files nothing twice."
)


@dataclass
class _Filed:
    """An issue that is filed, the outcome of filing it, and the flags that it shall have."""

    issue: issues.Issue
    outcome: str
    flags: list[AddFlag]
    link: JsonObject | None = None


def _unnamed(error: UnreadableAnswer) -> CallError:
    """Error for an issue that is filed under an id that could not be read, so that no flag could be added."""
    told = CallError(
        f"The issue is filed, but the API's answer did not say under which id, so that none of its flags was added. {AGAIN}",
        code="flags_missing",
        status=error.status,
        outcome="not_committed",
        try_next=TryNext(tool=issues.ListIssues.tool_name(), arguments={"sort": "created_at"}),
    )
    told.details = {"added": {"issue": {"outcome": error.outcome}}}
    return told


def _unflagged(filed: _Filed, flags: list[JsonObject], missing: list[JsonObject]) -> CallError:
    """Error for an issue that is filed without some of its flags."""
    outcome = together(one["outcome"] for one in missing)
    told = CallError(
        f"The issue is filed as {filed.issue.triage_id or filed.issue.id}, but {len(missing)} of its {len(flags)} flags "
        f"were not added, or it is unknown. {AGAIN}",
        code="flags_missing",
        outcome="unknown" if outcome == "unknown" else "not_committed",
        try_next=TryNext(tool=GetEvidenceTool.tool_name(), arguments={"issue_id": filed.issue.id}),
    )
    issue = {"id": filed.issue.id, "triage_id": filed.issue.triage_id, "outcome": filed.outcome}
    link = {} if filed.link is None else {"link": filed.link}
    told.details = {"added": {"issue": issue, **link, "flags": untrusted(Flag.origin or "", items=flags)}}
    return told


async def _linked(work: Invocation, issue_id: str, duplicate_of: str) -> JsonObject:
    """Link the new issue. It is filed already, so a failure is returned, not raised."""
    link = {"issue_id": issue_id, "related_issue_id": duplicate_of, "relation_type": "duplicate_of"}
    try:
        receipt = await work.server.client.deliver(LinkIssue.model_validate(link))
    except CallError as error:
        if not error.is_refusal:
            error.try_next = TryNext(tool=LinkIssueTool.tool_name(), arguments=link)
        return error.as_part()
    made = receipt.result
    when = {"created_at": made.created_at} if made.created_at else {}
    return {"outcome": receipt.outcome, "relation_id": made.id, "related_issue_id": duplicate_of, **when}
