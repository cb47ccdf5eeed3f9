"""A host's first requests, answered ahead from what was answered before."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calltriage import first_answers, opening
from calltriage.first_answers import FirstAnswers
from calltriage.leaves.lines import Lines
from calltriage.opening import FOLDER, Opening, opening_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot wait for a pipe")

USUAL: dict[str, Any] = {"toolsets": ["core"], "exclude_tools": [], "read_only": False, "confirm": "ask"}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
GREETED: dict[str, Any] = {"serverInfo": {"name": "calltriage"}}
LISTED: dict[str, Any] = {"tools": [{"name": "a\nb"}]}


def request(number: Any, method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})


READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Host:
    """One start of a server, spoken to over a pipe."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._out, self._in = os.pipe()
        told = USUAL | {"toolsets": ["none"]} | settings
        self.opening: Opening = opening_of(Lines(self._out), folder, told)
        self.first = FirstAnswers(told)
        self.answers = list[dict[str, Any]]()

    def says(self, *messages: dict[str, Any]) -> None:
        os.write(self._in, b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def answered_ahead(self) -> list[dict[str, Any]]:
        self.opening.answer_ahead(self.first, lambda data: self.answers.append(json.loads(data)))
        return self.answers

    async def works(self, *answers: dict[str, Any] | None) -> list[bool]:
        """Has the server read all that was said, answer the requests, and say which of the answers go out."""
        gone, left = list[bool](), list(answers)
        while left:
            message = json.loads(await self.opening.read())
            if "id" in message:
                self.opening.asked(message)
                gone.append(self.opening.goes_out(message["id"], left.pop(0)))
        return gone

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


@pytest.fixture
async def known(tmp_path: Path) -> Path:
    """A data folder whose server was asked once."""
    host = Host(tmp_path)
    host.says(request(1, "initialize", HELLO), READY, request(2, "tools/list", {}))
    assert host.answered_ahead() == []
    assert await host.works(GREETED, LISTED) == [True, True]
    host.close()
    return tmp_path


async def test_the_same_requests_are_answered_before_the_server_is_there_and_once(known: Path) -> None:
    host = Host(known)
    host.says(request("a", "initialize", HELLO), READY, request("b", "tools/list", {}), request("c", "ping"))
    assert host.answered_ahead() == [
        {"jsonrpc": "2.0", "id": "a", "result": GREETED},
        {"jsonrpc": "2.0", "id": "b", "result": LISTED},
    ]
    assert await host.works(GREETED, LISTED, {}) == [False, False, True]
    host.close()


async def test_what_came_before_the_server_read_is_told_from_what_it_waited_for(known: Path) -> None:
    host = Host(known)
    assert host.opening.came is None
    host.says(request(1, "initialize", HELLO), READY, request(2, "tools/list", {}))
    before = datetime.now(UTC)
    host.answered_ahead()
    host.says(request(3, "tools/call"))
    await host.works(GREETED, LISTED, {})
    assert host.opening.came is not None
    assert before <= host.opening.came <= datetime.now(UTC)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.works, {})
        await anyio.wait_all_tasks_blocked()
        host.says(request(4, "tools/call"))
    assert host.opening.came is None
    host.close()


async def test_an_id_that_is_used_again_is_answered_once_each_time(known: Path) -> None:
    host = Host(known)
    host.says(request(1, "initialize", HELLO), READY, request(1, "tools/list", {}), request(1, "tools/list", {}))
    assert len(host.answered_ahead()) == 2
    assert await host.works(GREETED, LISTED, LISTED) == [False, False, True]
    host.close()


async def test_the_server_reads_the_next_line_once_it_has_answered_the_one_before(known: Path) -> None:
    host, read = Host(known), list[bytes]()
    host.says(request(1, "initialize", HELLO), READY, request(1, "tools/list", {}))
    host.answered_ahead()

    async def reads() -> None:
        for _ in range(3):
            read.append(await host.opening.read())
            if "id" in (message := json.loads(read[-1])):
                host.opening.asked(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reads)
        await anyio.wait_all_tasks_blocked()
        assert len(read) == 1
        host.opening.goes_out(1, GREETED)
    assert len(read) == 3
    host.close()


async def test_a_line_that_the_server_refuses_after_all_is_not_waited_for(known: Path) -> None:
    host = Host(known)
    host.says(request(1, "initialize", HELLO), request(2, "ping"))
    assert len(host.answered_ahead()) == 1
    assert json.loads(await host.opening.read())["id"] == 1
    assert host.opening.is_answered()
    assert json.loads(await host.opening.read())["id"] == 2
    assert not host.opening.is_answered()
    host.close()


async def test_a_host_that_was_updated_is_answered_as_before(known: Path) -> None:
    host, other = Host(known), {"name": "other", "version": "2"}
    host.says(request(1, "initialize", HELLO | {"clientInfo": other}), READY, request(2, "tools/list", {}))
    assert [one["result"] for one in host.answered_ahead()] == [GREETED, LISTED]
    host.close()


async def test_what_a_host_calls_itself_in_its_meta_changes_no_answer_and_its_protocol_does(tmp_path: Path) -> None:
    def asked(name: str, protocol: str) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"},
            "io.modelcontextprotocol/protocolVersion": protocol,
        }
        return request(1, "server/discover", {"_meta": meta})

    for name, protocol, ahead in (("a", "2026-07-28", []), ("b", "2026-07-28", [GREETED]), ("a", "2027-01-01", [])):
        host = Host(tmp_path)
        host.says(asked(name, protocol))
        assert [one["result"] for one in host.answered_ahead()] == ahead
        await host.works(GREETED)
        host.close()


OTHERS: dict[str, tuple[dict[str, Any], ...]] = {
    "a host without a name": (request(1, "initialize", {k: v for k, v in HELLO.items() if k != "clientInfo"}),),
    "a host whose name is none": (request(1, "initialize", HELLO | {"clientInfo": {"name": 1, "version": "1"}}),),
    "a host that can do more": (request(1, "initialize", HELLO | {"capabilities": {"roots": {}}}),),
    "another version": (request(1, "initialize", HELLO | {"protocolVersion": "2024-11-05"}),),
    "no greeting": (request(1, "tools/list", {}),),
    "an id that is none": (request(True, "initialize", HELLO),),
    "a call": (request(1, "tools/call", {"name": "get_issue"}),),
    "no message": ({"x": [1]},),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_what_was_not_asked_before_waits_for_the_server(known: Path, name: str) -> None:
    host = Host(known)
    host.says(*OTHERS[name])
    assert host.answered_ahead() == []
    assert json.loads(await host.opening.read()) == OTHERS[name][0]
    host.close()


async def test_a_long_first_line_is_read_whole_by_the_server(known: Path) -> None:
    host, long = Host(known), request(1, "tools/call", {"text": "x" * 300_000})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, host.says, long)
        await anyio.to_thread.run_sync(host.answered_ahead)
        assert json.loads(await host.opening.read()) == long
    assert host.answers == []
    host.close()


async def test_other_settings_are_answered_by_the_server(known: Path) -> None:
    host = Host(known, read_only=True)
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    host.close()


async def test_an_answer_that_changed_is_kept_instead(known: Path) -> None:
    for answer in (GREETED, GREETED | {"instructions": "new"}):
        host = Host(known)
        host.says(request(1, "initialize", HELLO))
        assert [one["result"] for one in host.answered_ahead()] == [answer]
        await host.works(GREETED | {"instructions": "new"})
        host.close()


@pytest.mark.parametrize("held", [b"", b'{"tools": [', b"[1]", b"\xff"])
async def test_a_broken_answer_is_not_given(known: Path, held: bytes) -> None:
    for file in (known / FOLDER).iterdir():
        file.write_bytes(held)
    host = Host(known)
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    host.close()


async def test_errors_and_what_is_asked_after_the_list_are_not_kept(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.says(request(1, "initialize", HELLO), request(2, "tools/list"), request(3, "tools/list"))
    assert await host.works(None, LISTED, LISTED) == [True, True, True]
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    host.close()


async def test_a_folder_that_cannot_be_used_changes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    host = Host(tmp_path / "file")
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    assert await host.works(GREETED) == [True]
    host.close()


@pytest.mark.parametrize("protocol", ["2024-11-05", "2025-11-25"])
async def test_the_first_host_of_all_is_answered_with_what_comes_with_the_code(tmp_path: Path, protocol: str) -> None:
    host = Host(tmp_path, **USUAL, bland_api_key="**********")
    capabilities = {"roots": {"listChanged": True}, "sampling": {}}
    host.says(
        request(1, "initialize", HELLO | {"protocolVersion": protocol, "capabilities": capabilities}),
        READY,
        request(2, "tools/list"),
    )
    greeted, listed = (one["result"] for one in host.answered_ahead())
    assert (greeted["protocolVersion"], greeted["serverInfo"]["name"]) == (protocol, "calltriage")
    assert {"get_issue", "add_flag"} <= {tool["name"] for tool in listed["tools"]}
    assert await host.works(greeted, listed) == [False, False]
    assert not (tmp_path / FOLDER).exists()  # the server answers the same
    host.close()


async def test_what_the_server_answered_goes_before_what_comes_with_the_code(tmp_path: Path) -> None:
    for ahead in (None, GREETED):
        host = Host(tmp_path, **USUAL)
        host.says(request(1, "initialize", HELLO))
        (answer,) = host.answered_ahead()
        assert ahead is None or answer["result"] == ahead
        await host.works(GREETED)
        host.close()


NOT_WITH_THE_CODE: dict[str, tuple[dict[str, Any], Any]] = {
    "a protocol that is none": ({}, HELLO | {"protocolVersion": "1999-01-01"}),
    "a version that is no text": ({}, HELLO | {"protocolVersion": 1}),
    "a host without a name": ({}, HELLO | {"clientInfo": {"version": "1"}}),
    "a host whose name is none": ({}, HELLO | {"clientInfo": {"name": 1, "version": "1"}}),
    "a host whose title is none": ({}, HELLO | {"clientInfo": {"name": "a", "version": "1", "title": 1}}),
    "no host": ({}, {"protocolVersion": "2025-11-25", "capabilities": {}}),
    "params that are none": ({}, []),
    "metadata": ({}, HELLO | {"_meta": {"io.modelcontextprotocol/protocolVersion": "has words in it"}}),
    "a toolset that is none": ({"toolsets": ["cor"]}, HELLO),
    "a tool that is none": ({"exclude_tools": ["add_flags"]}, HELLO),
    "no tool left": ({"toolsets": ["cleanup"], "read_only": True}, HELLO),
} | {
    f"capabilities {json.dumps(one)}": ({}, HELLO | {"capabilities": one})
    for one in (
        {"roots": True}, {"roots": {"listChanged": "yes"}}, {"roots": {"listChanged": {}}}, {"sampling": {"tools": True}},
        {"elicitation": {"form": True}}, {"experimental": {"x": True}}, {"extensions": {"x": True}},
        {"tasks": {"list": True}}, {"others": {}},
    )
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_WITH_THE_CODE)
async def test_what_does_not_come_with_the_code_waits_for_the_server(tmp_path: Path, name: str) -> None:
    settings, params = NOT_WITH_THE_CODE[name]
    host = Host(tmp_path, **USUAL | settings)
    host.says(request(1, "initialize", params), READY, request(2, "tools/list"))
    assert host.answered_ahead() == []
    host.close()


NO_PLAIN_REQUESTS: dict[str, dict[str, Any]] = {
    "an error, too": request(1, "initialize", HELLO) | {"error": {"code": 1, "message": "x"}},
    "half a pair in its id": request("\ud800", "initialize", HELLO),
    "no id": {key: value for key, value in request(1, "initialize", HELLO).items() if key != "id"},
}


@pytest.mark.parametrize("name", NO_PLAIN_REQUESTS)
async def test_what_may_be_no_request_waits_for_the_server(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path, **USUAL)
    host.says(NO_PLAIN_REQUESTS[name])
    assert host.answered_ahead() == []
    host.close()


async def test_a_long_request_waits_for_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_ASKED", 100)
    host = Host(tmp_path, **USUAL)
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    host.close()


async def test_a_host_that_began_otherwise_is_greeted_by_the_server(tmp_path: Path) -> None:
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    for ahead in (0, 1):
        host = Host(tmp_path, **USUAL)
        host.says(request(1, "server/discover", meta), request(2, "initialize", HELLO))
        assert len(host.answered_ahead()) == ahead
        await host.works(GREETED, None)
        host.close()


async def test_a_server_that_may_not_start_greets_for_itself(tmp_path: Path) -> None:
    out, into = os.pipe()
    unsure = opening_of(Lines(out), tmp_path, USUAL)
    os.write(into, json.dumps(request(1, "initialize", HELLO)).encode() + b"\n")
    unsure.answer_ahead(FirstAnswers(None), lambda data: pytest.fail(data.decode()))
    os.close(into)
    os.close(out)


@pytest.mark.parametrize("held", [None, b"", b"[]", b'{"made_with": '])
async def test_without_a_sound_file_the_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes | None
) -> None:
    monkeypatch.setattr(first_answers, "FILE", tmp_path / "first.json")
    if held is not None:
        (tmp_path / "first.json").write_bytes(held)
    host = Host(tmp_path, **USUAL)
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    host.close()


@pytest.mark.parametrize(
    "params",
    [{"cursor": "x"}, {"_meta": {"progressToken": []}}, {"_meta": 5}, {"_meta": {"x/protocolVersion": "2025-06-18"}}],
)
async def test_a_list_that_is_not_plainly_asked_for_waits_for_the_server(tmp_path: Path, params: Any) -> None:
    host = Host(tmp_path, **USUAL)
    host.says(request(1, "initialize", HELLO), READY, request(2, "tools/list", params))
    assert len(host.answered_ahead()) == 1
    host.close()


async def test_answers_of_other_versions_of_the_packages_are_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_answers, "versions", lambda: {"calltriage": "0", "mcp": "0", "pydantic": "0"})
    host = Host(tmp_path, **USUAL)
    host.says(request(1, "initialize", HELLO))
    assert host.answered_ahead() == []
    host.close()


def test_the_code_is_known_by_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark() -> str:
        opening.code_mark.cache_clear()
        return opening.code_mark()

    monkeypatch.setattr(opening, "PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text("one")
    before = mark()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc.139872").write_text("on its way to its name")
    (tmp_path / ".#module.py").symlink_to("somebody@somewhere")  # an editor's lock
    assert mark() == before
    (tmp_path / "module.py").write_text("another")
    assert mark() != before
    opening.code_mark.cache_clear()
