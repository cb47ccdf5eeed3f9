"""Each example of the vendors' documents with a part null, left out or of another type, through the real server: no answer
fails whole unless the one thing asked for has lost its identity, and what cannot be read is named."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import pytest
from conftest import endpoints_to, no_sleep
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client import Client
from pydantic import TypeAdapter
from vendor_examples import LEFT_OUT, READING, WRITING, Example, Path, Vendor, at, others, places, with_changed

from calltriage.client.client import open_client
from calltriage.offering import ALL
from calltriage.operations import CATALOGUE
from calltriage.operations.calls import ListCalls
from calltriage.server.app import build_server
from calltriage.server.toolsets import select


@asynccontextmanager
async def agent_of(vendor: Vendor) -> AsyncGenerator[Client]:
    endpoints = endpoints_to(httpx2.MockTransport(vendor))
    async with (
        open_client(endpoints, deadline_s=5) as client,
        Client(build_server(client, version="0", tools=select([ALL]), sleep=no_sleep)) as agent,
    ):
        yield agent


def mutations(example: Example) -> Iterator[tuple[Path, Any, Any]]:
    """Places of an example, each with a changed value and the body that has it."""
    for place in places(example.body):
        if place[-1] == "errors":
            continue
        for value in (None, LEFT_OUT, *others(at(example.body, place))):
            yield place, value, with_changed(example.body, place, value)


def may_fail(name: str, tool: str, place: Path) -> bool:
    """Whether nothing is left to show of what the tool was asked for: evidence is asked of an issue, and shows the rest."""
    return place in READING[name].identity and (tool != "get_evidence" or name == "issue")


@pytest.mark.slow
@pytest.mark.parametrize("name", READING)
async def test_one_part_that_cannot_be_read_never_costs_the_answer(name: str) -> None:
    vendor, failed = Vendor(), list[Any]()
    async with agent_of(vendor) as agent:
        for tool, arguments in READING[name].tools:
            for place, _, body in mutations(READING[name]):
                vendor.changed = {name: body}
                result = await agent.call_tool(tool, arguments)
                if result.is_error and not may_fail(name, tool, place):
                    failed.append((tool, place))
    assert failed == []


NOT_READ = re.compile(
    "metadata|actor|latest_agent_session|resources|referenced_issues|external_link|provider|payload"
    "|variables|extra|pathways|personas|self|prev|curies"
)
"""Objects that are shown as they came, and links that nobody follows."""


def is_read(name: str, place: Path) -> bool:
    """Whether a field of an example has a declared type."""
    known = set[str](re.findall(r'"(\w+)": {', json.dumps(TypeAdapter(RESULTS[name]).json_schema())))
    of_turn = place[0] == "transcripts" and place[-1] == "created_at"  # kept as it came
    of_list = name == "conversations" and "messages" in place  # not shown in a list
    return place[-1] in known and not (of_turn or of_list or any(NOT_READ.fullmatch(str(key)) for key in place))


RESULTS: dict[str, Any] = {
    name: operation.result_type()
    for name, example in READING.items()
    for operation in CATALOGUE
    if operation.tool_name() in dict(example.tools)
} | {"calls": ListCalls.result_type()}


@pytest.mark.parametrize("name", WRITING)
async def test_a_write_whose_answer_cannot_be_read_in_part_is_done_all_the_same(name: str) -> None:
    vendor, failed = Vendor(), list[Any]()
    tool, arguments = WRITING[name].tools[0]
    async with agent_of(vendor) as agent:
        for place, _, body in mutations(WRITING[name]):
            if place == ("data",):  # the envelope is empty: nothing says that it was done
                continue
            vendor.changed = {name: body}
            result = await agent.call_tool(tool, arguments)
            outcome = (result.structured_content or {}).get("outcome", "committed")
            if result.is_error or outcome != "committed":
                failed.append((place, result.structured_content))
    assert failed == []


LISTS = ("issues", "resources", "flags", "relations", "activity", "flag types", "categories")


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(list(READING)))
async def test_two_parts_that_cannot_be_read_never_cost_the_answer(data: st.DataObject, name: str) -> None:
    example, vendor = READING[name], Vendor()
    body = example.body
    for _ in range(2):
        choices = [place for place in places(body) if place not in example.identity and place[-1] != "errors"]
        if not choices:  # the first change left a bare list empty
            break
        place = data.draw(st.sampled_from(choices))
        body = with_changed(body, place, data.draw(st.sampled_from([None, LEFT_OUT, *others(at(body, place))])))
    vendor.changed = {name: body}
    async with agent_of(vendor) as agent:
        for tool, arguments in example.tools:
            result = await agent.call_tool(tool, arguments)
            assert not result.is_error, result.structured_content


@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data(), name=st.sampled_from(LISTS), broken=st.integers(0, 19))
async def test_a_page_loses_its_broken_row_alone(data: st.DataObject, name: str, broken: int) -> None:
    example, vendor = READING[name], Vendor()
    tool, arguments = example.tools[0]
    rows = [example.body["data"]["items"][0]] * 20
    rows[broken] = data.draw(st.sampled_from([17, "odd", [], {}, None, True]))
    vendor.changed = {name: with_changed(example.body, ("data", "items"), rows)}
    async with agent_of(vendor) as agent:
        result = await agent.call_tool(tool, arguments)
    page = result.structured_content or {}
    assert not result.is_error, page
    shown = page["returned"] + sum(gap["left_out"] for gap in page.get("omitted", ()))  # what does not fit is said
    assert (shown, page["unreadable_rows"], page["complete"]) == (19, [broken], False)


ROWS: dict[str, tuple[Path, str]] = {
    **{name: (("data", "items"), "type" if name == "flag types" else "id") for name in LISTS},
    "agents": (("data", "items"), "id"), "calls": (("calls",), "call_id"), "conversations": (("data",), "id"),
    "members": (("data",), "user_id"), "attachments": (("_embedded", "list"), "id"),
    "corrected": (("corrected",), "text"), "events": ((), "event_type"), "event stream": ((), "message"),
}  # fmt: skip
"""Where each documented list has its rows, and a field that tells them apart."""
NO_ROWS = [17, "odd", None, [], True]


@pytest.mark.slow
@pytest.mark.parametrize("broken", [0, 7, 19])
@pytest.mark.parametrize("name", ROWS)
async def test_one_broken_row_in_twenty_is_named_by_each_tool_that_reads_the_list(name: str, broken: int) -> None:
    (place, key), example, vendor = ROWS[name], READING[name], Vendor()
    one = at(example.body, place)[0]
    rows: list[Any] = [one | {key: f"{one[key][:-2]}{n:02}"} for n in range(20)]
    async with agent_of(vendor) as agent:
        for odd in NO_ROWS:
            rows[broken] = odd
            vendor.changed = {name: with_changed(example.body, place, rows) if place else rows}
            for tool, arguments in example.tools:
                result = await agent.call_tool(tool, arguments)
                body = result.structured_content or {}
                assert not result.is_error, body
                assert body["complete"] is False
                assert body.get("unreadable_rows") == [broken] or any(
                    gap.get("section", "").endswith("that cannot be read") for gap in body.get("omitted", ())
                ), (tool, odd, body)


@pytest.mark.parametrize("broken", [0, 7, 19])
@pytest.mark.parametrize(("name", "place"), [("call", ("transcripts",)), ("conversation", ("data", "messages"))])
async def test_a_broken_turn_or_message_keeps_its_index_and_is_named(name: str, place: Path, broken: int) -> None:
    example, vendor = READING[name], Vendor()
    tool, arguments = example.tools[0]
    one = at(example.body, place)[0]
    words = "text" if name == "call" else "message"
    rows: list[Any] = [one | {words: f"word {n}"} for n in range(20)]
    async with agent_of(vendor) as agent:
        for odd in NO_ROWS:
            rows[broken] = odd
            vendor.changed = {name: with_changed(example.body, place, rows)}
            body = (await agent.call_tool(tool, arguments)).structured_content or {}
            shown = (body.get("transcript") or body["conversation"])["turns" if name == "call" else "messages"]
            texts = ["" if n == broken else f"word {n}" for n in range(20)]
            assert [(row["message_index"], row["text"]) for row in shown] == list(enumerate(texts))
            assert [row["message_index"] for row in shown if words in row.get("unreadable_fields", ())] == [broken]
            assert (body["complete"], body["omitted"][0]["left_out"]) == (False, 1)


def named(node: Any) -> set[str]:
    """What an answer names as not to be read: fields, places of rows, sections."""
    found = set[str]()
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node)
        found |= {word for name in members.get("unreadable_fields", ()) for word in name.split(".")}
        found |= {str(place) for place in members.get("unreadable_rows", ())}
        found |= {str(item.get("section")) for item in members.get("omitted", ())}
        node = list(members.values())
    if isinstance(node, list):
        found |= set[str]().union(*map(named, cast("list[Any]", node)))
    return found


@pytest.mark.parametrize("name", READING)
async def test_each_part_that_cannot_be_read_is_named(name: str) -> None:
    """A text in whose place an object stands can be read in no way."""
    example, vendor, unnamed = READING[name], Vendor(), list[Any]()
    tool, arguments = example.tools[0]
    async with agent_of(vendor) as agent:
        for place in places(example.body):
            if not isinstance(at(example.body, place), str) or not is_read(name, place):
                continue
            vendor.changed = {name: with_changed(example.body, place, {"odd": 1})}
            result = await agent.call_tool(tool, arguments)
            if not result.is_error and not named(result.structured_content) & {str(key) for key in place}:
                unnamed.append(place)
    assert unnamed == []
