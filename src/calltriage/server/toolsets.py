"""Every tool by toolset, and which of them an operator's selection offers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from calltriage.errors import SettingsError
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

DEFAULT = ("core",)
ALL = "all"


def select(
    toolsets: Iterable[str] = DEFAULT,
    excluded: Iterable[str] = (),
    *,
    read_only: bool = False,
    may_remove: bool = True,
) -> tuple[type[Tool], ...]:
    """The tools that a server offers: those of `toolsets`, without excluded ones and without those that need an excluded
    one's request. `read_only` leaves out every tool that writes. Without `may_remove`, tools that remove something on their
    way are left out, too.

    Raises:
        SettingsError: a name is unknown (the text has the nearest one), or no tool is left.
    """
    wanted = tuple(_known("toolset", name, (*TOOLSETS, ALL)) for name in toolsets)
    names = [tool.tool_name() for tools in TOOLSETS.values() for tool in tools]
    without = {_known("tool", name, names) for name in excluded}
    if RemoveFlag.tool_name() in without or not may_remove:
        without.add(UpdateFlagTool.tool_name())
    offered = tuple(
        tool
        for toolset, tools in TOOLSETS.items()
        for tool in tools
        if (toolset in wanted or ALL in wanted)
        and tool.tool_name() not in without
        and (tool.effect is Effect.READ or not read_only)
    )
    if not offered:
        raise SettingsError(
            "The selection leaves no tool. Choose others with --toolsets or CALLTRIAGE_TOOLSETS, or exclude fewer."
        )
    return offered


def _known(kind: str, name: str, names: Iterable[str]) -> str:
    """The name, if it is known. Raises SettingsError otherwise, without the name: it may be anything, even a secret."""
    known = tuple(names)
    if name in known:
        return name
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    where = "--toolsets or CALLTRIAGE_TOOLSETS" if kind == "toolset" else "--exclude-tools or CALLTRIAGE_EXCLUDE_TOOLS"
    raise SettingsError(f"Unknown {kind} in {where}. {hint}There are: {', '.join(known)}.")
