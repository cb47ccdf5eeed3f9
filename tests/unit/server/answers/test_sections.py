"""Long texts are read whole by following the advice alone: every character once, and no way that leads back."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from conftest import call_line, endpoints_to, load_lines
from evidence import large_case
from faults import Inner, Scripted, passes
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client import Client
from tool_calls import entries, filed, ok, read_on, refused, with_call

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.leaves.gate import gate
from calltriage.operations.flags import AddFlag
from calltriage.server.answers.sections import NAME, Place, portion
from calltriage.server.app import build_server

LONG = {
    "emoji": "".join(chr(0x1F600 + n % 64) for n in range(10_000)),
    "rare ideographs": "".join(chr(0x20000 + n) for n in range(10_000)),
    "Chinese": ("通話的品質很差因為系統沒有回應客戶" * 600)[:10_000],
    "invisible": ("a\u200b\U000e0041\u202e" * 2500),
    "digits": "".join(f"{n * 7919 % 1000} " for n in range(2700))[:9_999] + ".",
}
texts = pytest.mark.parametrize("text", LONG.values(), ids=LONG)


def pieces(found: list[dict[str, Any]], name: str) -> str:
    """What entries hold of one text, put together; each says how much of it comes before and after."""
    told, left = "", 0
    for entry in found:
        assert entry.get("characters_before", {}).get(name, 0) == len(told)
        told += _plain(entry[name])
        left = entry.get("characters_left_out", {}).get(name, 0)
    assert left == 0
    return told


def _plain(shown: str) -> str:
    """A text of LONG as it was before the gate."""
    for character in "\u200b\U000e0041\u202e":
        shown = shown.replace(gate(character)[0], character)
    return shown


@pytest.mark.slow
@texts
async def test_a_description_that_get_issue_cuts_is_read_whole(agent: Client, text: str) -> None:
    issue = await filed(agent, description=text)
    first, *rest = await read_on(agent, "get_issue", issue_id=issue["id"])
    assert text.startswith(_plain(first["description"]))
    if rest:
        assert pieces(entries(rest, "description"), "description") == text
    else:
        assert _plain(first["description"]) == text


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1000, 6000, 19_000])
@texts
async def test_a_description_that_the_bundle_cuts_is_read_on_from_there(agent: Client, text: str, budget: int) -> None:
    issue = await filed(agent, description=text)
    first, *rest = await read_on(agent, issue_id=issue["id"], max_tokens=budget)
    begun = _plain(first["issue"].get("description", ""))
    found = [{"description": begun}, *entries(rest, "description")]
    assert pieces(found if begun else found[1:], "description") == text


async def test_an_issue_that_is_long_in_every_way_is_read_to_an_end(agent: Client) -> None:
    issue = await filed(agent, title="\U000e0041" * 200, description=LONG["emoji"], category="\u200b" * 60)
    bodies = await read_on(agent, issue_id=issue["id"], max_tokens=1000)
    assert any(body.get("complete") for body in bodies)


@pytest.mark.parametrize("tool", ["get_evidence", "get_affected_context"])
async def test_a_place_behind_the_end_is_refused_and_not_taken_for_an_empty_end(full_agent: Client, tool: str) -> None:
    issue = await filed(full_agent)
    call = {"issue_id": issue["id"], "resource_type": "call", "resource_id": "call-card"}
    await ok(full_agent, "attach_resource", **call)
    section = "resources" if tool == "get_evidence" else "calls"
    for cursor in ("500.99.", "2.2.", "2.2.abc" if tool == "get_evidence" else "0.0.abc"):
        error = await refused(full_agent, tool, issue_id=issue["id"], section=section, cursor=cursor)
        assert error["field"] == "cursor", cursor
        again = error["try_next"]
        assert (await ok(full_agent, again["tool"], **again["arguments"]))["complete"] is True


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "more"), [
    ("get_evidence", {"max_tokens": 1000}), ("get_evidence", {}), ("list_activity", {}),
])  # fmt: skip
@texts
async def test_a_comment_is_read_whole(full_agent: Client, text: str, tool: str, more: dict[str, Any]) -> None:
    issue = await filed(full_agent)
    comments = [f"1 {text[:3990]}".strip(), f"2 {text[-3990:]}"]
    for comment in comments:
        await ok(full_agent, "add_comment", issue_id=issue["id"], detail=comment)
    bodies = await read_on(full_agent, tool, issue_id=issue["id"], **more)
    if tool == "list_activity" and bodies[0]["complete"] is False and "omitted" in bodies[0]:
        bodies = bodies[1:]  # what it cut is read from its beginning
    found = [one for one in entries(bodies, "activity") or bodies[0]["items"] if one["type"] == "comment"]
    told = "".join(_plain(one["detail"]) for one in found)
    assert told == comments[1] + comments[0], "newest first"


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1000, 6000, 19_000])
@texts
async def test_a_flag_is_read_whole_through_all_of_its_texts(
    agent: Client, client: ApiClient, text: str, budget: int
) -> None:
    issue = await filed(agent)
    flag = {"issue_id": issue["id"], "call_id": "call-card", "type": "x"}
    await ok(agent, "add_flag", **flag, note="first", attach_if_missing=True)
    await client.send(AddFlag.model_validate({**flag, "note": text[:4000].strip(), "message_text": text}))
    await ok(agent, "add_flag", **flag, note="last")
    bodies = await read_on(agent, issue_id=issue["id"], max_tokens=budget)
    first, *long, last = entries(bodies, "flags")
    assert (first["note"], last["note"]) == ("first", "last")
    for name, whole in (("note", text[:4000].strip()), ("message_text", text)):
        assert pieces([entry for entry in long if name in entry], name) == whole


@pytest.mark.parametrize("turn", ["so the card never came and nobody called back " * 70, LONG["emoji"][:3000]])
async def test_long_turns_at_flags_are_shown_whole_where_there_is_room(
    agent: Client, the_desk: Desk, turn: str
) -> None:
    await load_lines(the_desk, call_line("long", *[f"{n}{turn}" for n in range(4)]))
    ticket = await with_call(agent, "long")
    await ok(agent, "add_flag", issue_id=ticket, call_id="long", type="x", message_index=1)
    await ok(agent, "add_flag", issue_id=ticket, call_id="long", type="y", message_index=2)
    for budget in (2000, 6000, 19_000):
        bodies = await read_on(agent, issue_id=ticket, section="flags", max_tokens=budget)
        said = dict[int, str]()
        for shown in (turn for flag in entries(bodies, "flags") for turn in flag.get("turns", ())):
            said[shown["message_index"]] = shown["text"]
        for window in (body["transcript"]["turns"] for body in bodies if "transcript" in body):
            for shown in window:
                begun = said.get(shown["message_index"], "")
                assert len(begun) >= shown.get("offset", 0)
                said[shown["message_index"]] = begun[: shown.get("offset", 0)] + shown["text"]
        assert said == {n: f"{n}{turn}" for n in range(4)}
    if turn.isascii():
        bundle = await ok(agent, "get_evidence", issue_id=ticket, section="flags", max_tokens=15_000)
        assert bundle["complete"] is True


ENTRY = st.dictionaries(
    st.sampled_from("abcdef"), st.text(max_size=NAME) | st.text(min_size=NAME + 1, max_size=300), max_size=5
)


@given(ENTRY, st.lists(st.integers(0, 1600), max_size=6))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_portions_of_an_entry_are_the_entry(entry: dict[str, str], cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), 2000]
    told = dict.fromkeys(entry, "")
    for first, last in pairwise(ends):
        part = portion(entry, first, last)
        for name, value in entry.items():
            if len(value) <= NAME:
                assert part[name] == value
                continue
            assert part.get("characters_before", {}).get(name, 0) == len(told[name])
            told[name] += part.get(name, "")
            assert part.get("characters_left_out", {}).get(name, 0) == len(value) - len(told[name])
    assert {**entry, **{name: value for name, value in told.items() if value}} == entry
    assert all(told[name] == value for name, value in entry.items() if len(value) > NAME)


@given(
    st.builds(Place, *[st.integers(0, 9_999_999)] * 2, st.none() | st.text(min_size=1, max_size=512),
              st.integers(0, 9_999_999))
)  # fmt: skip
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_place_is_what_it_is_written_as(place: Place) -> None:
    if "\n" not in (place.cursor or ""):
        assert Place.named(str(place)) == place


@pytest.mark.parametrize("size", [200, 440, 512])
async def test_cursors_as_long_as_an_api_s_may_be_lead_on(the_desk: Desk, client: ApiClient, size: int) -> None:
    """Each page of three has a cursor that no budget holds twice."""
    issue_id = await large_case(the_desk, client, links=14, flags=14)
    real = dict[str, str]()

    async def long_cursors(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        asked = {**request.url.params, "limit": "3"}
        if "cursor" in asked:
            asked["cursor"] = real[asked["cursor"]]
        request.url = request.url.copy_with(params=asked)
        body = json.loads(await (await passes(request, inner)).aread())
        if following := body["data"]["next_cursor"]:
            longer = base64.urlsafe_b64encode(hashlib.shake_256(following.encode()).digest(size)).decode()[:size]
            real[longer], body["data"]["next_cursor"] = following, longer
        return httpx2.Response(200, json=body, request=request)

    network = Scripted(
        *[long_cursors] * 300, inner=httpx2.ASGITransport(the_desk), only=lambda r: r.url.path.endswith("/flags")
    )
    async with (
        open_client(endpoints_to(network)) as over_long,
        Client(build_server(over_long, version="0")) as agent,
    ):
        bodies = await read_on(agent, issue_id=issue_id, section="flags", max_tokens=1000)
    assert [flag["note"] for flag in entries(bodies, "flags")] == [f"note {n}" for n in range(14)]


def test_a_part_of_an_entry_keeps_its_ids() -> None:
    entry = {"id": "i" * 100, "call_id": "c" * 128, "note": "n" * 500}
    part = portion(entry, 100, 150)
    assert (part["id"], part["call_id"], part["note"]) == (entry["id"], entry["call_id"], "n" * 50)
