"""What hosts and models write otherwise than the schemas say: read as meant, told where it matters, else refused."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import enrol
from mcp.client import Client
from tool_calls import UNKNOWN, filed, ok, refused, with_call

from calltriage.desk.app import Desk
from calltriage.offering import ALL
from calltriage.operations.base import Tool
from calltriage.server.call.arguments import ALIASES, HOST_FIELDS, checked, understood
from calltriage.server.call.table import describe
from calltriage.server.toolsets import select

TOOLS: dict[str, type[Tool]] = {tool.tool_name(): tool for tool in select([ALL])}


def read(tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool is given for arguments: those that were set."""
    schema = describe(TOOLS[tool]).input_schema
    given, _ = understood(TOOLS[tool], schema, arguments)
    return checked(TOOLS[tool], schema, given).model_dump(exclude_unset=True, by_alias=True)


@pytest.mark.parametrize(
    ("tool", "argument", "written", "meant"),
    [
        ("find_calls", "inbound", "true", True), ("find_calls", "inbound", "False", False),
        ("find_calls", "completed", " TRUE ", True), ("find_calls", "limit", "5", 5), ("find_calls", "limit", "5.0", 5),
        ("find_calls", "limit", 5.0, 5), ("find_calls", "limit", " 7 ", 7), ("find_calls", "duration_gt", "0.5", 0.5),
        ("find_calls", "duration_gt", "30", 30), ("find_calls", "duration_lt", "2.50", 2.5),
        ("list_issues", "status", "todo", ["todo"]), ("list_issues", "status", '["todo","done"]', ["todo", "done"]),
    ],
)  # fmt: skip
def test_values_that_arrive_as_text_are_read(tool: str, argument: str, written: Any, meant: Any) -> None:
    found = read(tool, **{argument: written})[argument]
    assert (found, type(found)) == (meant, type(meant)) or (found == meant and isinstance(found, int | float))


@pytest.mark.parametrize(
    ("tool", "argument", "written"),
    [
        ("find_calls", "inbound", "yes"), ("find_calls", "inbound", "1"), ("find_calls", "inbound", 1),
        ("find_calls", "limit", "five"), ("find_calls", "limit", "5.5"), ("find_calls", "limit", "-1"),
        ("find_calls", "limit", True), ("find_calls", "limit", "\u0665"), ("find_calls", "limit", "1e1"),
        ("find_calls", "limit", "9" * 5000), ("find_calls", "duration_gt", "nan"), ("find_calls", "duration_gt", "inf"),
        ("find_calls", "duration_gt", "1,5"), ("find_calls", "duration_gt", "-0.5"), ("find_calls", "duration_gt", True),
    ],
)  # fmt: skip
async def test_text_that_is_no_such_value_is_refused(
    full_agent: Client, tool: str, argument: str, written: Any
) -> None:
    error = await refused(full_agent, tool, **{argument: written})
    assert (error["code"], error["field"]) == ("invalid_arguments", argument)


@pytest.mark.parametrize("nothing", [["null"], [None], [""], ["undefined", "None"], ["", None]])
async def test_a_list_of_nothing_is_a_list_that_was_not_given(agent: Client, nothing: list[Any]) -> None:
    await filed(agent)
    assert (await ok(agent, "list_issues", status=nothing, severity=nothing))["returned"] == 1
    assert (await refused(agent, "list_issues", status=["todo", *nothing]))["field"] == "status"


@pytest.mark.parametrize("nothing", ["", "null", "None", "undefined", " null "])
def test_every_optional_argument_may_be_filled_with_nothing(nothing: str) -> None:
    """Some hosts fill whatever the model left out. Words to look for stay words."""
    needed = {
        "issue_id": UNKNOWN, "related_issue_id": UNKNOWN, "title": "T", "severity": "low", "category": "B", "call_id": "c",
        "type": "x", "detail": "d", "name": "n", "relation_type": "blocks", "resource_type": "call", "resource_id": "c",
        "conversation_id": "c", "attachment_id": "a", "flag_id": UNKNOWN, "resource_link_id": UNKNOWN,
        "relation_id": UNKNOWN, "plan_id": "9" * 16, "seal": "s" * 24, "writes": [],
        "finding_id": "f" * 16, "verdict": "right", "detector": "d", "quote": "q", "pipeline": "p", "run_id": "r",
    }  # fmt: skip
    for name, tool in TOOLS.items():
        schema = describe(tool).input_schema
        required = {one: needed[one] for one in schema.get("required", ())}
        if name == "create_attachment":
            required = {"name": "n", "text": "t"}
        optional = schema["properties"].keys() - required.keys() - {"idempotency_key"}
        kept = set[str]() if not nothing else optional & {"search", "query", "quote"}
        if nothing and tool.clearable_fields():
            kept = set(optional)  # as nulls, which the tool judges together
        given = read(name, **required, **dict.fromkeys(optional - kept, nothing))
        assert given.keys() == required.keys(), name


async def test_an_idempotency_key_that_was_not_given_is_none(agent: Client) -> None:
    """A key that was given is refused here, where no journal is kept."""
    for nothing in ("", "undefined"):
        await filed(agent, idempotency_key=nothing)
    assert (await refused(agent, "create_issue", title="T", severity="low", category="B", idempotency_key="k"))[
        "field"
    ] == "idempotency_key"


@pytest.mark.parametrize("nothing", ["null", "None", "undefined"])
async def test_a_text_for_null_clears_what_null_clears(agent: Client, the_desk: Desk, nothing: str) -> None:
    await enrol(the_desk, "u-7")
    ticket = (await filed(agent, assignee_id="u-7"))["triage_id"]
    await ok(agent, "update_issue", issue_id=ticket, assignee_id=nothing)
    assert (await ok(agent, "get_issue", issue_id=ticket)).get("assignee_id") is None


async def test_nothing_everywhere_clears_nothing(agent: Client, the_desk: Desk) -> None:
    await enrol(the_desk, "u-7")
    ticket = (await filed(agent, assignee_id="u-7", description="As heard."))["triage_id"]
    filled = {"title": "null", "description": "null", "owner_id": "null", "assignee_id": "null", "category": "null"}
    body = await ok(agent, "update_issue", issue_id=ticket, status="done", **filled)
    assert "null was taken as not given" in body["note"]
    body = await ok(agent, "update_issue", issue_id=ticket, severity="low", **dict.fromkeys(filled, ""))
    assert "description" in body["note"]
    found = await ok(agent, "get_issue", issue_id=ticket)
    assert (found["title"], found["assignee_id"], found["description"]) == ("T", "u-7", "As heard.")
    assert (found["status"], found["severity"]) == ("done", "low")


async def test_required_free_text_and_words_to_look_for_stay_as_they_are(full_agent: Client) -> None:
    agent = full_agent
    ticket = (await filed(agent, title="undefined"))["triage_id"]
    assert (await ok(agent, "list_issues", search="undefined"))["returned"] == 1
    assert (await ok(agent, "add_comment", issue_id=ticket, detail="None"))["detail"] == "None"
    assert (await refused(agent, "add_comment", issue_id=ticket, detail=""))["field"] == "detail"
    assert (await ok(agent, "create_category", name="null"))["name"] == "null"


HOST = {"toolCallId": "call_1", "sessionId": "s1", "action": "sendMessage", "chatInput": "Hi", "tool": "list_issues"}


async def test_the_fields_that_the_automation_host_adds_are_left_out_and_told(agent: Client) -> None:
    assert HOST.keys() == HOST_FIELDS
    body = await ok(agent, "list_issues", **HOST)
    assert body["returned"] == 0
    assert all(name in body["note"] for name in HOST)
    for name, value in HOST.items():
        body = await ok(agent, "list_issues", **{name: value})
        assert body["note"].startswith(f"Left out, since the host adds it to every call: {name}.")
    assert "Left out" not in (await ok(agent, "list_issues"))["note"]


def test_the_host_s_field_does_not_make_another_call_of_a_key() -> None:
    """A key's second call has to have the arguments of its first."""
    calls = ({"id": UNKNOWN, "toolCallId": "call_1"}, {"issueId": UNKNOWN, "toolCallId": "call_2"})
    schema = describe(TOOLS["add_comment"]).input_schema
    one, two = [understood(TOOLS["add_comment"], schema, {"detail": "x", **call})[0] for call in calls]
    assert one == two == {"issue_id": UNKNOWN, "detail": "x"}


async def test_a_tool_s_own_argument_wins_over_the_host_s_field(full_agent: Client) -> None:
    ticket = (await filed(full_agent))["triage_id"]
    asked = {"issue_id": ticket, "detail": "What is known?"}
    error = await refused(full_agent, "prompt_norm", **asked, sessionId="no UUID")
    assert error["field"] == "session_id"
    given, note = understood(
        TOOLS["prompt_norm"], describe(TOOLS["prompt_norm"]).input_schema, {"session_id": UNKNOWN, "sessionId": "s1"}
    )
    assert given == {"session_id": UNKNOWN}
    assert "sessionId" in note


@pytest.mark.parametrize(
    ("tool", "alias", "name"),
    [
        ("add_comment", "body", "detail"), ("add_comment", "text", "detail"), ("add_comment", "comment", "detail"),
        ("add_comment", "id", "issue_id"), ("get_issue", "id", "issue_id"), ("get_issue", "issueId", "issue_id"),
        ("get_issue", "issueID", "issue_id"), ("get_issue", "issue-id", "issue_id"), ("get_issue", "IssueId", "issue_id"),
        ("get_call", "id", "call_id"), ("get_transcript", "callId", "call_id"), ("get_transcript", "id", "call_id"),
        ("get_transcript", "calls", "call_ids"), ("find_calls", "keywords", "query"),
        ("find_calls", "phone_number", "number"),
        ("find_calls", "since", "start_date"), ("find_calls", "until", "end_date"), ("find_calls", "timezone", "time_zone"),
        ("add_flag", "turn_index", "message_index"), ("add_flag", "phrase", "quote"), ("add_flag", "notes", "note"),
        ("update_flag", "flag", "flag_id"), ("update_issue", "state", "status"), ("update_issue", "owner", "owner_id"),
        ("create_attachment", "filename", "name"), ("create_attachment", "file_path", "path"),
        ("link_issue", "link_type", "relation_type"), ("get_evidence", "ticket_number", "issue_id"),
        ("add_flag", "messageIndex", "message_index"),
        ("add_flag", "flag_type", "type"), ("add_flag", "comment", "note"), ("list_issues", "query", "search"),
        ("get_transcript", "search", "query"), ("add_comment", "resourceLinkIds", "resource_link_ids"),
        ("update_issue", "expectUpdatedAt", "expect_updated_at"), ("create_issue", "body", "description"),
    ],
)  # fmt: skip
def test_names_that_models_write_are_taken_and_told(tool: str, alias: str, name: str) -> None:
    schema = describe(TOOLS[tool]).input_schema
    assert understood(TOOLS[tool], schema, {alias: "x"}) == ({name: "x"}, f"{alias} was taken for {name}.")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("remove_flag", {"id": UNKNOWN}),  # two ids are required
        ("attach_resource", {"id": "call-card"}),
        ("create_issue", {"id": UNKNOWN}),  # none is
        ("add_comment", {"issue_id": UNKNOWN, "detail": "x", "body": "y"}),
        ("add_comment", {"issue_id": UNKNOWN, "text": "x", "body": "y"}),
        ("get_issue", {"issueId": UNKNOWN, "id": UNKNOWN}),
        ("get_issue", {"issue_id": UNKNOWN, "issueId": UNKNOWN}),
        ("list_issues", {"toolcallid": "x"}),
        ("list_issues", {"files": "x"}),
        ("add_flag", {"text": "x"}),  # the quote or the note
        ("find_calls", {"id": "call-card"}),  # a call is not a batch
        ("find_calls", {"date": "2026-05-04", "day": "2026-05-05"}),
        ("find_calls", {"date": "2026-05-04", "start_date": "2026-05-01"}),
        ("list_attachments", {"date": "2026-05-04"}),
    ],
)
async def test_a_name_that_may_mean_several_things_or_none_is_refused(
    full_agent: Client, tool: str, arguments: dict[str, Any]
) -> None:
    assert (await refused(full_agent, tool, **arguments))["code"] == "unknown_argument"


@pytest.mark.parametrize("name", ["date", "day"])
async def test_one_day_is_the_first_and_the_last_of_a_search(agent: Client, name: str) -> None:
    (one,) = (await ok(agent, "find_calls", query="card", limit=1))["items"]
    day = one["created_at"][:10]
    found = await ok(agent, "find_calls", query="card", **{name: day})
    assert one["call_id"] in [row["call_id"] for row in found["items"]]
    assert {row["created_at"][:10] for row in found["items"]} == {day}
    assert found["note"].startswith(f"{name} was taken for start_date and end_date.")
    assert (await refused(agent, "find_calls", **{name: "soon"}))["field"] == "start_date"


async def test_an_alias_is_told_beside_the_answer(agent: Client) -> None:
    ticket = await with_call(agent)
    body = await ok(agent, "add_comment", issueId=ticket, text="Seen.")
    assert body["detail"] == "Seen."
    assert "issueId was taken for issue_id." in body["note"]


async def test_what_the_server_says_of_a_flag_stands_apart_from_the_note_of_the_flag(agent: Client) -> None:
    ticket = await with_call(agent)
    given = {"issueId": ticket, "callId": "call-hours", "type": "x", "attachIfMissing": "true", "messageIndex": "1"}
    flag = await ok(agent, "add_flag", **given, comment="Why it matters.")
    assert (flag["outcome"], flag["message_index"], flag["note"]) == ("committed", 1, "Why it matters.")
    assert "messageIndex was taken for message_index." in flag["explanation"]
    same = {"issue_id": ticket, "flagId": flag["id"], "note": "Why it matters."}
    again = await ok(agent, "update_flag", **same)
    assert (again["outcome"], again["note"]) == ("replayed", "Why it matters.")
    assert again["explanation"].startswith("flagId was taken for flag_id.")
    assert again["explanation"].endswith("Nothing was written.")


def test_no_alias_hides_an_argument_and_each_stands_for_some() -> None:
    names = {name for tool in TOOLS.values() for name in describe(tool).input_schema["properties"]}
    assert {name for options in ALIASES.values() for name in options} <= names
    assert not names & (HOST_FIELDS - {"tool", "action"})
