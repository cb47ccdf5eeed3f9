"""A call as the calls API answers it, one and in a list, from the record that its import left (bland-triage, section 6).

A record keeps its source's facts as `metadata`. Fields that the API documents are answered under their own names, null if
unknown. The rest stays in `metadata`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calltriage.leaves.strict_json import JsonObject, is_array, is_object


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text_or_number(value: object) -> bool:
    return _is_text(value) or _is_number(value)


def _is_list_or_text(value: object) -> bool:
    return is_array(value) or _is_text(value)


def _is_list_or_object(value: object) -> bool:
    return is_array(value) or is_object(value)


DOCUMENTED: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("started_at", "end_at", "to", "from", "status", "queue_status", "error_message", "answered_by", "call_ended_by",
         "recording_url", "pathway_id", "batch_id", "transferred_to", "transferred_at", "voice_id", "endpoint_url"),
        _is_text,
    ),
    **dict.fromkeys(("completed", "inbound", "record", "is_proxy_agent_call", "is_canary"), _is_flag),
    **dict.fromkeys(("price", "max_duration"), _is_number),
    **dict.fromkeys(("corrected_duration", "pathway_version"), _is_text_or_number),
    **dict.fromkeys(("variables", "request_data", "warm_transfer_call"), is_object),
    "pathway_logs": _is_list_or_text,
    "analysis": _is_list_or_object,
    "citations": is_array,
}  # fmt: skip
"""The documented fields of a call besides id, length, words and summary, each with a check of its value's type."""
UNDER_WAY = ("new", "queued", "allocated", "started")
"""States of a call that has not ended."""


def detail(record: JsonObject) -> JsonObject:
    """The call as `get_call` answers it."""
    about: JsonObject = record["metadata"]
    known = with_state({name: told(name, record.get(name), about.get(name)) for name in DOCUMENTED})
    known["call_length"] = record.get("call_length")  # checked by the import
    rest = {name: value for name, value in about.items() if name not in known or value not in (None, known[name])}
    own = rest.get("metadata")
    if is_object(own):  # the vendor's own metadata of the call, brought along by an import of its answer
        rest = {**own, **{name: value for name, value in rest.items() if name != "metadata"}}
    return {**record, "c_id": record["call_id"], **known, "metadata": rest}


def told(name: str, *said: object) -> Any:
    """The first of these values that has the field's type; None if none has."""
    fits = DOCUMENTED[name]
    for value in said:
        if fits(value):
            return value
    return None


def has_ended(queue_status: object) -> bool:
    """Whether a call has ended, by the state that its source gives it; None if it gives none."""
    return queue_status not in UNDER_WAY


def with_state(known: JsonObject) -> JsonObject:
    """The facts with the call's state. An imported call has ended, and well, unless its source says otherwise (our
    choice)."""
    completed = known["completed"]
    if completed is None:
        completed = has_ended(known["queue_status"])
    ended_well = completed and known["error_message"] is None
    state = {"status": "completed", "queue_status": "complete"} if ended_well else {}
    given = {name: known[name] for name in state if known[name] is not None}
    return {**known, "completed": completed, **state, **given}
