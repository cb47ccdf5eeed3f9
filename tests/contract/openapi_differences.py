"""Where the desk's own OpenAPI means to differ from the contracts', and why. Anything else that differs fails the test."""

from __future__ import annotations

_ALERTS = "withdrawn from the vendor's documentation; alert bindings stay out (bland-triage, section 10)"
NOT_SERVED: dict[str, str] = {
    "list_alert_bindings": _ALERTS,
    "bind_alert": _ALERTS,
    "unbind_alert": _ALERTS,
    "get_call_recording": "bytes, which no operation of the catalogue answers; served where an import brought a recording",
    "upload_file": "mentioned in passing only; a file of the desk is an attachment (bland-triage, section 6)",
}
"""Operations of the contracts that the desk does not serve."""

_BOUND = "every input is bounded; the contract names no limit, and this one is ours"
_NO_BODY = "a body is not needed here, but where one is sent it has to be a JSON object of reasonable size"
_SCOPE = "in a withdrawn edition or an unmerged draft of the documentation only; not published"
_SEVERAL = "may be repeated, as the filters of issues may; one value is the vendor's form"
DIFFERENCES: dict[str, str] = {
    "*: contract has 429": "the desk sets no rate; the client is ready for one",
    "issue_access_token: desk has 408": "a form with credentials in it has a time, and a place that it may have to leave",
    "*: desk has 413": "bodies are bounded (talkdesk-attachments, section 10, and the same on the triage side)",
    "*: desk has 503": "said when its storage cannot be used, so that nobody retries in vain",
    "delete_*: desk has 400": _NO_BODY,
    "remove_*: desk has 400": _NO_BODY,
    "attach_call: desk has 400": _NO_BODY,
    "detach_call: desk has 400": _NO_BODY,
    "mark_issue_viewed: desk has 400": _NO_BODY,
    "create_agent_session: desk has 400": _NO_BODY,
    "*.maxLength: contract None, desk *": _BOUND,
    "* query cursor.maxLength: contract 512, desk 8192": "a vendor's cursors may be longer; one type serves both ends",
    "*.minLength: contract None, desk 1": _BOUND,
    "*.maximum: contract None, desk *": _BOUND,
    "list_calls query duration_?t.minimum: contract None, desk 0": _BOUND,
    "*.maxItems: contract None, desk *": _BOUND,
    "list_calls query answered_by.*": _SEVERAL,
    "list_calls query batch_id.*": _SEVERAL,
    "list_calls query campaign_id.*": _SEVERAL,
    "list_calls query from_number.*": _SEVERAL,
    "list_calls query to_number.*": _SEVERAL,
    "list_issues query has_alert.*": _SCOPE,
    "get_call query v.*": _SCOPE,
    "get_pathway_call_events query v.required: contract True, desk False": "it can only be 2; without it 2 is meant",
    "get_pathway_call_events: desk has 400": "any other v is refused",
}
"""A pattern of what differs, and the reason."""
