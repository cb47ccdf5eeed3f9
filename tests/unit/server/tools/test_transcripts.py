"""Reading transcripts: of one call with its head, and of several calls in one answer."""

from __future__ import annotations

from conftest import call_line, load_lines
from mcp.client import Client
from tokens import real_tokens
from tool_calls import ok, refused

from calltriage.desk.app import Desk
from calltriage.leaves.gate import compact


async def test_several_calls_are_read_in_one_answer(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("a", "Hello.", "Bye.", call_length=2.5), call_line("b", "Other."))
    found = await ok(agent, "get_transcript", call_ids=["b", "a", "b"])
    assert [one["call_id"] for one in found["transcripts"]] == ["b", "a"]
    assert (found["returned"], found["complete"]) == (2, True)
    said = found["transcripts"][1]["transcript"]
    assert (said["trust"], [turn["text"] for turn in said["turns"]]) == ("untrusted", ["Hello.", "Bye."])
    assert said["created_at"].startswith("2026")


async def test_what_does_not_fit_is_named_with_the_call_that_reads_it(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("short", "Hello."), call_line("long", "so it went on and on " * 2000))
    found = await ok(agent, "get_transcript", call_ids=["long", "short", "none"])
    assert [one["call_id"] for one in found["transcripts"]] == ["short"]
    assert real_tokens(compact(found)) <= 6_000
    assert found["omitted"][0]["try_next"] == {"tool": "get_transcript", "arguments": {"call_id": "long"}}
    assert (found["omitted"][1]["call_id"], found["omitted"][1]["error"]) == ("none", "not_found")
    assert found["complete"] is False


async def test_the_head_says_when_a_call_was_and_how_long_it_took(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("a", "Hello.", call_length=2.5, call_ended_by="USER"))
    said = (await ok(agent, "get_transcript", call_id="a"))["transcript"]
    assert (said["call_length"], said["call_ended_by"]) == (2.5, "USER")


async def test_one_call_or_several_are_named(agent: Client) -> None:
    assert (await refused(agent, "get_transcript"))["field"] == "call_id"
    assert (await refused(agent, "get_transcript", call_id="a", call_ids=["b"]))["field"] == "call_id"
    assert (await refused(agent, "get_transcript", call_ids=["b"], query="x"))["field"] == "call_ids"


async def test_words_apart_are_found_in_the_one_turn_that_holds_all_of_them(agent: Client, the_desk: Desk) -> None:
    said = ("Cancel the update first.", "I have had a contract for years.", "Today I will cancel my contract.")
    await load_lines(the_desk, call_line("a", *said))
    found = await ok(agent, "get_transcript", call_id="a", query="contract cancel")
    assert [turn["message_index"] for turn in found["transcript"]["turns"]] == [2]
    assert (found["matches"], "found" in found) == (1, False)
    nearest = await ok(agent, "get_transcript", call_id="a", query='"contract cancel"')
    assert (nearest["matches"], nearest["found"]) == (0, "nearest")


async def test_a_query_that_no_turn_holds_shows_turns_with_words_like_it_or_says_that_there_are_none(
    agent: Client, the_desk: Desk
) -> None:
    await load_lines(the_desk, call_line("a", "Hello.", "I asked for a cancellation.", "Bye."))
    near = await ok(agent, "get_transcript", call_id="a", query="cancelling")
    assert ([turn["message_index"] for turn in near["transcript"]["turns"]], near["found"]) == ([1], "nearest")
    none = await ok(agent, "get_transcript", call_id="a", query="zebra")
    assert (none["matches"], none["transcript"]["turns"], none["complete"]) == (0, [], False)
    assert none["note"].startswith("None of 3 turns holds it.")
    window = await ok(agent, "get_transcript", call_id="a", query="zebra", **{"from": 1, "to": 1}, max_tokens=500)
    assert window["note"].startswith("None of 1 turn holds it.")
