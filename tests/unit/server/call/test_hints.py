"""What a refusal says and advises: a sentence on what to do, and the call that gets on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evidence import add_evidence, valid_arguments
from mcp.client import Client
from tool_calls import UNKNOWN, filed, ok, refused, with_call

from calltriage.desk.app import Desk
from calltriage.errors import Rejected
from calltriage.offering import ALL
from calltriage.operations.base import Tool
from calltriage.server.call.arguments import checked
from calltriage.server.call.schemas import arguments_model
from calltriage.server.call.table import describe
from calltriage.server.toolsets import select

SECTIONS = {"get_evidence": {"section": "flags"}, "get_affected_context": {"section": "calls"}}
"""What a cursor needs beside it."""


async def test_a_refused_cursor_leads_to_the_same_call_without_it(full_agent: Client, the_desk: Desk) -> None:
    agent = full_agent
    await add_evidence(the_desk)
    calls, tried = await valid_arguments(agent), list[str]()
    for tool in (await agent.list_tools()).tools:
        if "cursor" not in tool.input_schema["properties"]:
            continue
        given = calls[tool.name] | SECTIONS.get(tool.name, {})
        for cursor in ("garbage", "0.0.garbage", "not a cursor"):
            error = await refused(agent, tool.name, **given, cursor=cursor)
            assert error["field"] == "cursor", (tool.name, error)
            assert "leave it out" in error["message"] or "as omitted says" in error["message"], (tool.name, error)
            assert error["try_next"] == {"tool": tool.name, "arguments": given}, (tool.name, error)
        tried.append(tool.name)
    assert len(tried) >= 12


@pytest.mark.parametrize("day", ["2026-13-45", "2026-02-30", "yesterday", "2026-05-06T25:00:00Z", "26-05-06"])
@pytest.mark.parametrize("name", ["start_date", "end_date"])
async def test_what_is_no_day_of_the_calendar_is_refused_in_a_sentence(full_agent: Client, name: str, day: str) -> None:
    error = await refused(full_agent, "find_calls", **{name: day})
    assert (error["code"], error["field"]) == ("invalid_arguments", name)
    assert "status" not in error  # found here, before anything was sent
    assert "must be a day of the calendar (YYYY-MM-DD)" in error["message"]


async def test_a_person_who_is_no_member_leads_to_the_members(full_agent: Client) -> None:
    for name in ("assignee_id", "owner_id"):
        error = await refused(full_agent, "update_issue", issue_id=(await filed(full_agent))["id"], **{name: "bob"})
        assert (error["field"], error["outcome"]) == (name, "not_committed")
        advice = error["try_next"]
        assert advice == {"tool": "list_org_members", "arguments": {}}
        assert (await ok(full_agent, advice["tool"], **advice["arguments"]))["items"]


async def test_an_unknown_link_to_cite_leads_to_the_links_of_the_issue(agent: Client) -> None:
    ticket = await with_call(agent)
    comment = {"issue_id": ticket, "detail": "As heard.", "resource_link_ids": [UNKNOWN]}
    error = await refused(agent, "add_comment", **comment)
    assert (error["code"], error["field"], error["outcome"]) == ("not_found", "resource_link_ids", "not_committed")
    assert "One of resource_link_ids names nothing" in error["message"]
    advice = error["try_next"]
    assert advice == {"tool": "get_evidence", "arguments": {"issue_id": ticket, "section": "resources"}}
    link = (await ok(agent, advice["tool"], **advice["arguments"]))["resources"]["items"][0]
    await ok(agent, "add_comment", **{**comment, "resource_link_ids": [link["id"]]})


async def test_an_unknown_resource_of_a_new_issue_is_named_by_its_argument(agent: Client) -> None:
    links = [{"resource_type": "call", "resource_id": "call-card"}, {"resource_type": "call", "resource_id": "absent"}]
    draft = {"title": "Nobody answers", "severity": "low", "category": "Bug", "resource_links": links}
    error = await refused(agent, "create_issue", **draft)
    assert (error["code"], error["field"], error["outcome"]) == ("not_found", "resource_links", "not_committed")
    assert "resource_links" in error["message"]
    assert "try_next" not in error


@pytest.mark.parametrize(
    ("tool", "name", "section"),
    [
        ("remove_resource", "resource_link_id", "resources"),
        ("remove_flag", "flag_id", "flags"),
        ("remove_relation", "relation_id", "relations"),
    ],
)
async def test_what_is_not_there_to_be_removed_leads_to_what_is(
    full_agent: Client, tool: str, name: str, section: str
) -> None:
    ticket = (await filed(full_agent))["triage_id"]
    error = await refused(full_agent, tool, issue_id=ticket, **{name: UNKNOWN})
    assert (error["code"], error["field"]) == ("not_found", name)
    assert error["try_next"] == {"tool": "get_evidence", "arguments": {"issue_id": ticket, "section": section}}


STRANGE: list[Any] = [
    "nope",
    "a b",
    "yesterday",
    "../x",
    "é" * 20,
    "x" * 40,
    "9-9",
    "{}",
    "[]",
    -1,
    1.5,
    True,
    {"a": 1},
    ["!"],
]


@pytest.mark.parametrize("tool", select([ALL]), ids=lambda tool: tool.tool_name())
def test_no_refusal_shows_a_pattern(tool: type[Tool]) -> None:
    schema = describe(tool).input_schema
    for name in arguments_model(tool).model_fields:
        for value in STRANGE:
            try:
                checked(tool, schema, {name: value})
            except Rejected as error:
                message = str(error)
                assert "pattern" not in message, (name, message)
                assert not set("^\\[]") & set(message), (name, message)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("remove_relation", {"relation_id": "nope"}, "relation_id: must be a UUID: the id itself, as it was read. "),
        ("remove_relation", {"relation_id": "9" * 36}, "relation_id: must be a UUID: the id itself, as it was read. "),
        (
            "update_issue",
            {"expect_updated_at": "yesterday"},
            "expect_updated_at: must be an updated_at as it was read, ",
        ),
        (
            "attach_resource",
            {"resource_type": "call", "resource_id": "a b"},
            "resource_id: must be an id as it was read: ",
        ),
        (
            "get_issue",
            {"issue_id": "the first one"},
            "issue_id: must be an issue's UUID, its ticket number such as T-1042, ",
        ),
    ],
)
async def test_an_id_of_another_form_is_refused_in_a_sentence(
    full_agent: Client, tool: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in (await refused(full_agent, tool, **{"issue_id": "T-1", **arguments}))["message"]


async def test_one_member_stands_for_a_list_of_it_and_digits_for_a_number(full_agent: Client) -> None:
    agent = full_agent
    ticket = await with_call(agent)
    link = (await ok(agent, "get_evidence", issue_id=ticket, section="resources"))["resources"]["items"][0]
    assert (await ok(agent, "list_issues", status="todo", severity="high", category="Routing", limit="5"))[
        "items"
    ] == []
    assert (await ok(agent, "list_issues", status="todo", limit="1"))["returned"] == 1
    for no_member in ("Billing,Refund", " ", " ,"):
        assert (await refused(agent, "list_issues", category=no_member))["field"] == "category", (
            "it would match nothing"
        )
    cited = await ok(agent, "add_comment", issue_id=ticket, detail="As heard.", resource_link_ids=link["id"])
    [comment, *_] = (await ok(agent, "list_activity", issue_id=ticket))["items"]
    assert (comment["id"], [one["id"] for one in comment["resources"]]) == (cited["id"], [link["id"]])
    draft = {"title": "Nobody answers", "severity": "low", "category": "Bug"}
    one = {"resource_type": "call", "resource_id": "call-hours"}
    for number, given in enumerate((one, json.dumps(one), json.dumps([one]))):
        body = await ok(agent, "create_issue", **draft, resource_links=given, on_duplicate="create")
        assert body["resource_count"] == 1, number


@pytest.mark.parametrize(
    ("tool", "arguments", "allowed"),
    [
        ("list_issues", {"status": "finished"}, ["backlog", "todo", "in_progress", "in_review", "done", "closed"]),
        ("list_issues", {"status": '["todo"'}, ["backlog", "todo", "in_progress", "in_review", "done", "closed"]),
        ("list_issues", {"category": '["Bug"'}, None),
        ("list_issues", {"limit": "five"}, None),
        ("list_issues", {"limit": "5.5"}, None),
        ("list_issues", {"limit": "1000"}, None),
        ("list_issues", {"status": 5}, ["backlog", "todo", "in_progress", "in_review", "done", "closed"]),
        ("add_flag", {"issue_id": "T-1", "call_id": "c", "type": "x", "message_index": True}, None),
        ("create_issue", {"title": "t", "severity": "low", "category": "Bug", "resource_links": "call-card"}, None),
    ],
)  # fmt: skip
async def test_what_no_list_or_number_was_meant_by_is_refused(
    agent: Client, tool: str, arguments: dict[str, Any], allowed: list[str] | None
) -> None:
    error = await refused(agent, tool, **arguments)
    assert error["code"] == "invalid_arguments"
    assert error.get("allowed") == allowed


async def test_outer_blanks_are_dropped_and_blank_words_refused(full_agent: Client) -> None:
    agent = full_agent
    assert (await ok(agent, "create_category", name=" latency\n"))["name"] == "Latency"
    ticket = (await ok(agent, "create_issue", title="  Cut off ", severity="low", category=" Voicemail\t"))["triage_id"]
    issue = await ok(agent, "get_issue", issue_id=ticket)
    assert (issue["title"], issue["category"]) == ("Cut off", "Voicemail")
    assert (await ok(agent, "list_issues", category=" voicemail "))["returned"] == 1
    assert (await ok(agent, "add_comment", issue_id=ticket, detail="\n heard it \n"))["detail"] == "heard it"
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "x", "attach_if_missing": True}
    assert (await ok(agent, "add_flag", **flag, note=" early "))["note"] == "early"
    for tool, given, field in (
        ("create_category", {"name": " \u00a0 "}, "name"),
        ("create_issue", {"title": "   ", "severity": "low", "category": "Bug"}, "title"),
        ("create_issue", {"title": "t", "severity": "low", "category": "\n"}, "category"),
        ("update_issue", {"issue_id": ticket, "title": "\t"}, "title"),
        ("update_issue", {"issue_id": ticket, "category": " "}, "category"),
        ("add_comment", {"issue_id": ticket, "detail": "   "}, "detail"),
        ("add_flag", {**flag, "note": "  "}, "note"),
        ("prompt_norm", {"issue_id": ticket, "detail": " \n"}, "detail"),
    ):
        error = await refused(agent, tool, **given)
        assert (error["field"], error["outcome"]) == (field, "not_committed"), tool
        assert f"{field}: must not be blank" in error["message"], tool
    issue = await ok(agent, "get_issue", issue_id=ticket)
    assert (issue["title"], issue["category"], issue["flag_count"]) == ("Cut off", "Voicemail", 1)
    assert (await ok(agent, "list_issues"))["returned"] == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "given"),
    [
        ("get_issue", {"issue_id": "T-9999"}, "T-9999"), ("get_transcript", {"call_id": "no-such"}, "no-such"),
        ("get_issue", {"id": "https://x.example/a/T-9999"}, "T-9999"),
        ("get_attachment", {"attachment_id": "0123-x"}, "0123-x"),
        ("link_issue", {"issue_id": "T-9999", "related_issue_id": "T-9998", "relation_type": "related_to"}, "T-999"),
    ],
)  # fmt: skip
async def test_what_was_not_found_is_named_as_it_was_given(
    full_agent: Client, tool: str, arguments: dict[str, str], given: str
) -> None:
    error = await refused(full_agent, tool, **arguments)
    assert error["code"] == "not_found"
    assert f"Given: {given}" in error["message"]
