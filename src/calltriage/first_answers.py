"""What a server answers to the first requests of a host that nobody asked before: with the code, for the usual settings.

`first_answers.json` has them as the server itself gave them. `tests/golden/update.py` writes it, and a test holds it to what
the server answers now. They hold for the versions of the packages that they were made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calltriage.leaves.strict_json import JsonObject, is_object, read_json

FILE = Path(__file__).with_suffix(".json")
FOLLOW_FROM = ("toolsets", "exclude_tools", "read_only", "confirm")
"""The settings that the answers over stdio follow from."""


def versions() -> dict[str, str]:
    """The packages that the answers are made with."""
    return {name: version(name) for name in ("calltriage", "mcp", "pydantic")}


@dataclass
class FirstAnswers:
    """The answers to one host of a server with these settings, of which only FOLLOW_FROM count."""

    settings: Mapping[str, object]
    _protocol: str = field(default="", init=False)
    """Of the host, once it has greeted."""
    _file: Any = field(default=None, init=False)

    def answer(self, request: JsonObject) -> JsonObject | None:
        """The answer to a host's next request; None where it is not among these."""
        params = request.get("params", {})
        if request["method"] == "initialize" and is_object(params) and _greets(params):
            self._protocol = params["protocolVersion"]
            return self._greeting()
        if request["method"] == "tools/list" and self._protocol and is_object(params) and _asks_for_all(params):
            chosen = self._chosen()
            return None if chosen is None else {"tools": [self._file["tools"][place] for place in chosen["tools"]]}
        return None

    def _greeting(self) -> JsonObject | None:
        chosen = self._chosen()
        if chosen is None or self._protocol not in self._file["protocols"]:
            self._protocol = ""
            return None
        told = {"protocolVersion": self._protocol, "instructions": self._file["instructions"][chosen["instructions"]]}
        return {**self._file["greeting"], **told}  # in the order of the server's own

    def _chosen(self) -> JsonObject | None:
        """What goes with the settings, of the answers of these versions; None where there are none."""
        if self._file is None:
            self._file = read_json(FILE.read_bytes())
        if self._file["made_with"] != versions():
            return None
        asked = {name: self.settings.get(name) for name in FOLLOW_FROM}
        return next((one for one in self._file["selections"] if one["settings"] == asked), None)


def _greets(params: JsonObject) -> bool:
    """Whether the params of `initialize` are certainly ones that the server takes."""
    host, capable = params.get("clientInfo"), params.get("capabilities")
    return (
        isinstance(params.get("protocolVersion"), str)
        and is_object(host)
        and host.keys() >= {"name", "version"}
        and all(isinstance(text, str) for text in host.values())
        and is_object(capable)
        and all(is_object(one) and all(map(_is_told, one.values())) for one in capable.values())
    )


def _is_told(detail: object) -> bool:
    """Whether this can be a detail of what a host can do."""
    return isinstance(detail, bool) or is_object(detail)


def _asks_for_all(params: JsonObject) -> bool:
    return params.keys() <= {"_meta"} and is_object(params.get("_meta", {}))
