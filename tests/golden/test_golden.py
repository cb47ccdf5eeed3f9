"""The surface that agents see, pinned tool by tool: a change shows in the diff of a file, or fails here."""

import json
from typing import Any

import pytest
from golden.first_answers import PROTOCOLS, answers, first_answers
from golden.hosts import FOLDER, installed
from golden.update import HERE, surface

from calltriage.first_answers import FILE, FirstAnswers


def test_every_tool_is_listed_as_its_golden_file_says() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.json")}
    assert surface() == written, (
        "the surface changed: run `uv run --group dev python tests/golden/update.py` and look at the diff"
    )


def test_each_host_on_each_system_gets_what_its_golden_file_says() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
    assert installed() == written, (
        "what hosts get changed: run `uv run --group dev python tests/golden/update.py` and look at the diff"
    )


async def test_the_parts_of_the_first_answers_are_the_servers_own() -> None:
    assert await first_answers() == FILE.read_text(encoding="utf-8"), (
        "what hosts are answered first changed: run `uv run --group dev python tests/golden/update.py`"
    )


SELECTIONS: list[dict[str, Any]] = [
    {"confirm": "deny"},
    {"confirm": "allow", "toolsets": ["cleanup"]},
    {"confirm": "panel", "toolsets": ["core", "cleanup"]},
    {"toolsets": ["batch", "core", "evidence"]},
    {"toolsets": ["all"], "exclude_tools": ["remove_flag", "find_calls", "create_issue"]},
    {"toolsets": ["all", "norm"], "read_only": True},
    {"toolsets": ["attachments", "pipelines"], "read_only": True, "confirm": "panel"},
]


@pytest.mark.parametrize(
    ("protocol", "selection"), [*((one, {}) for one in PROTOCOLS), *((PROTOCOLS[-1], one) for one in SELECTIONS)]
)
async def test_the_first_answers_are_what_the_server_answers(protocol: str, selection: dict[str, Any]) -> None:
    settings = {"toolsets": ["core"], "exclude_tools": [], "read_only": False, "confirm": "ask"} | selection
    first = FirstAnswers(settings)
    hello = {"protocolVersion": protocol, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    told = list[Any]()
    for request in ({"method": "initialize", "params": hello}, {"method": "tools/list"}):
        first.hear(request)
        told.append(first.answer())
    assert json.dumps(told) == json.dumps(await answers(protocol, **settings))
