"""The state of a question: sealed on its way to the client, and opened for the call that brings it back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from calltriage.leaves.seals import Seals
from calltriage.server.call.question_states import QuestionStates
from calltriage.server.call.write_record import CALLER
from calltriage.server.questions import SECONDS

CALL = {"name": "delete_issue", "arguments": {"issue_id": "T-1"}}
LATE = SECONDS + 1


def context(caller: str = "", **params: Any) -> ServerRequestContext[Any, Any]:
    request = SimpleNamespace(scope={CALLER: caller})
    nothing: Any = None
    return ServerRequestContext(
        session=nothing, lifespan_context=nothing, protocol_version="2026-07-28", method="tools/call", params=params,
        request=request,
    )  # fmt: skip


class Tool:
    """What answers a call, and what it was called with."""

    def __init__(self, **result: Any) -> None:
        self.result: HandlerResult = result
        self.calls = list[Any]()

    async def __call__(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        self.calls.append(ctx.params)
        return self.result


async def asked(states: QuestionStates, caller: str = "") -> str:
    """The sealed state of a question that a tool asks."""
    tool = Tool(resultType="input_required", requestState="plain")
    result: Any = await states(context(caller, **CALL), tool)
    assert len(tool.calls) == 1
    return result["requestState"]


async def is_taken(states: QuestionStates, state: Any, caller: str = "", **other: Any) -> bool:
    """Whether a call with this state comes to its tool."""
    tool = Tool()
    try:
        await states(context(caller, **CALL | other, requestState=state), tool)
    except MCPError as error:
        assert str(error) == "Invalid or expired requestState"  # noqa: PT017  both ends are checked
        assert not tool.calls
        return False
    assert tool.calls == [CALL | other | {"requestState": "plain"}]
    return True


async def test_a_state_comes_back_as_it_was() -> None:
    states = QuestionStates(Seals())
    state = await asked(states)
    assert state != "plain"
    assert await is_taken(states, state)


async def test_a_state_is_good_for_its_call_and_its_caller_alone() -> None:
    states = QuestionStates(Seals())
    state = await asked(states, "one")
    assert await is_taken(states, state, "one")
    assert not await is_taken(states, state, "another")
    assert not await is_taken(states, state, "one", name="remove_flag")
    assert not await is_taken(states, state, "one", arguments={"issue_id": "T-2"})


@pytest.mark.parametrize("state", ["", "made up", 0, False, ["x"]])
async def test_a_server_that_never_asked_refuses_a_state(state: Any) -> None:
    assert not await is_taken(QuestionStates(Seals()), state)


async def test_a_state_is_good_for_as_long_as_a_person_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    states = QuestionStates(Seals(clock=lambda: now))
    state = await asked(states)
    clock: Callable[[], float] = time.time
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: clock() + LATE)
        assert not await is_taken(states, state), "the SDK keeps the time, too"
    assert await is_taken(states, state)
    now += LATE
    assert not await is_taken(states, state)


def test_what_seals_is_loaded_with_the_first_state() -> None:
    code = """
import sys

import anyio

from calltriage.leaves.seals import Seals
from calltriage.server.call.question_states import QuestionStates
from mcp.server.context import ServerRequestContext


async def is_loaded_after(result):
    async def tool(_):
        return result

    none = {"session": None, "lifespan_context": None, "protocol_version": ""}
    await QuestionStates(Seals())(ServerRequestContext(**none, method="tools/call", params={"name": "x"}), tool)
    return "cryptography" in sys.modules


for result in {}, {"resultType": "input_required", "requestState": "x"}:
    print(anyio.run(is_loaded_after, result))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")
