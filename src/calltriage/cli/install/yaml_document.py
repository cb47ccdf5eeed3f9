"""YAML, edited line by line where entries are lines of their own."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from io import StringIO
from typing import Any, cast

from calltriage.cli.install.documents import UnreadableDocument, mapping, mapping_at
from calltriage.leaves.strict_json import JsonObject


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
        self._root: Any = {} if root is None else mapping(root, "the file")

    def get(self, path: Sequence[str]) -> Any:
        found = mapping_at(self._root, path[:-1])
        return None if found is None else found.get(path[-1])

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        inside, name = mapping_at(self._root, path[:-1]), path[-1]
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
        inside = mapping_at(self._root, path[:-1])
        if inside is None or path[-1] not in inside:
            return self._text
        if inside.fa.flow_style() or len(inside) == 1:
            root = deepcopy(self._root)
            mapping_at(root, path[:-1]).pop(path[-1])
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
            inside = mapping(inside[name], name)
        inside[path[-1]] = value
        return _dumped(root)

    def _lines_of(self, inside: Any, name: str) -> range | None:
        """The lines of a member of a block: its own, and those after it that are indented further."""
        if name not in inside:
            return None
        start: tuple[int, int] = inside.lc.key(name)
        row, indent = start
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


def _dumped(root: object) -> str:
    out = StringIO()
    _yaml().dump(root, out)
    return out.getvalue()
