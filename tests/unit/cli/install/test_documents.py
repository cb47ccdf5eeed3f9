"""Hosts' files are edited in place: what was there stays, and what cannot be read whole is not touched."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from calltriage.cli.install.documents import Document, UnreadableDocument
from calltriage.cli.install.json_document import JsonDocument
from calltriage.cli.install.toml_document import TomlDocument
from calltriage.cli.install.yaml_document import YamlDocument

ENTRY: dict[str, Any] = {"command": "uv", "args": ["run", "calltriage"], "env": {"A": "b"}}
FORMATS: dict[type[Document], tuple[str, ...]] = {
    JsonDocument: ("mcpServers", "calltriage"),
    TomlDocument: ("mcp_servers", "calltriage"),
    YamlDocument: ("extensions", "calltriage"),
}
KEPT = [
    (
        JsonDocument,
        '{\n  // mine\n  "mcpServers": {\n    "a": {"command": "x",}, // keep\n    "b": 1, /* c */\n  },\n}\n',
    ),
    (JsonDocument, '{\n\t"mcpServers": {\n\t\t"a": {\n\t\t\t"command": "x"\n\t\t} // end\n\t}\n}'),
    (JsonDocument, '{\r\n  "mcpServers": {\r\n    "a": {} // x\r\n  }\r\n}\r\n'),
    (
        JsonDocument,
        '{\n  "mcpServers": {\n    "a": "\\u00fc // no comment, }",\n    "b": [1, 2,]\n  },\n  "z": null\n}\n',
    ),
    (JsonDocument, '{\n  "mcpServers": {\n    "a": 1\n    // the last word\n  }\n}\n'),
    (TomlDocument, '# hi\nmodel = "x"  # y\n\n[mcp_servers.other]\ncommand = "y" # z\n\n[tui]\na = 1\n'),
    (TomlDocument, "mcp_servers = {}\n"),
    (
        YamlDocument,
        '# c\nextensions:\n    # of a\n    a:\n        cmd: "x"  # k\n        args:\n        - b\nGOOSE: "y"\n',
    ),
    (YamlDocument, "extensions:\n  a:\n    args: [1,   2]\n    text: |\n      two\n\n      parts\n  b: {c: 1}\n"),
]


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\s,{}]+", text))


@pytest.mark.parametrize(("document", "text"), KEPT)
def test_an_entry_comes_and_goes_and_leaves_every_byte(document: type[Document], text: str) -> None:
    path = FORMATS[document]
    edited = document(text).put(path, ENTRY)
    assert document(edited).get(path) == ENTRY
    assert _words(text) <= _words(edited)
    assert document(edited).put(path, ENTRY) == edited
    assert document(edited).drop(path) == text


@pytest.mark.parametrize(
    ("document", "text"),
    [
        *[(JsonDocument, text) for text in ("", " \n", "{}", "{ }\n", "{\n}\n", '{"a": 1}', '{"mcpServers": {}}')],
        (JsonDocument, '{"mcpServers": { // none yet\n } }'),
        *[
            (TomlDocument, text)
            for text in ("", 'model = "x"\n', "[mcp_servers]\n", '[mcp_servers]\nx = {command = "a"}\n')
        ],
        *[
            (YamlDocument, text)
            for text in ("", "extensions:\n", "extensions: {}\n", "a: 1\n", "extensions: {a: {b: 1}}\n")
        ],
    ],
)
def test_what_is_not_there_is_made(document: type[Document], text: str) -> None:
    path = FORMATS[document]
    before = document(text)
    edited = before.put(path, ENTRY)
    assert document(edited).get(path) == ENTRY
    assert document(edited).put(path, ENTRY) == edited
    dropped = document(document(edited).drop(path))
    assert dropped.get(path) is None
    assert (before.get(path[:-1]) or {}) == (dropped.get(path[:-1]) or {})


@pytest.mark.parametrize(
    ("document", "text", "place"),
    [
        (JsonDocument, '{\n  "a": 1 "b": 2\n}', "line 2"),
        (JsonDocument, '{"a": [1, 2}', "line 1"),
        (JsonDocument, "{", "line 1"),
        (JsonDocument, '{"a": 1}}', "line 1, column 9"),
        (JsonDocument, '{"a": 1}\n{"b": 2}', "line 2, column 1"),
        (JsonDocument, "[1]", "one JSON object"),
        (JsonDocument, "{,}", "line 1, column 2"),
        (JsonDocument, '{"mcpServers": {"a": {} "b"}}', "line 1, column 25"),
        (JsonDocument, '{\n // {\n "a": [1,2,],\n "b": {"x": 1 /* , */ , },\n "c" 2\n}', "line 5, column 6"),
        (JsonDocument, '{"a": 1,,}', "line 1"),
        (JsonDocument, "{'a': 1}", "line 1"),
        (JsonDocument, '{"ü": 1 2}', "line 1"),
        (JsonDocument, '{"mcpServers": []}', "line 1, column 16"),
        (TomlDocument, "a =\n", "line 1"),
        (TomlDocument, "mcp_servers = 1\n", "mcp_servers"),
        (YamlDocument, "a: [\n", "line"),
        (YamlDocument, "- a\n", "an object was expected"),
        (YamlDocument, "extensions: 1\n", "extensions"),
    ],
)
def test_what_cannot_be_read_whole_is_refused_with_its_place(document: type[Document], text: str, place: str) -> None:
    with pytest.raises(UnreadableDocument, match=place):
        document(text).put(FORMATS[document], ENTRY)


def test_of_two_members_with_one_name_the_last_counts_as_hosts_read_it() -> None:
    text = '{"mcpServers": {"calltriage": 1, "calltriage": {"command": "x"}}}'
    assert JsonDocument(text).get(FORMATS[JsonDocument]) == {"command": "x"}
