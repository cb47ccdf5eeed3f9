"""How this package was installed, so that advice on what to install is true for it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from calltriage.leaves.strict_json import JsonObject

Way = Literal["clone", "bundle", "uv tool", "pip"]


@dataclass(frozen=True)
class Installation:
    """The way, and where the package came from: a folder, an address, or nothing where it is a package index."""

    way: Way
    source: str

    def how_to_add(self, extra: str) -> str:
        """What the operator does to add an extra, as the end of a sentence."""
        named = f'"calltriage[{extra}]{f" @ {self.source}" if self.source else ""}"'
        match self.way:
            case "clone":
                return f"run `uv sync --extra {extra}` in {self.source}"
            case "bundle":
                return (
                    f"the desktop bundle does not carry the extra `{extra}` and cannot add it: leave this setting empty, "
                    f"or run calltriage from its source, where `uv sync --extra {extra}` adds it"
                )
            case "uv tool":
                return f"run `uv tool install --force {named}`"
            case "pip":
                return f"run `pip install {named}`"

    @property
    def typed(self) -> str:
        """What a person types in a shell to run it. The command of a clone is not on PATH."""
        return "uv run calltriage" if self.way in ("clone", "bundle") else "calltriage"

    def command(self, prefix: Path, uv: str) -> tuple[str, ...]:
        """What starts it, by full paths: hosts that are no shell have a PATH of their own. `prefix`: its environment; `uv`:
        the program, which a clone and a bundle are run with."""
        match self.way:
            case "clone":
                return (uv, "run", "--project", self.source, "calltriage")
            case "bundle":
                return (uv, "run", "--directory", self.source, "calltriage")
            case "uv tool" | "pip":
                names = ("Scripts", "calltriage.exe") if os.name == "nt" else ("bin", "calltriage")
                return (str(prefix.joinpath(*names)),)


def installation_of(about: JsonObject, prefix: Path) -> Installation:
    """From what the installer wrote down (PEP 610), and the folder of the environment. A clone has the tests, which the
    desktop bundle leaves out."""
    source = str(about.get("url", ""))
    if about.get("dir_info", {}).get("editable"):
        folder = Path(url2pathname(urlsplit(source).path))
        return Installation("clone" if (folder / "tests").is_dir() else "bundle", str(folder))
    return Installation("uv tool" if (prefix / "uv-receipt.toml").is_file() else "pip", source)


def installation() -> Installation:
    """The one that runs."""
    try:
        text = distribution("calltriage").read_text("direct_url.json")
    except PackageNotFoundError:
        text = None
    return installation_of(json.loads(text) if text else {}, Path(sys.prefix))


def how_to_add(extra: str) -> str:
    """What the operator of this installation does to add an extra, as the end of a sentence."""
    return installation().how_to_add(extra)
