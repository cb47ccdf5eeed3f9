"""The calls that would take back what an applied plan did, the last write first."""

from __future__ import annotations

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.flags import AddFlag, RemoveFlag
from calltriage.operations.issues import CreateIssue, DeleteIssue, UpdateIssue
from calltriage.operations.relations import LinkIssue, RemoveRelation
from calltriage.operations.resource_links import AttachResource, RemoveResource
from calltriage.server.answers.results import untrusted
from calltriage.server.batch.plans import Plan, Write

TAKES_BACK: dict[str, tuple[str, str]] = {
    CreateIssue.tool_name(): (DeleteIssue.tool_name(), "issue_id"),
    AddFlag.tool_name(): (RemoveFlag.tool_name(), "flag_id"),
    AttachResource.tool_name(): (RemoveResource.tool_name(), "resource_link_id"),
    LinkIssue.tool_name(): (RemoveRelation.tool_name(), "relation_id"),
}
"""By the operation that made a thing: the tool that removes it, and the argument that takes its id."""


def undoing(plan: Plan, outcomes: dict[int, JsonObject]) -> tuple[list[JsonObject], list[int]]:
    """The undoing calls, the last write first, and the numbers of the writes that no call takes back. What belongs to an
    issue that the plan made goes with it; a flag that the plan made and replaced needs no call."""
    every = [made for one in outcomes.values() for made in one["made"]]
    new = {made_id for does, _, made_id in every if does == CreateIssue.tool_name()}
    added = {made_id for does, _, made_id in every if does == AddFlag.tool_name()}
    passing = added & {made_id for does, _, made_id in every if does == RemoveFlag.tool_name()}
    calls, stay = list[JsonObject](), list[int]()
    for number in sorted(outcomes, reverse=True):
        for does, issue_id, made_id in reversed(outcomes[number]["made"]):
            if issue_id in new or made_id in passing:
                continue
            call = _taking_back(plan.writes[number - 1], does, issue_id, made_id)
            if call is None:
                stay = stay if number in stay else [*stay, number]
            else:
                calls.append({"write": number, **call})
    return calls, sorted(stay)


def _taking_back(write: Write, does: str, issue_id: str, made_id: str) -> JsonObject | None:
    """The call that takes one request back; None where there is none."""
    rests_on: JsonObject = {}
    for step in write.steps:
        rests_on = step.get("rests_on", {}) if step["does"] == does else rests_on
    if does in TAKES_BACK:
        tool, argument = TAKES_BACK[does]
        return {"tool": tool, "arguments": ({"issue_id": issue_id} if issue_id else {}) | {argument: made_id}}
    if does == UpdateIssue.tool_name() and rests_on:
        before: JsonObject = {name: value for name, value in rests_on["before"].items() if name in rests_on["becomes"]}
        return _with_words("update_issue", {"issue_id": issue_id, **_writable(before)})
    if does == RemoveFlag.tool_name() and rests_on:
        return _with_words("add_flag", {"issue_id": issue_id, **_given(rests_on)})
    return None


def _writable(before: JsonObject) -> JsonObject:
    """Fields as they were. Null clears those that it can; an empty text cannot be written again."""
    clearable = UpdateIssue.clearable_fields()
    return {name: value for name, value in before.items() if value or (value is None and name in clearable)}


def _given(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _with_words(tool: str, arguments: JsonObject) -> JsonObject:
    """A call whose arguments hold words that somebody wrote."""
    return {"tool": tool, **untrusted("issue authors and call parties"), "arguments": arguments}
