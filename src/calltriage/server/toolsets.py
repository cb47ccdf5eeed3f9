"""Every tool by toolset, and which of them an operator's selection offers."""

from __future__ import annotations

from collections.abc import Iterable

from calltriage.offering import Offering, Policy
from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import DeleteAttachment, GetAttachment
from calltriage.operations.base import Effect, Tool
from calltriage.operations.categories import CreateCategory, ListCategories
from calltriage.operations.flags import ListFlags, RemoveFlag
from calltriage.operations.issues import DeleteIssue, GetIssue, ListIssues, MarkIssueViewed
from calltriage.operations.norm import CreateAgentSession, ListTriageAgents
from calltriage.operations.relations import ListRelations, RemoveRelation
from calltriage.operations.resource_links import AttachResource, ListResources, RemoveResource
from calltriage.server.batch.apply_plan import ApplyPlanTool
from calltriage.server.batch.plan_triage import PlanTriageTool
from calltriage.server.call.write_record import ListRecentWritesTool
from calltriage.server.tools.add_flag import AddFlagTool
from calltriage.server.tools.affected_context import GetAffectedContextTool
from calltriage.server.tools.attachments import CreateAttachmentTool
from calltriage.server.tools.call_details import (
    GetCallEventStreamTool,
    GetCorrectedTranscriptTool,
    GetPathwayCallEventsTool,
)
from calltriage.server.tools.calls import GetCallTool
from calltriage.server.tools.conversations import GetSmsConversationTool, ListSmsConversationsTool
from calltriage.server.tools.create_issue import CreateIssueTool
from calltriage.server.tools.download_attachment import DownloadAttachmentTool
from calltriage.server.tools.editing import AddCommentTool, UpdateIssueTool
from calltriage.server.tools.evidence import GetEvidenceTool
from calltriage.server.tools.find_calls import FindCallsTool
from calltriage.server.tools.flag_types import ListFlagTypesTool
from calltriage.server.tools.link_issue import LinkIssueTool
from calltriage.server.tools.list_attachments import ListAttachmentsTool
from calltriage.server.tools.members import ListOrgMembersTool
from calltriage.server.tools.norm import PromptNormTool, WaitForNormTool
from calltriage.server.tools.pipeline_report import GetPipelineReportTool
from calltriage.server.tools.pipeline_runs import RUN_TOOLS
from calltriage.server.tools.pipelines import PIPELINE_TOOLS
from calltriage.server.tools.recordings import GetCallRecordingTool
from calltriage.server.tools.transcripts import GetTranscriptTool
from calltriage.server.tools.update_flag import UpdateFlagTool

TOOLSETS: dict[str, tuple[type[Tool], ...]] = {
    "core": (
        ListIssues,
        GetIssue,
        GetEvidenceTool,
        FindCallsTool,
        GetTranscriptTool,
        CreateIssueTool,
        UpdateIssueTool,
        AttachResource,
        AddFlagTool,
        UpdateFlagTool,
        LinkIssueTool,
        CreateAttachmentTool,
        AddCommentTool,
        ListFlagTypesTool,
    ),
    "evidence": (
        ListResources,
        ListFlags,
        ListRelations,
        ListActivity,
        GetAffectedContextTool,
        GetCallTool,
        GetCorrectedTranscriptTool,
        GetPathwayCallEventsTool,
        GetCallRecordingTool,
        GetCallEventStreamTool,
        ListSmsConversationsTool,
        GetSmsConversationTool,
        ListOrgMembersTool,
        MarkIssueViewed,
        ListRecentWritesTool,
    ),
    "attachments": (ListAttachmentsTool, GetAttachment, DownloadAttachmentTool),
    "batch": (PlanTriageTool, ApplyPlanTool),
    "pipelines": (*PIPELINE_TOOLS, *RUN_TOOLS, GetPipelineReportTool),
    "catalogue": (ListCategories, CreateCategory),
    "norm": (ListTriageAgents, CreateAgentSession, PromptNormTool, WaitForNormTool),
    "cleanup": (RemoveResource, RemoveFlag, RemoveRelation, DeleteIssue, DeleteAttachment),
}
"""Tools by toolset, in the order in which they are listed; each stands in exactly one."""

OFFERING = Offering(
    {toolset: tuple(tool.tool_name() for tool in tools) for toolset, tools in TOOLSETS.items()},
    frozenset(tool.tool_name() for tools in TOOLSETS.values() for tool in tools if tool.effect is Effect.READ),
)
DEFAULT = ("core",)


def select(
    toolsets: Iterable[str] = DEFAULT,
    excluded: Iterable[str] = (),
    *,
    read_only: bool = False,
    confirm: Policy = "ask",
) -> tuple[type[Tool], ...]:
    """The tools that a server offers, as `Offering.offered` names them. Raises SettingsError."""
    by_name = {tool.tool_name(): tool for tools in TOOLSETS.values() for tool in tools}
    offered = OFFERING.offered(toolsets, excluded, read_only=read_only, confirm=confirm)
    return tuple(by_name[name] for name in offered)
