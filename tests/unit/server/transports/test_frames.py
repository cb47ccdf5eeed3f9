"""What a client sends that is no message: answered in words of our own, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_over_http import ACCEPT, newest, served
from mcp_types import JSONRPCError
from mcp_types.jsonrpc import jsonrpc_message_adapter

from calltriage.client.client import Client
from calltriage.server.transports.frames import Frame, read_frame

CANARY = "canary-4711"
PING = {"jsonrpc": "2.0", "id": 4, "method": "ping"}

UNREADABLE: dict[str, tuple[str | bytes, int, Any]] = {
    "cut": ('{"jsonrpc":"2.0","id":4,"method":"ping"', -32700, None),
    "words": (CANARY, -32700, None),
    "no UTF-8": (b'{"jsonrpc":"2.0","id":4,"method":"\xff\xfe"}', -32700, None),
    "NaN": ('{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700, None),
    "deep": ("[" * 100_000, -32700, None),
    "a batch": (json.dumps([PING]), -32600, None),
    "a number": ("5", -32600, None),
    "null": ("null", -32600, None),
    "another version": (json.dumps({**PING, "jsonrpc": CANARY}), -32600, 4),
    "no method": (json.dumps({"jsonrpc": "2.0", "id": 4, "canary": CANARY}), -32600, None),
    "a method that is none": (json.dumps({**PING, "method": {CANARY: 1}}), -32600, 4),
    "params that are none": (json.dumps({**PING, "params": CANARY}), -32600, 4),
    "a list of params": (json.dumps({**PING, "params": [CANARY]}), -32600, 4),
    "an id that is an object": (json.dumps({**PING, "id": {CANARY: 1}}), -32600, None),
    "an id that is a fraction": (json.dumps({**PING, "id": 1.5}), -32600, None),
    "an id that is true": (json.dumps({**PING, "id": True}), -32600, None),
    "an id that is null": (json.dumps({**PING, "id": None}), -32600, None),
    "a result that is none": (json.dumps({"jsonrpc": "2.0", "id": 4, "result": CANARY}), -32600, None),
    "an envelope of no version": (
        json.dumps({**PING, "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": f"of {CANARY}"}}}), -32602, 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code", "known"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_message_is_answered_with_its_id_where_it_has_one(data: str | bytes, code: int, known: Any) -> None:
    answer = read_frame(data)
    assert isinstance(answer, JSONRPCError)
    assert (answer.error.code, answer.id) == (code, known)
    assert CANARY not in answer.model_dump_json()


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("[" * 63 + "]" * 63, "nested too deeply"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested too deeply"),
        ("[" + "0," * 300_000 + "0]", "more than 262144 values"),
    ],
    ids=["deep lists", "deep objects", "crowded"],
)
def test_a_call_with_deep_or_crowded_arguments_is_answered_under_its_id(argument: str, why: str) -> None:
    """What is read here is read again by the SDK, and written again by code that recurses."""
    answer = read_frame('{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"arguments":{"a":' + argument + "}}}")
    assert isinstance(answer, JSONRPCError)
    assert (answer.error.code, answer.id) == (-32600, 4)
    assert why in answer.error.message


def read_whole(given: Any) -> str:
    """The text of a message, which says what its message says."""
    frame = read_frame(json.dumps(given))
    assert isinstance(frame, Frame)
    assert frame.message == jsonrpc_message_adapter.validate_json(frame.text, by_name=False)
    return frame.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 1), (1.0, 1), (-7.0, -7), ("a", "a"), (0, 0), ("", "")],
)
def test_a_whole_number_is_an_id_however_it_is_written(given: Any, expected: Any) -> None:
    read = json.loads(read_whole({**PING, "id": given}))
    assert (read["id"], type(read["id"])) == (expected, type(expected))


CALL = {**PING, "method": "tools/call"}
NAMED = {"name": "list_issues"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({**PING, "params": []}, {}),
        ({**CALL, "params": {**NAMED, "arguments": []}}, {**NAMED, "arguments": {}}),
        ({**CALL, "params": {**NAMED, "arguments": ""}}, {**NAMED, "arguments": {}}),
        ({**CALL, "params": {**NAMED, "arguments": '{"limit": 1}'}}, {**NAMED, "arguments": {"limit": 1}}),
        ({**CALL, "params": {**NAMED, "arguments": {"text": "[]"}}}, {**NAMED, "arguments": {"text": "[]"}}),
        ({**CALL, "params": {**NAMED, "arguments": "[1]"}}, {**NAMED, "arguments": "[1]"}),
        ({**CALL, "params": {**NAMED, "arguments": "limit 1"}}, {**NAMED, "arguments": "limit 1"}),
        ({**CALL, "params": {**NAMED, "arguments": "[" * 200}}, {**NAMED, "arguments": "[" * 200}),
    ],
)
def test_an_empty_list_and_text_are_read_as_the_object_that_is_due(given: Any, meant: Any) -> None:
    assert json.loads(read_whole(given)) == {**given, "params": meant}


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
async def test_over_http_nothing_of_a_malformed_request_is_repeated(client: Client, era: str) -> None:
    about = newest() if era == "2026-07-28" else {}
    bodies: list[tuple[Any, dict[str, str]]] = [(data, {}) for data, _, _ in UNREADABLE.values()]
    for method, params in (
        (CANARY, {}),
        ("tools/call", {"name": {CANARY: 1}}),
        ("tools/call", {"name": CANARY}),
        ("prompts/get", {"name": CANARY}),
        ("resources/read", {"uri": {CANARY: 1}}),
    ):
        bodies.append((json.dumps({**PING, "method": method, "params": {**about, **params}}), {"mcp-method": method}))
    for header in ("mcp-method", "mcp-name", "mcp-protocol-version", "accept", "content-type"):
        bodies.append((json.dumps({**PING, "params": about}), {header: CANARY}))
    async with served(client) as http:
        for body, more in bodies:
            headers = {**ACCEPT, "content-type": "application/json", "mcp-protocol-version": era, **more}
            answer = await http.post("/mcp", content=body, headers=headers)
            assert CANARY not in answer.text, (body, answer.text)
            assert "pydantic" not in answer.text
