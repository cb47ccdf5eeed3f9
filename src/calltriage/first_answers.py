"""What a server answers to the first requests of a host that nobody asked before, as it comes with the code.

`first_answers.json` has the server's own answers in parts: who it is, and each tool as it is listed. Which of them a
selection offers, and the instructions that fit it, follow from the names. `tests/golden/update.py` writes the file, and
tests hold what is made of it to what the server answers. It holds for the versions of the packages that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calltriage.errors import SettingsError
from calltriage.leaves.strict_json import JsonObject, is_object, read_json
from calltriage.offering import Offering

FILE = Path(__file__).with_suffix(".json")
CAN: dict[str, type] = {
    "roots": bool, "sampling": dict, "elicitation": dict, "experimental": dict, "extensions": dict,
}  # fmt: skip
"""What a host can do, and of what kind each detail of it is."""


@cache
def versions() -> dict[str, str]:
    """The packages that the answers are made with."""
    return {name: version(name) for name in ("calltriage", "mcp", "pydantic")}


@dataclass
class FirstAnswers:
    """The answers to one host of a server with these settings, of which `toolsets`, `exclude_tools`, `read_only` and
    `confirm` count. None: of a server of which nothing is known."""

    settings: Mapping[str, Any] | None
    _is_first: bool = field(default=True, init=False)
    _protocol: str = field(default="", init=False)
    """Of the host, if it began with a greeting."""
    _asked: str = field(default="", init=False)
    """What the host asked for last, if that can be answered."""

    def hear(self, request: JsonObject) -> None:
        """Hear of the host's next request, in order."""
        method, params = request["method"], request.get("params", {})
        if self._is_first and method == "initialize" and is_object(params) and _greets(params):
            self._protocol, self._asked = params["protocolVersion"], method
        else:
            can = method == "tools/list" and self._protocol and _asks_for_all(params)
            self._asked = method if can else ""
        self._is_first = False

    def answer(self) -> JsonObject | None:
        """The answer to the request that was heard last; None where it is not among these."""
        if not self._asked or self.settings is None:
            return None
        file = self._file
        offering = Offering(file["toolsets"], file["reading"]) if file.get("made_with") == versions() else None
        if offering is None or self._protocol not in file["protocols"]:
            return None
        try:
            offered = _offered(offering, self.settings)
        except SettingsError:  # the server will say so
            return None
        if self._asked == "tools/list":
            return _list(file, offered, self.settings)
        told = {"protocolVersion": self._protocol, "instructions": offering.instructions(offered)}
        return {**file["greeting"], **told}  # in the order of the server's own

    @cached_property
    def _file(self) -> JsonObject:
        """The parts; empty where there are none."""
        try:
            found = read_json(FILE.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if is_object(found) else {}


def _offered(offering: Offering, settings: Mapping[str, Any]) -> tuple[str, ...]:
    return offering.offered(
        settings["toolsets"],
        settings["exclude_tools"],
        read_only=settings["read_only"],
        confirm=settings["confirm"],
    )


def _list(file: JsonObject, offered: tuple[str, ...], settings: Mapping[str, Any]) -> JsonObject:
    """Each tool as these settings show it: some are told otherwise where nothing is saved, or where the board asks."""
    told: JsonObject = dict(file["tools"])
    if settings["read_only"]:
        told |= file["read_only"]
    if settings["confirm"] == "panel":
        told |= file["panel"]
    return {"tools": [told[name] for name in offered]}


def _greets(params: JsonObject) -> bool:
    """Whether the params of `initialize` are certainly ones that the server takes."""
    host, capable = params.get("clientInfo"), params.get("capabilities")
    return (
        params.keys() == {"protocolVersion", "capabilities", "clientInfo"}
        and isinstance(params["protocolVersion"], str)
        and is_object(host)
        and host.keys() >= {"name", "version"}
        and all(isinstance(text, str) for text in host.values())
        and is_object(capable)
        and capable.keys() <= CAN.keys()
        and all(
            is_object(one) and all(type(detail) is CAN[name] for detail in one.values())
            for name, one in capable.items()
        )
    )


def _asks_for_all(params: object) -> bool:
    """Whether the params of `tools/list` are certainly ones of the whole list."""
    if not is_object(params) or params.keys() - {"_meta"}:
        return False
    meta = params.get("_meta", {})
    return (
        is_object(meta) and meta.keys() <= {"progressToken"} and all(type(one) in {str, int} for one in meta.values())
    )
