"""Hosts' configuration files, edited in place: comments, order and everybody else's entries stay as they are.

A document is made of a text and never changed: an edit gives the text that it would have. What a parser cannot read whole
raises `UnreadableDocument` with the place, so that a half-understood file is never written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol, cast

from calltriage.errors import CalltriageError
from calltriage.leaves.strict_json import JsonObject

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

DEFAULT_INDENT = "  "


class UnreadableDocument(CalltriageError):
    """A configuration file that is not what its ending says. Nothing was written."""

    def __init__(self, why: str, line: int | None = None, column: int | None = None) -> None:
        place = "" if line is None else f"line {line}, column {column}: "
        super().__init__(f"{place}{why}")


class Document(Protocol):
    """A text in one of the formats. `path` names members from the outermost object to the one that is meant."""

    def __init__(self, text: str) -> None: ...

    def get(self, path: Sequence[str]) -> Any:
        """The value of a member; None where there is none."""
        ...

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        """The text with the member set, and with the objects around it made where they are missing."""
        ...

    def drop(self, path: Sequence[str]) -> str:
        """The text without the member; the objects around it stay."""
        ...


class JsonDocument:
    """JSON with comments and trailing commas, as VS Code, Zed and Cursor read it. Edits are splices of the text."""

    def __init__(self, text: str) -> None:
        self._bytes = (text if text.strip() else "{}\n").encode()
        root = _json_parser().parse(self._bytes).root_node
        fault = next(_faults(root), None)
        if fault is not None:
            raise UnreadableDocument("JSON was expected to go on differently here", *self._place(fault))
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

    def _insert(self, inside: Node, name: str, value: Any) -> str:
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

    def _member(self, name: str, value: Any, indent: str) -> str:
        return f"{json.dumps(name)}: {self._written(value, indent)}"

    def _written(self, value: Any, indent: str) -> str:
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


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


class TomlDocument:
    """TOML, as Codex reads it."""

    def __init__(self, text: str) -> None:
        import tomlkit  # noqa: PLC0415  for a file that is edited
        from tomlkit.exceptions import ParseError  # noqa: PLC0415

        self._text = text
        try:
            self._root = tomlkit.parse(text)
        except ParseError as error:
            raise UnreadableDocument("TOML was expected to go on differently here", error.line, error.col) from None

    def get(self, path: Sequence[str]) -> Any:
        found = _inside(self._root.unwrap(), path[:-1])
        return None if found is None else found.get(path[-1])

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        import tomlkit  # noqa: PLC0415
        from tomlkit.items import InlineTable  # noqa: PLC0415

        root = tomlkit.parse(self._text)
        inside: Any = root
        for name in path[:-1]:
            if name not in inside:
                inside[name] = tomlkit.table(is_super_table=True)
            inside = _mapping(inside[name], name)
        table = tomlkit.inline_table() if isinstance(inside, InlineTable) else tomlkit.table()
        for key, held in value.items():
            table[key] = _inline(held)
        inside[path[-1]] = table
        return tomlkit.dumps(root)

    def drop(self, path: Sequence[str]) -> str:
        import tomlkit  # noqa: PLC0415

        root = tomlkit.parse(self._text)
        inside = _inside(root, path[:-1])
        if inside is not None and path[-1] in inside:
            del inside[path[-1]]
        return tomlkit.dumps(root)


def _inline(value: Any) -> Any:
    """A value as it stands on one line."""
    import tomlkit  # noqa: PLC0415

    if not isinstance(value, dict):
        return value
    table: Any = tomlkit.inline_table()
    table.update(value)
    return table


class YamlDocument:
    """YAML, as Goose reads it. An entry is lines of its own; an object in braces is written anew by the library."""

    def __init__(self, text: str) -> None:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415  for a file that is edited

        self._text = text
        try:
            root: Any = _yaml().load(text)
        except MarkedYAMLError as error:
            mark: Any = cast("Any", error).problem_mark
            place = () if mark is None else (mark.line + 1, mark.column + 1)
            raise UnreadableDocument("YAML was expected to go on differently here", *place) from None
        except YAMLError:
            raise UnreadableDocument("this is not YAML") from None
        self._root: Any = {} if root is None else _mapping(root, "the file")

    def get(self, path: Sequence[str]) -> Any:
        found = _inside(self._root, path[:-1])
        return None if found is None else found.get(path[-1])

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        inside, name = _inside(self._root, path[:-1]), path[-1]
        if inside is None or not inside or inside.fa.flow_style():
            return self._written_anew(path, value)
        first = next(iter(inside))
        indent = inside.lc.key(first)[1]
        lines = self._text.splitlines(keepends=True)
        at = self._lines_of(inside, name)
        if at is None:  # above the comments that belong to the first member
            row = int(inside.lc.key(first)[0])
            while row and lines[row - 1].lstrip().startswith("#") and len(path) > 1:
                row -= 1
            at = range(row, row)
        newline = "\r\n" if "\r\n" in self._text else "\n"
        block = [f"{' ' * indent}{line}{newline}" for line in _dumped({name: value}).splitlines()]
        return "".join([*lines[: at.start], *block, *lines[at.stop :]])

    def drop(self, path: Sequence[str]) -> str:
        inside = _inside(self._root, path[:-1])
        if inside is None or path[-1] not in inside:
            return self._text
        if inside.fa.flow_style() or len(inside) == 1:
            root = deepcopy(self._root)
            _inside(root, path[:-1]).pop(path[-1])
            return _dumped(root)
        at = self._lines_of(inside, path[-1])
        assert at is not None  # noqa: S101  it is in there
        lines = self._text.splitlines(keepends=True)
        return "".join([*lines[: at.start], *lines[at.stop :]])

    def _written_anew(self, path: Sequence[str], value: JsonObject) -> str:
        root = deepcopy(self._root)
        inside = root
        for name in path[:-1]:
            if inside.get(name) is None:
                inside[name] = {}
            inside = _mapping(inside[name], name)
        inside[path[-1]] = value
        return _dumped(root)

    def _lines_of(self, inside: Any, name: str) -> range | None:
        """The lines of a member of a block: its own, and those after it that are indented further."""
        if name not in inside:
            return None
        row, indent = cast("tuple[int, int]", inside.lc.key(name))
        lines = self._text.splitlines()
        end = row + 1
        while end < len(lines) and (deeper := len(lines[end]) - len(lines[end].lstrip(" "))) >= indent:
            listed = deeper == indent and lines[end].lstrip(" ").startswith("- ")
            if deeper == indent and not listed:
                break
            end += 1
        return range(row, end)


def _yaml() -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # no line is folded
    return yaml


def _dumped(root: Any) -> str:
    out = StringIO()
    _yaml().dump(root, out)
    return out.getvalue()


def _inside(root: Any, path: Sequence[str]) -> Any:
    """The mapping that a path leads to; None where there is none."""
    for name in path:
        if root.get(name) is None:
            return None
        root = _mapping(root[name], name)
    return root


def _mapping(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise UnreadableDocument(f"an object was expected in {name}")
    return value  # pyright: ignore[reportUnknownVariableType]  each library's own kind of mapping
