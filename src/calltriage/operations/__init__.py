"""The catalogue: everything that can be asked of the two vendor APIs, in one list.

The desk makes its routes from it; the tests walk it.
"""

from __future__ import annotations

from typing import Any

from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import CreateAttachment, GetAttachment, RequestUploadLink
from calltriage.operations.base import Operation
from calltriage.operations.flags import AddFlag, ListFlags, ListFlagTypes
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues
from calltriage.operations.relations import LinkIssue, ListRelations
from calltriage.operations.resources import AttachResource, GetCall, ListResources

CATALOGUE: tuple[type[Operation[Any]], ...] = (
    CreateIssue,
    ListIssues,
    GetIssue,
    AttachResource,
    ListResources,
    AddFlag,
    ListFlags,
    ListFlagTypes,
    LinkIssue,
    ListRelations,
    ListActivity,
    GetCall,
    RequestUploadLink,
    CreateAttachment,
    GetAttachment,
)

SCOPES = tuple(dict.fromkeys(operation.scope for operation in CATALOGUE if operation.scope))
"""OAuth scopes that the catalogue needs."""
