"""The catalogue: everything that can be asked of the two vendor APIs, in one list.

The desk makes its routes from it; the tests walk it.
"""

from __future__ import annotations

from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.attachments import (
    CreateAttachment,
    DeleteAttachment,
    GetAttachment,
    GetAttachmentDownloadLink,
    ListAttachments,
    RequestUploadLink,
)
from calltriage.operations.base import Operation
from calltriage.operations.calls import (
    GetCall,
    GetCallEventStream,
    GetCorrectedTranscript,
    GetPathwayCallEvents,
    ListCalls,
    SearchCalls,
)
from calltriage.operations.categories import CreateCategory, ListCategories
from calltriage.operations.conversations import GetSmsConversation, ListSmsConversations
from calltriage.operations.flags import AddFlag, ListFlags, ListFlagTypes, RemoveFlag
from calltriage.operations.issues import (
    CreateIssue,
    DeleteIssue,
    GetIssue,
    ListIssues,
    MarkIssueViewed,
    UpdateIssue,
)
from calltriage.operations.members import ListOrgMembers
from calltriage.operations.norm import CreateAgentSession, ListTriageAgents, PromptNorm
from calltriage.operations.relations import LinkIssue, ListRelations, RemoveRelation
from calltriage.operations.resource_links import (
    AttachCall,
    AttachResource,
    DetachCall,
    GetAffectedContext,
    ListResources,
    RemoveResource,
)

CATALOGUE: tuple[type[Operation[object]], ...] = (
    CreateIssue,
    ListIssues,
    GetIssue,
    UpdateIssue,
    DeleteIssue,
    AttachResource,
    ListResources,
    RemoveResource,
    AttachCall,
    DetachCall,
    GetAffectedContext,
    AddFlag,
    ListFlags,
    RemoveFlag,
    ListFlagTypes,
    LinkIssue,
    ListRelations,
    RemoveRelation,
    ListActivity,
    AddComment,
    MarkIssueViewed,
    ListCategories,
    CreateCategory,
    ListTriageAgents,
    CreateAgentSession,
    PromptNorm,
    GetCall,
    ListCalls,
    SearchCalls,
    GetCorrectedTranscript,
    GetPathwayCallEvents,
    GetCallEventStream,
    ListSmsConversations,
    GetSmsConversation,
    ListOrgMembers,
    RequestUploadLink,
    CreateAttachment,
    ListAttachments,
    GetAttachment,
    GetAttachmentDownloadLink,
    DeleteAttachment,
)

SCOPES = tuple(dict.fromkeys(operation.scope for operation in CATALOGUE if operation.scope))
"""OAuth scopes that the catalogue needs."""
