"""JSON with comments and trailing commas, edited by splices of its text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from calltriage.cli.install.documents import UnreadableDocument
from calltriage.leaves.strict_json import JsonObject

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

DEFAULT_INDENT = "  "


class JsonDocument:
    """JSON with comments and trailing commas, as VS Code, Zed and Cursor read it. Edits are splices of the text."""

    def __init__(self, text: str) -> None:
        self._bytes = (text if text.strip() else "{}\n").encode()
        root = _json_parser().parse(self._bytes).root_node
        fault = next(_faults(root), None)
        if fault is not None:
            place = _strict_place(root, self._bytes)
            raise UnreadableDocument("JSON was expected to go on differently here", *(place or self._place(fault)))
        values = _parts(root)
        if len(values) != 1 or values[0].type != "object":
            raise UnreadableDocument("one JSON object was expected in this file", *self._place((values or [root])[-1]))
        self._top = values[0]
        self._newline = "\r\n" if b"\r\n" in self._bytes else "\n"

    def get(self, path: Sequence[str]) -> Any:
        pair = self._find(path)
        return None if pair is None else _value(_held(pair))

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        inside = self._top
        for depth, name in enumerate(path):
            pair = _member(inside, name)
            if pair is None:
                return self._insert(inside, name, _nested(path[depth + 1 :], value))
            if depth == len(path) - 1:
                return self._replace(pair, value)
            inside = self._object(_held(pair))
        raise ValueError("a path has at least one name")

    def drop(self, path: Sequence[str]) -> str:
        pair = self._find(path)
        if pair is None:
            return self._bytes.decode()
        after, before = _beside(pair)
        start, end = pair.start_byte, pair.end_byte
        if after is not None and after.text == b",":
            end = after.end_byte
        elif before is not None and before.text == b",":  # the last one, and no comma follows it
            return self._spliced((before.start_byte, before.end_byte, ""), (self._line_before(start), end, ""))
        return self._spliced((self._line_before(start), end, ""))

    def _find(self, path: Sequence[str]) -> Node | None:
        pair, inside = None, self._top
        for depth, name in enumerate(path):
            pair = _member(inside, name)
            if pair is None:
                return None
            if depth < len(path) - 1:
                inside = self._object(_held(pair))
        return pair

    def _object(self, node: Node) -> Node:
        if node.type != "object":
            raise UnreadableDocument("an object was expected here", *self._place(node))
        return node

    def _replace(self, pair: Node, value: JsonObject) -> str:
        held = _held(pair)
        return self._spliced((held.start_byte, held.end_byte, self._written(value, self._indent_of(pair))))

    def _insert(self, inside: Node, name: str, value: object) -> str:
        """The text with one more member at the end of an object."""
        pairs = [child for child in inside.named_children if child.type == "pair"]
        if not pairs:
            outer = self._indent_of(inside)
            indent = outer + self._unit()
            brace = inside.children[-1].start_byte
            start = self._line_before(brace)
            member = self._member(name, value, indent)
            return self._spliced((start, brace, f"{self._newline}{indent}{member}{self._newline}{outer}"))
        last = pairs[-1]
        indent = self._indent_of(last)
        member = f"{self._newline}{indent}{self._member(name, value, indent)}"
        comma, _ = _beside(last)
        if comma is not None and comma.text == b",":
            return self._spliced((self._end_of_comment(comma), None, f"{member},"))
        return self._spliced((last.end_byte, None, ","), (self._end_of_comment(last), None, member))

    def _member(self, name: str, value: object, indent: str) -> str:
        return f"{json.dumps(name)}: {self._written(value, indent)}"

    def _written(self, value: object, indent: str) -> str:
        lines = json.dumps(value, indent=self._unit(), ensure_ascii=False).split("\n")
        return f"{self._newline}{indent}".join(lines)

    def _unit(self) -> str:
        """What one step of indentation is in this file."""
        first = next((child for child in self._top.named_children if child.type == "pair"), None)
        return (first and self._indent_of(first)) or DEFAULT_INDENT

    def _indent_of(self, node: Node) -> str:
        """The blanks that the line of a node begins with."""
        line = self._bytes[self._bytes.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte]
        return line[: len(line) - len(line.lstrip(b" \t"))].decode()

    def _line_before(self, at: int) -> int:
        """Where the blanks before a place begin, with the end of the line before them, if nothing else is between."""
        start = len(self._bytes[:at].rstrip(b" \t"))
        if self._bytes[:start].endswith(b"\n"):
            start -= 2 if self._bytes[:start].endswith(b"\r\n") else 1
            return start
        return at

    def _end_of_comment(self, node: Node) -> int:
        """Where a node ends, with a comment that follows it on its line."""
        end, after = node, node.next_sibling
        while after is not None and after.type == "comment" and after.start_point.row == node.end_point.row:
            end, after = after, after.next_sibling
        return end.start_byte + len((end.text or b"").rstrip(b"\r"))  # a comment's text goes to the line's very end

    def _spliced(self, *splices: tuple[int, int | None, str]) -> str:
        """The text with parts replaced: each from a byte to a byte, or put in before a byte."""
        text = self._bytes
        moved = 0
        for start, end, put in sorted(splices, key=lambda splice: splice[0]):
            new, until = put.encode(), start if end is None else end
            text = text[: start + moved] + new + text[until + moved :]
            moved += len(new) - (until - start)
        return text.decode()

    def _place(self, node: Node) -> tuple[int, int]:
        row, column = node.start_point
        line = self._bytes.split(b"\n")[row]
        return row + 1, len(line[:column].decode(errors="replace")) + 1


@cache
def _json_parser() -> Parser:
    import tree_sitter  # noqa: PLC0415  for a file that is edited
    import tree_sitter_json  # noqa: PLC0415

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_json.language()))


def _parts(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _faults(node: Node) -> Iterator[Node]:
    """Where the text is no JSON with comments. The grammar is that of JSON: a trailing comma is no fault here."""
    if not node.has_error:
        return
    if (node.is_error or node.is_missing) and not _trails(node):
        yield node
    elif not node.is_error:
        for child in node.children:
            yield from _faults(child)


MOST_COMMAS = 100
"""Trailing commas that are looked past for the place of a fault."""


def _strict_place(root: Node, text: bytes) -> tuple[int, int] | None:
    """Line and column at which Python's parser stops, which is nearer to the fault than what the grammar marks.

    Comments and trailing commas are blanked for it. None where it finds no fault.
    """
    blanked = bytearray(text)
    for comment in _comments(root):
        kept = (byte if byte in b"\r\n" else 0x20 for byte in blanked[comment.start_byte : comment.end_byte])
        blanked[comment.start_byte : comment.end_byte] = bytes(kept)
    plain = blanked.decode()
    for _ in range(MOST_COMMAS):
        try:
            json.loads(plain, strict=False)
        except json.JSONDecodeError as error:
            before = plain[: error.pos].rstrip()
            if plain[error.pos : error.pos + 1] not in ("}", "]") or not before.endswith(","):
                return error.lineno, error.colno
            plain = f"{before[:-1]} {plain[len(before) :]}"
        else:
            return None
    return None


def _comments(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.type == "comment":
            yield node
        waiting += node.children


def _trails(node: Node) -> bool:
    """Whether the grammar complains of a comma after the last member, or of the element that it misses behind one."""
    after, before = _beside(node)
    closes = after is not None and after.type in ("}", "]")
    if node.is_missing:
        return closes and before is not None and before.type == ","
    return closes and node.text == b"," and before is not None and before.is_named


def _beside(node: Node) -> tuple[Node | None, Node | None]:
    """What stands after a node and before it, comments left out."""
    after, before = node.next_sibling, node.prev_sibling
    while after is not None and after.type == "comment":
        after = after.next_sibling
    while before is not None and before.type == "comment":
        before = before.prev_sibling
    return after, before


def _member(node: Node, name: str) -> Node | None:
    """The member of an object; of several with one name the last, as hosts read them."""
    pairs = [child for child in node.named_children if child.type == "pair"]
    return next((pair for pair in reversed(pairs) if _value(pair.children[0]) == name), None)


def _held(pair: Node) -> Node:
    return _parts(pair)[-1]


def _value(node: Node) -> Any:
    match node.type:
        case "object":
            return {_value(pair.children[0]): _value(_held(pair)) for pair in _parts(node) if pair.type == "pair"}
        case "array":
            return [_value(item) for item in _parts(node) if not (item.is_missing or item.is_error)]
        case _:
            return json.loads(node.text or b"null", strict=False)


def _nested(path: Sequence[str], value: object) -> object:
    for name in reversed(path):
        value = {name: value}
    return value
