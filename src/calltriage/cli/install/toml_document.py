"""TOML, edited by a library that keeps what it does not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calltriage.cli.install.documents import UnreadableDocument, mapping, mapping_at
from calltriage.leaves.strict_json import JsonObject


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
        found = mapping_at(self._root.unwrap(), path[:-1])
        return None if found is None else found.get(path[-1])

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        import tomlkit  # noqa: PLC0415
        from tomlkit.items import InlineTable  # noqa: PLC0415

        root = tomlkit.parse(self._text)
        inside: Any = root
        for name in path[:-1]:
            if name not in inside:
                inside[name] = tomlkit.table(is_super_table=True)
            inside = mapping(inside[name], name)
        table = tomlkit.inline_table() if isinstance(inside, InlineTable) else tomlkit.table()
        for key, held in value.items():
            table[key] = _inline(held)
        inside[path[-1]] = table
        return tomlkit.dumps(root)

    def drop(self, path: Sequence[str]) -> str:
        import tomlkit  # noqa: PLC0415

        root = tomlkit.parse(self._text)
        inside = mapping_at(root, path[:-1])
        if inside is not None and path[-1] in inside:
            del inside[path[-1]]
        return tomlkit.dumps(root)


def _inline(value: object) -> Any:
    """A value as it stands on one line."""
    import tomlkit  # noqa: PLC0415

    if not isinstance(value, dict):
        return value
    table: Any = tomlkit.inline_table()
    table.update(value)
    return table
