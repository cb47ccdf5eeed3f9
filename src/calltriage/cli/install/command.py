"""The command `install`, and `doctor --host`: what was asked for, checked, and done for the host that it names."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import anyio

from calltriage.cli.install import seat
from calltriage.cli.install.hosts import HOSTS, Place, Scope, Target
from calltriage.cli.install.installing import Installer, launch, remote, show_link, show_mcp_json
from calltriage.errors import SettingsError
from calltriage.settings import load_settings
from calltriage.wiring import offered_tools

MCP_JSON = "mcp-json"


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line."""

    host: str
    scope: Scope
    url: str | None
    toolsets: str | None
    dry_run: bool
    print_link: bool
    remove: bool
    settings_file: Path | None


def run(wishes: Wishes) -> None:
    """Install, remove or print. Raises CalltriageError with the reason where it cannot be done."""
    _check_host(wishes.host, MCP_JSON)
    if wishes.url is not None and wishes.toolsets is not None:
        raise SettingsError("--toolsets has no effect with --url: the server that runs there says what it offers.")
    if wishes.print_link:
        if wishes.host == MCP_JSON:
            raise SettingsError("mcp-json is no host and has no link.")
        show_link(wishes.host)
        return
    place = Place.here()
    if wishes.host == MCP_JSON:
        if not wishes.remove:
            show_mcp_json(_target(wishes, place))
        return
    installer = Installer.of(wishes.host, wishes.scope, place)
    if wishes.remove:
        installer.remove(dry_run=wishes.dry_run)
    else:
        installer.install(_target(wishes, place), dry_run=wishes.dry_run)


def _target(wishes: Wishes, place: Place) -> Target:
    if wishes.url is not None:
        return remote(place, wishes.url)
    given = {} if wishes.toolsets is None else {"toolsets": wishes.toolsets}
    offered_tools(load_settings(wishes.settings_file, **given))  # what is wrong is told now, not by the host
    return launch(place, wishes.settings_file, wishes.toolsets)


def try_host(name: str, scope: Scope) -> bool:
    """Start what the host's file says, as the host would, and list its tools. Whether that works."""
    _check_host(name)
    installer = Installer.of(name, scope, Place.here())
    return anyio.run(seat.examine, installer)


def _check_host(name: str, *also: str) -> None:
    known = [*HOSTS, *also]
    if not name:
        raise SettingsError(f"Name a host: {', '.join(known)}.")
    if name not in known:
        near = get_close_matches(name.lower().replace(" ", "-"), known, 1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise SettingsError(f"No host is called {name!r}. {meant}There are {', '.join(known)}.")
