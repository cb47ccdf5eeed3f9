"""What `calltriage install` writes for each host on each system, for a clone with one secret and one plain setting."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import get_args

from calltriage.cli.install.hosts import HOSTS, NAME, Host, Launch, Place, Remote, System, Target

FOLDER = Path(__file__).parent / "hosts"
PLACES: dict[System, Place] = {
    "linux": Place("linux", "/home/ann", "", "/home/ann/shop", {}),
    "macos": Place("macos", "/Users/ann", "", "/Users/ann/shop", {}),
    "windows": Place("windows", r"C:\Users\ann", r"C:\Users\ann\AppData\Roaming", r"C:\work", {}),
}
UV: dict[System, tuple[str, str]] = {
    "linux": ("/usr/bin/uv", "/home/ann/calltriage"),
    "macos": ("/opt/homebrew/bin/uv", "/Users/ann/calltriage"),
    "windows": (r"C:\Users\ann\.local\bin\uv.exe", r"C:\Users\ann\calltriage"),
}


def launch(system: System, *secrets: str) -> Launch:
    uv, clone = UV[system]
    env = {"CALLTRIAGE_READ_ONLY": "true"}
    return Launch(uv, ("run", "--project", clone, "calltriage", "serve", "--toolsets", "core,cleanup"), env, secrets)


def golden(host: Host, system: System) -> str:
    """Paths by scope, then each kind of entry in a file of its own, or the reason why there is none."""
    lines = [f"user: {_path(host, system)}", f"project: {host.file('project', PLACES[system])}"]
    targets: dict[str, Target] = {
        "a process": launch(system),
        "a process with a secret": launch(system, "CALLTRIAGE_BLAND_API_KEY"),
        "a server on a port": Remote("https://triage.example.com/mcp"),
        "a server on a port with a token": Remote("https://triage.example.com/mcp", has_token=True),
    }
    for what, target in targets.items():
        lines += ["", f"--- {what}"]
        try:
            lines.append(host.document("").put((*host.members, NAME), host.entry(target)).rstrip("\n"))
        except ValueError as error:
            lines.append(f"refused: {error}")
            continue
        added = None if host.command is None else host.command.add(target, "user")
        if host.command is not None and added is not None:
            lines.append(f"its own command: {json.dumps([host.command.program, *added])}")
    return "\n".join(lines) + "\n"


def _path(host: Host, system: System) -> PurePath | None:
    return host.file("user", PLACES[system])


def installed() -> dict[str, str]:
    """Text of each golden file by name."""
    systems: tuple[System, ...] = get_args(System)
    return {f"{name}.{system}.txt": golden(host, system) for name, host in HOSTS.items() for system in systems}
