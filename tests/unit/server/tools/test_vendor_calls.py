"""Calls in the shapes in which vendors answer them: one text, times of several kinds, ids that are numbers."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from conftest import load_lines
from mcp.client import Client
from tool_calls import ok
from vendors import agent_before

from calltriage.desk.app import Desk
from calltriage.operations.calls import Call

JOINED = "user : Hey, it's Alex. \n assistant: Hi! It's Blandie. Is now: a good time? \n user: Sure!"


def answering(**fields: Any) -> Any:
    """A vendor that answers each call with these fields, and its id."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"call_id": request.url.path.rpartition("/")[2], **fields})

    return answer


async def read(fields: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    async with agent_before(answering(**fields)) as agent:
        return await ok(agent, "get_transcript", call_id="c-1", **arguments)


@pytest.mark.parametrize("missing", [{}, {"transcripts": None}, {"transcripts": []}, {"transcripts": "none"}])
async def test_a_call_with_one_text_alone_is_read_in_turns_and_that_is_said(missing: dict[str, Any]) -> None:
    found = await read({"concatenated_transcript": JOINED, **missing})
    assert [(turn["user"], turn["text"]) for turn in found["transcript"]["turns"]] == [
        ("user", "Hey, it's Alex."),
        ("assistant", "Hi! It's Blandie. Is now: a good time?"),
        ("user", "Sure!"),
    ]
    assert found["transcript_source"].startswith("concatenated_transcript")
    assert found["turns_in_call"] == 3


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("user: Hello? assistant: Hi, I told the caller so. user: Fine", ["user", "assistant", "user"]),
        ("Assistant: Hi... User: Hey...", ["Assistant", "User"]),
        ("Nobody is marked here, at 10: 30 or so", [None]),
        ("It was user: unknown that called", [None]),
        ("user: one\nand on it goes\nassistant: two", ["user", "assistant"]),
        (" \n ", []),
    ],
)
def test_one_text_is_split_where_it_marks_its_speakers_alone(text: str, turns: list[str | None]) -> None:
    call = Call.model_validate({"call_id": "c", "concatenated_transcript": text})
    assert [turn.user for turn in call.transcripts or []] == turns
    assert call.is_split


async def test_turns_of_the_vendors_own_are_never_replaced() -> None:
    found = await read({"transcripts": [{"user": "user", "text": "Hi"}], "concatenated_transcript": JOINED})
    assert [turn["text"] for turn in found["transcript"]["turns"]] == ["Hi"]
    assert "transcript_source" not in found


async def test_a_quote_is_flagged_in_a_call_of_one_text(full_agent: Client, the_desk: Desk) -> None:
    line = {"call_id": 4711, "created_at": "2026-05-01T10:00:00Z", "concatenated_transcript": JOINED}
    await load_lines(the_desk, json.dumps(line))
    issue = await ok(full_agent, "create_issue", title="Loops", severity="low", category="Bug")
    quote = {"quote": "a good time", "attach_if_missing": True}
    flag = await ok(full_agent, "add_flag", issue_id=issue["id"], call_id=4711, type="loops", **quote)
    assert flag["message_index"] == 1
    read = await ok(full_agent, "get_transcript", call_id="4711")
    assert read["transcript_source"].startswith("concatenated_transcript")
    assert (await ok(full_agent, "get_call", call_id=4711))["turns"] == 3


BEGAN = "2023-12-16T00:15:26.500000+00:00"


@pytest.mark.parametrize(
    ("call", "turn", "times"),
    [
        ({}, {"created_at": "2023-12-16T00:15:32.287493+00:00"}, (5.79, None)),
        ({"started_at": "2023-12-16T00:15:30Z"}, {"created_at": "2023-12-16T01:15:32+01:00"}, (2.0, None)),
        ({"created_at": "2023-12-16T05:45:26+05:30"}, {"created_at": "2023-12-16T05:45:30"}, (4.0, None)),
        ({}, {"start_ms": 1200, "duration_ms": 300}, (1.2, 0.3)),
        ({}, {"start_ms": "1200", "end_ms": 2200, "created_at": "x"}, (1.2, 1.0)),
        ({}, {"start_ms": 0}, (0.0, None)),
        ({}, {"created_at": "2023-12-16T00:15:20Z"}, (None, None)),
        ({}, {"created_at": "2029-12-16T00:15:20Z"}, (None, None)),
        ({"created_at": None}, {"created_at": "2023-12-16T00:15:20Z"}, (None, None)),
        ({}, {}, (None, None)),
        ({}, {"start_ms": -5, "duration_ms": -1}, (None, None)),
    ],
)
async def test_a_turn_has_its_time_wherever_the_source_has_one(
    call: dict[str, Any], turn: dict[str, Any], times: tuple[float | None, float | None]
) -> None:
    found = await read({"created_at": BEGAN, **call, "transcripts": [{"user": "user", "text": "Hi", **turn}]})
    (shown,) = found["transcript"]["turns"]
    assert (shown.get("at_s"), shown.get("for_s")) == times


async def test_evidence_shows_when_a_flagged_moment_was(full_agent: Client, the_desk: Desk) -> None:
    turns = [{"speaker": "caller", "text": "I want to cancel", "start_ms": 61_500, "duration_ms": 2_000}]
    await load_lines(the_desk, json.dumps({"call_id": "t-1", "created_at": "2026-05-01T10:00:00Z", "turns": turns}))
    issue = await ok(full_agent, "create_issue", title="Cancels", severity="low", category="Bug")
    quote = {"quote": "want to cancel", "attach_if_missing": True}
    await ok(full_agent, "add_flag", issue_id=issue["id"], call_id="t-1", type="cancels", **quote)
    evidence = await ok(full_agent, "get_evidence", issue_id=issue["id"])
    (turn,) = evidence["flags"]["items"][0]["turns"]
    assert (turn["at_s"], turn["for_s"]) == (61.5, 2.0)


@pytest.mark.parametrize("said", [{"call_id": 4711}, {"c_id": 4711}, {"c_id": "4711"}, {"call_id": {}, "c_id": 4711}])
async def test_a_call_is_read_by_a_number_as_by_text_and_answered_by_either(said: dict[str, Any]) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/v1/calls/4711"
        return httpx2.Response(200, json={**said, "from": "+1", "wait_time": 3, "variables": {"city": "Oslo"}})

    async with agent_before(answer) as agent:
        for call_id in (4711, "4711"):
            found = await ok(agent, "get_call", call_id=call_id)
            assert found["call_id"] == "4711"
            facts = found["call"]["facts"]
            assert (facts["from"], facts["wait_time"], facts["variables"]) == ("+1", 3, {"city": "Oslo"})
