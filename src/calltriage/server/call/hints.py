"""Advice of an error: the tool call that mends it, where the failed call shows what was meant.

A hint repeats of a call only what is plain: names, numbers, words without a blank. Free text stays out, since it may be a
stranger's that the agent passed on, and an error is read as ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from calltriage.errors import CallError, NotFound, Rejected, TryNext
from calltriage.leaves.strict_json import JsonObject, is_array
from calltriage.operations.base import Effect, Tool
from calltriage.operations.fields import marks
from calltriage.operations.issues import ListIssues
from calltriage.operations.members import ListOrgMembers
from calltriage.server.answers.advice import PLAIN, same_call
from calltriage.server.call.schemas import arguments_model, names_issue
from calltriage.server.tools.evidence import GetEvidenceTool

PEOPLE = ("assignee_id", "owner_id")
"""Arguments that take a member's id, which an API refuses where it is none (bland-triage, section 4)."""
TICKET = re.compile(r"(?i)(?:issue|ticket|t)?[\s#_:-]{0,3}([0-9]{1,12})")
"""A ticket number as people write it: 17, #17, issue 17, T-17."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The closest known name."""
    return next(iter(difflib.get_close_matches(name[:64], names, n=1, cutoff=0.6)), None)


def advise(error: CallError, tool: type[Tool], arguments: JsonObject, check: Callable[[JsonObject], Any]) -> None:
    """Add to an error what only the call knows: what became of a write that was refused here, and what to call next.

    Args:
        error: what the call ended in.
        tool: what was called.
        arguments: what it was given.
        check: raises Rejected for arguments that the tool would refuse.
    """
    if tool.effect is not Effect.READ and error.outcome is None:
        error.outcome = "not_committed"
    if isinstance(error, NotFound):
        _name(error, arguments)
    if error.try_next is not None:
        return
    if isinstance(error, Rejected):
        is_nobody = error.field in PEOPLE and error.status is not None
        members = TryNext(tool=ListOrgMembers.tool_name(), arguments={})
        error.try_next = members if is_nobody else _mended(error, tool, arguments, check)
    elif error.outcome == "unknown":
        error.try_next = _settling(tool, arguments)
    elif isinstance(error, NotFound) and error.field in SECTION_OF:
        error.try_next = _section(SECTION_OF[error.field], arguments)
    elif isinstance(error, NotFound) and _may_be_issue(tool, error.field):
        error.try_next = TryNext(tool=ListIssues.tool_name(), arguments={})


def _name(error: NotFound, arguments: JsonObject) -> None:
    """Have the error name what was not found as the call gave it; of a URL its last part, the rest may be anything."""
    given = arguments.get(error.field or "")
    sole = given[0] if is_array(given) and len(given) == 1 else given
    text = str(sole).strip().rpartition("/")[2] if isinstance(sole, str | int) else ""
    if PLAIN.fullmatch(text):
        said = str(error)
        error.args = (f"{said}{'' if said.endswith(('.', '?')) else '.'} Given: {text}.",)


SETTLED_BY: dict[str, tuple[str, ...]] = {
    "apply_plan": ("list_recent_writes",),
    "create_issue": ("list_issues",),
    "delete_issue": ("get_issue", "issue_id"),
    "update_issue": ("get_issue", "issue_id"),
    "mark_issue_viewed": ("get_issue", "issue_id"),
    "create_agent_session": ("get_issue", "issue_id"),
    "prompt_norm": ("wait_for_norm", "issue_id"),
    "create_category": ("list_categories",),
    "create_attachment": ("list_attachments",),
    "delete_attachment": ("get_attachment", "attachment_id"),
}
"""By a tool whose outcome is unknown: the read that shows whether it was done, and the argument to pass on. For any other
tool that names an issue it is the issue's evidence."""


def _settling(tool: type[Tool], arguments: JsonObject) -> TryNext | None:
    """The read that shows whether a write was done, if there is one."""
    reading, *taken = SETTLED_BY.get(tool.tool_name(), (GetEvidenceTool.tool_name(), "issue_id"))
    given = {name: arguments.get(name) for name in taken}
    if not all(isinstance(value, str) and PLAIN.fullmatch(value) for value in given.values()):
        return None
    return TryNext(tool=reading, arguments=given)


SECTION_OF = {
    "resource_link_ids": "resources",
    "resource_link_id": "resources",
    "flag_id": "flags",
    "relation_id": "relations",
}
"""The section of an issue's evidence that shows the ids which an argument takes."""


def _section(section: str, arguments: JsonObject) -> TryNext | None:
    """The read that shows the ids of an issue's evidence."""
    issue = arguments.get("issue_id")
    if not isinstance(issue, str) or not PLAIN.fullmatch(issue):
        return None
    return TryNext(tool=GetEvidenceTool.tool_name(), arguments={"issue_id": issue, "section": section})


def _mended(
    error: Rejected, tool: type[Tool], arguments: JsonObject, check: Callable[[JsonObject], Any]
) -> TryNext | None:
    """The same call with misspelt names and issues put right, or without a refused cursor, if the tool would accept it then;
    otherwise None."""
    names = [info.alias or name for name, info in arguments_model(tool).model_fields.items()]
    meant = JsonObject()
    for name, value in arguments.items():
        if name == error.field == "cursor":
            continue
        known = name if name in names else nearest(name, names)
        if known is None or known in meant:
            return None
        found = TICKET.fullmatch(value.strip()) if isinstance(value, str) and is_issue(tool, known) else None
        meant[known] = f"T-{found[1]}" if found else value
    if meant == arguments:
        return None
    try:
        check(meant)
    except Rejected:
        return None
    return same_call(tool, meant)


def is_issue(tool: type[Tool], argument: str | None) -> bool:
    """Whether an argument of the tool names an issue."""
    info = arguments_model(tool).model_fields.get(argument or "")
    return info is not None and names_issue(marks(info))


def _may_be_issue(tool: type[Tool], argument: str | None) -> bool:
    """Whether what was not found may be an issue. `argument` is None if it is not known which one was not found."""
    names = arguments_model(tool).model_fields if argument is None else [argument]
    return any(is_issue(tool, name) for name in names)
