"""Lone surrogates as visible escapes."""

from __future__ import annotations

import json

from calltriage.leaves.surrogates import all_escaped, escaped


def test_each_lone_surrogate_becomes_an_escape_and_nothing_else_changes() -> None:
    assert escaped("a\ud800b\udfff🙂") == "a\\ud800b\\udfff🙂"


def test_texts_and_names_are_escaped_at_every_depth() -> None:
    value = all_escaped({"\ud800k": ["a\udfffb", {"x": "\udbff"}], "n": 1, "none": None})
    assert value == {"\\ud800k": ["a\\udfffb", {"x": "\\udbff"}], "n": 1, "none": None}
    json.dumps(value, ensure_ascii=False).encode()
