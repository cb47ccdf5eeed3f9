"""What a server answers to the first requests of a host that nobody asked before, as it comes with the code.

`first_answers.json` has the server's own answers in parts: who it is, and each tool as it is listed. Which of them a
selection offers, and the instructions that fit it, follow from the names. `tests/golden/update.py` writes the file, and
tests hold what is made of it to what the server answers. It holds for the versions of the packages that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calltriage.errors import SettingsError
from calltriage.leaves.strict_json import JsonObject, is_object, read_json
from calltriage.offering import Offering

FILE = Path(__file__).with_suffix(".json")


def versions() -> dict[str, str]:
    """The packages that the answers are made with."""
    return {name: version(name) for name in ("calltriage", "mcp", "pydantic")}


@dataclass
class FirstAnswers:
    """The answers to one host of a server with these settings, of which `toolsets`, `exclude_tools`, `read_only` and
    `confirm` count."""

    settings: Mapping[str, Any]
    _protocol: str = field(default="", init=False)
    """Of the host, once its greeting was answered."""
    _file: Any = field(default=None, init=False)

    def answer(self, request: JsonObject) -> JsonObject | None:
        """The answer to a host's next request; None where it is not among these."""
        method, params = request["method"], request.get("params", {})
        if not is_object(params):
            return None
        if method == "initialize" and _greets(params):
            return self._greeting(params["protocolVersion"])
        return self._list() if method == "tools/list" and self._protocol and _asks_for_all(params) else None

    def _greeting(self, protocol: str) -> JsonObject | None:
        offering, offered = self._offered()
        if not offered or protocol not in self._file["protocols"]:
            return None
        self._protocol = protocol
        told = {"protocolVersion": protocol, "instructions": offering.instructions(offered)}
        return {**self._file["greeting"], **told}  # in the order of the server's own

    def _list(self) -> JsonObject:
        """Each tool as these settings show it: some are told otherwise where nothing is saved, or where the board asks."""
        told: JsonObject = dict(self._file["tools"])
        if self.settings["read_only"]:
            told |= self._file["read_only"]
        if self.settings["confirm"] == "panel":
            told |= self._file["panel"]
        return {"tools": [told[name] for name in self._offered()[1]]}

    def _offered(self) -> tuple[Offering, tuple[str, ...]]:
        """What these settings offer; nothing where the file is of other versions, or the server would refuse them."""
        if self._file is None:
            self._file = read_json(FILE.read_bytes())
        offering = Offering(self._file["toolsets"], self._file["reading"])
        if self._file["made_with"] != versions():
            return offering, ()
        given = self.settings
        try:
            return offering, offering.offered(
                given["toolsets"],
                given["exclude_tools"],
                read_only=given["read_only"],
                may_remove=given["confirm"] != "deny",
            )
        except SettingsError:
            return offering, ()


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
