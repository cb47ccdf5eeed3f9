"""Draw the README's pictures of the command line: run the commands, and keep what they print as SVG.

uv run --group dev python manifests/pictures/draw.py            draw them all
uv run --group dev python manifests/pictures/draw.py --check    exit 1 and name those that show what is printed no more

Ids, times and keys differ in each run. Fixed ones stand in their place, so that a picture changes only when its commands do.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text
from running import running

from calltriage.leaves.seals import signature

HERE = Path(__file__).parent
COLUMNS = 120
CALL = (
    '{"call_id": "c-1", "created_at": "2026-05-01T10:00:00Z", "summary": "Caller was cut off.", '
    '"turns": [{"speaker": "agent", "text": "Hello?"}, {"speaker": "caller", "text": "Hi, I"}]}\n'
)
ENDED = {
    "call_id": "b-1", "created_at": "2026-05-02T09:00:00.000Z", "to": "+15550100", "from": "+15550101", "completed": True,
    "status": "completed",
    "transcripts": [{"id": 1, "created_at": "2026-05-02T09:00:01.000Z", "text": "Hello?", "user": "user"}],
}  # fmt: skip
"""A call as Bland's webhook sends it after its end."""
WEBHOOK = "curl -H x-webhook-signature:$SIGNATURE --data-binary @ended.json $DESK/webhooks/bland/$ORGANISATION"


@dataclass(frozen=True)
class Picture:
    """A picture: its title, and what is typed in it, our own commands or a shell's."""

    title: str
    commands: tuple[str, ...]


PICTURES = {
    "demo": Picture("An agent triages a call", ("calltriage demo",)),
    "pipeline": Picture("An investigation that runs by itself", ("calltriage demo --pipeline",)),
    "calls-in": Picture(
        "Getting calls in",
        (
            "calltriage desk sample",
            "calltriage desk import calls.jsonl",
            "calltriage desk keys add --webhook",
            WEBHOOK,
        ),
    ),
}


def _numbered(pattern: str, form: Callable[[int], str]) -> Callable[[str], str]:
    """Replaces what matches by numbered values: equal ones by equal ones."""

    def replace(text: str) -> str:
        numbers, known = count(1), dict[str, str]()
        return re.sub(pattern, lambda found: known.setdefault(found[0], form(next(numbers))), text)

    return replace


FIXED: tuple[Callable[[str], str], ...] = (
    _numbered(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        lambda n: f"{n:08d}-5d0c-4a53-9d57-0f6a1b7c2e01",
    ),
    _numbered(r"\b[0-9a-f]{64}\b", lambda n: hashlib.sha256(b"%d" % n).hexdigest()),
    _numbered(r"\bKey [0-9a-f]{8}\b", lambda n: f"Key {n:08d}"),
    _numbered(r"(?m)^[\w-]{43}$", lambda _: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"),
    lambda text: re.sub(r"\(\d+ ms\)", "(20 ms)", text),
    lambda text: re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-05-06T10:00:00.000Z", text),
    lambda text: re.sub(r"\b\d{4} characters\b", "3000 characters", text),
    lambda text: re.sub(r"(Pipelines: 2000-01-01 to )[\d-]{10}", r"\g<1>2026-05-06", text),
    lambda text: re.sub(r"(?m)^.*Loading.*\n", "", text),  # a bar of progress, which is gone when it is done
)
"""What differs from run to run, and what stands in its place."""


def said(commands: tuple[str, ...]) -> str:
    """What a terminal shows: each command, and what it prints, in a folder of its own with an empty desk."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    with TemporaryDirectory() as folder:
        (Path(folder) / "calls.jsonl").write_text(CALL, encoding="utf-8")
        (Path(folder) / "ended.json").write_text(json.dumps(ENDED), encoding="utf-8")
        env = kept | {
            "CALLTRIAGE_DATA_DIR": str(Path(folder) / "desk"), "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1",
            "TERM": "xterm-256color",
        }  # fmt: skip
        pieces = list[str]()
        for command in commands:
            printed = _printed(command, folder, env)
            env |= _learnt(printed)
            pieces += [f"\x1b[1m$ {command}\x1b[0m", printed.rstrip("\n"), ""]
    text = "\n".join(pieces)
    for fix in FIXED:
        text = fix(text)
    return text


def _printed(command: str, folder: str, env: dict[str, str]) -> str:
    about: dict[str, Any] = {"cwd": folder, "timeout": 120, "stdout": subprocess.PIPE}
    if command.startswith("calltriage"):
        ours = [sys.executable, "-m", *command.split()]
        return subprocess.run(ours, check=True, env=env, stderr=subprocess.STDOUT, **about).stdout.decode()  # noqa: S603  of PICTURES
    with running("desk", "serve", "--port", "0", env=env, folder=Path(folder)) as address:
        there = {**env, "DESK": address}
        shell = ["sh", "-c", command]
        return subprocess.run(shell, check=True, env=there, stderr=subprocess.DEVNULL, **about).stdout.decode()  # noqa: S603


def _learnt(printed: str) -> dict[str, str]:
    """The variables of the webhook's command, from the address and the secret that were printed."""
    organisation, secret = re.search(r"/webhooks/bland/([\w-]+)", printed), re.search(r"(?m)^[\w-]{43}$", printed)
    if organisation is None or secret is None:
        return {}
    signed = signature(secret[0].encode(), json.dumps(ENDED).encode())
    return {"ORGANISATION": organisation[1], "SIGNATURE": signed}


def drawn(name: str) -> str:
    """A picture as SVG. It asks nothing of anybody: its fonts are those of the reader's machine."""
    picture = PICTURES[name]
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(said(picture.commands)))
    svg = console.export_svg(title=picture.title, theme=DIMMED_MONOKAI, unique_id=f"calltriage-{name}")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def stale() -> list[str]:
    """Names of the pictures that show something else than what is printed now."""
    return [name for name in PICTURES if _kept(name) != drawn(name)]


def _kept(name: str) -> str | None:
    file = HERE / f"{name}.svg"
    return file.read_text(encoding="utf-8") if file.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        found = stale()
        for name in found:
            print(f"manifests/pictures/{name}.svg is stale: run `uv run --group dev python manifests/pictures/draw.py`")
        sys.exit(1 if found else 0)
    for name in PICTURES:
        (HERE / f"{name}.svg").write_text(drawn(name), encoding="utf-8")


if __name__ == "__main__":
    main()
