"""Issues with evidence of each kind, and one call of each tool that succeeds on them."""

from __future__ import annotations

import json
from typing import Any

from conftest import add_conversation, call_line, load_lines
from mcp.client import Client as McpClient
from tool_calls import filed, ok, with_call

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import CreateIssue
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource


async def large_case(desk: Desk, client: Client, *, links: int, flags: int, relations: int = 0) -> str:
    """Id of an issue with so much evidence; the first calls are flagged, once each."""
    await load_lines(desk, *(call_line(f"call-{n}", "one", f"turn of {n}", "three", "four") for n in range(links)))
    issue = await client.send(CreateIssue(title="Large", severity="low", category="Bug"))
    for n in range(links):
        await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id=f"call-{n}"))
    for n in range(flags):
        await client.send(AddFlag(issue_id=issue.id, call_id=f"call-{n}", type="x", note=f"note {n}", message_index=1))
    for n in range(relations):
        other = await client.send(CreateIssue(title=f"Other {n}", severity="low", category="Bug"))
        await client.send(LinkIssue(issue_id=issue.id, related_issue_id=other.id, relation_type="blocks"))
    return issue.id


async def add_evidence(desk: Desk) -> None:
    """A conversation, and a call with a corrected transcript and events."""
    await add_conversation(desk, "convo-1", "hello", "hi")
    event = {"sequence": 1, "event_type": "node.transition", "node_id": "n", "operation_id": None, "payload": {"to": "n"},
             "created_at": "2026-05-01T10:00:01Z"}  # fmt: skip
    line = {"start": 0.5, "end": 1.5, "text": "hello", "speaker_label": "user", "confidence": 0.9}
    audio = {"kind": "file", "name": "rich.wav", "base64": "UklGRg==", "recording_of": "call-rich"}
    rich = call_line("call-rich", "hello", pathway_events=[event], corrected=[line])
    await load_lines(desk, rich, json.dumps(audio))


async def valid_arguments(agent: McpClient) -> dict[str, dict[str, Any]]:
    """One call of each tool that succeeds, in an order in which all of them can be made. It takes an agent with all."""
    one, two = (await filed(agent))["triage_id"], (await filed(agent))["triage_id"]
    used, related, gone = await with_call(agent), (await filed(agent))["triage_id"], (await filed(agent))["triage_id"]
    evidence = {"issue_id": used, "resource_type": "call", "resource_id": "call-hours"}
    link = await ok(agent, "attach_resource", **evidence)
    flag = await ok(agent, "add_flag", issue_id=used, call_id="call-card", type="x")
    corrected = await ok(agent, "add_flag", issue_id=used, call_id="call-card", type="y")
    relation = await ok(agent, "link_issue", issue_id=used, related_issue_id=related, relation_type="blocks")
    file = (await ok(agent, "create_attachment", name="notes.txt", text="notes"))["id"]
    return {
        "create_issue": {"title": "Greeting is cut off", "severity": "low", "category": "Bug"},
        "update_issue": {"issue_id": used, "status": "in_progress"},
        "add_comment": {"issue_id": used, "detail": "Looked into it."},
        "attach_resource": {"issue_id": one, "resource_type": "call", "resource_id": "call-card"},
        "add_flag": {"issue_id": one, "call_id": "call-card", "type": "x", "quote": "lost my debit card"},
        "link_issue": {"issue_id": one, "related_issue_id": two, "relation_type": "blocks"},
        "create_attachment": {"name": "report.txt", "text": "x", "attach_to": one},
        "list_issues": {"search": "T", "limit": 5},
        "get_issue": {"issue_id": one},
        "get_evidence": {"issue_id": one},
        "get_transcript": {"call_id": "call-card"},
        "list_flag_types": {},
        "list_resources": {"issue_id": used},
        "list_flags": {"issue_id": used},
        "list_relations": {"issue_id": used},
        "list_activity": {"issue_id": used},
        "get_affected_context": {"issue_id": used},
        "mark_issue_viewed": {"issue_id": used},
        "list_attachments": {"limit": 5},
        "get_attachment": {"attachment_id": file},
        "download_attachment": {"attachment_id": file},
        "list_recent_writes": {"limit": 5},
        "list_categories": {},
        "create_category": {"name": "Billing"},
        "list_triage_agents": {},
        "create_agent_session": {"issue_id": used},
        "prompt_norm": {"issue_id": used, "detail": "What is known?"},
        "wait_for_norm": {"issue_id": used},
        "find_calls": {"limit": 5},
        "get_call": {"call_id": "call-card"},
        "get_corrected_transcript": {"call_id": "call-rich"},
        "get_pathway_call_events": {"call_id": "call-rich"},
        "get_call_event_stream": {"call_id": "call-rich"},
        "get_call_recording": {"call_id": "call-rich"},
        "list_org_members": {"name": "ada"},
        "list_sms_conversations": {},
        "get_sms_conversation": {"conversation_id": "convo-1"},
        "update_flag": {"issue_id": used, "flag_id": corrected["id"], "note": "better"},
        "remove_flag": {"issue_id": used, "flag_id": flag["id"]},
        "remove_resource": {"issue_id": used, "resource_link_id": link["id"]},
        "remove_relation": {"issue_id": used, "relation_id": relation["id"]},
        "delete_issue": {"issue_id": gone},
        "delete_attachment": {"attachment_id": file},
    }
