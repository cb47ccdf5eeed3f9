"""Hints for hosts that let a model search for tools."""

from __future__ import annotations

from calltriage.offering import ALL
from calltriage.server.call.host_hints import ALWAYS, WORDS
from calltriage.server.call.table import describe
from calltriage.server.toolsets import select


def test_four_tools_are_always_loaded_and_the_others_say_what_finds_them() -> None:
    listed = {tool.tool_name(): describe(tool).meta or {} for tool in select([ALL])}
    loaded = {name for name, meta in listed.items() if meta.get("anthropic/alwaysLoad") is True}
    assert loaded == {"list_issues", "find_calls", "get_evidence", "create_issue"} == ALWAYS
    found = {name: meta["anthropic/searchHint"] for name, meta in listed.items() if name not in loaded}
    assert found == WORDS
    assert len(set(found.values())) == len(found)
    assert max(len(words.split()) for words in found.values()) <= 7
