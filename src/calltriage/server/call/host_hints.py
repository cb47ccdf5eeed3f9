"""Hints for hosts that do not show a model every tool at once, but let it search for those that it needs.

The names are those that Claude Code reads; other hosts ignore what they do not know.
"""

from __future__ import annotations

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Tool

ALWAYS = frozenset({"list_issues", "find_calls", "get_evidence", "create_issue"})
"""Tools with which nearly every task begins: they are shown without a search."""
WORDS = {
    "get_issue": "one issue",
    "get_transcript": "what was said",
    "update_issue": "edit, assign",
    "attach_resource": "add evidence",
    "add_flag": "mark a moment",
    "update_flag": "fix a flag",
    "link_issue": "duplicates",
    "create_attachment": "upload",
    "add_comment": "write a note",
    "list_flag_types": "flag catalogue",
    "list_resources": "evidence of an issue",
    "list_flags": "flagged moments of an issue",
    "list_relations": "duplicates and links of an issue",
    "list_activity": "history and comments of an issue",
    "get_affected_context": "pathways and personas behind an issue",
    "get_call": "when, how long, status of a call",
    "get_corrected_transcript": "transcript redone from the recording",
    "get_pathway_call_events": "nodes, webhooks and tools of a call",
    "get_call_recording": "audio of a call",
    "get_call_event_stream": "telephone platform events, hang-ups",
    "list_sms_conversations": "find text messages",
    "get_sms_conversation": "read text messages",
    "list_org_members": "user ids of colleagues",
    "mark_issue_viewed": "clear unread activity",
    "list_recent_writes": "what I have written so far",
    "list_attachments": "find stored files",
    "get_attachment": "record of a stored file",
    "download_attachment": "read or save a file",
    "plan_triage": "check many writes at once, dry run",
    "apply_plan": "carry out planned writes",
    "list_categories": "labels of issues",
    "create_category": "new label",
    "list_triage_agents": "agents of the vendor, Norm",
    "create_agent_session": "open a session with Norm",
    "prompt_norm": "ask the vendor's agent Norm",
    "wait_for_norm": "answer of the vendor's agent Norm",
    "list_findings": "what pipelines found",
    "get_finding": "one finding of a pipeline",
    "review_finding": "verdict on a finding",
    "report_missed": "a detector overlooked it",
    "run_pipeline": "start a pipeline, dry run",
    "get_run": "progress of a run",
    "get_pipeline_report": "precision of detectors",
    "remove_resource": "detach evidence",
    "remove_flag": "delete a flag",
    "remove_relation": "unlink issues",
    "delete_issue": "delete for good",
    "delete_attachment": "delete a file for good",
}
"""What a search finds the others by, besides their names and descriptions."""


def hints_of(tool: type[Tool]) -> JsonObject:
    """What a tool's listing says to such hosts; nothing for a tool that is found by its own description."""
    name = tool.tool_name()
    if name in ALWAYS:
        return {"anthropic/alwaysLoad": True}
    return {"anthropic/searchHint": WORDS[name]} if name in WORDS else {}
