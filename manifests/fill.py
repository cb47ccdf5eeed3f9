"""Fill every manifest and README's table of tools from one source: pyproject, the tools, the settings.

uv run --group dev python manifests/fill.py                 write them; tests/golden/update.py does that, too
uv run --group dev python manifests/fill.py --check         exit 1 and name the files that differ
uv run --group dev python manifests/fill.py --bundle DIR    lay out the Claude Desktop bundle in DIR, for `mcpb pack DIR`
uv run --group dev python manifests/fill.py --plugin DIR    lay out the plugin of Claude Code and Gemini CLI in DIR
uv run --group dev python manifests/fill.py --codex DIR     lay out a marketplace for Codex in DIR, with the plugin in it
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from pydantic import SecretStr

from calltriage.cli.install.hosts import HOSTS, NAME
from calltriage.cli.install.installing import published
from calltriage.server.call.table import describe
from calltriage.server.surfaces.skills import FOLDER as SKILLS
from calltriage.server.toolsets import TOOLSETS, select
from calltriage.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parent
REGISTRY_NAME = "io.github.calltriage/calltriage"
BUNDLED = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "src")
"""What a bundle or a plugin carries: `uv` resolves the rest where it is installed."""
ICON = ROOT / "src" / "calltriage" / "server" / "icon.svg"
ICON_SIZE = 512

ASKED: dict[str, tuple[str, str]] = {
    "bland_api_key": ("string", "Bland API key"),
    "bland_auth_scheme": ("string", "How Bland's key is sent"),
    "talkdesk_account": ("string", "Talkdesk account"),
    "talkdesk_client_id": ("string", "Talkdesk client id"),
    "talkdesk_client_secret": ("string", "Talkdesk client secret"),
    "talkdesk_private_key": ("string", "Talkdesk private key"),
    "talkdesk_key_id": ("string", "Talkdesk key id"),
    "talkdesk_region": ("string", "Talkdesk region"),
    "allowed_roots": ("directory", "Folders to attach files from"),
    "toolsets": ("string", "Toolsets"),
    "read_only": ("boolean", "Read only"),
    "confirm": ("string", "Removals without a question"),
    "data_dir": ("directory", "Folder of the embedded desk"),
    "sample": ("boolean", "Sample calls"),
}
"""Settings that a host asks its user for: type and title."""

SEVERAL = "allowed_roots"
"""Takes several values: a host hands each over as an argument, since a variable cannot hold them."""

PICKED = {
    "allowed_roots": "files below them may be attached; without any none of yours",
    "bland_auth_scheme": "raw (the bare key, the default) or bearer",
    "confirm": "where this host cannot ask a person before a removal: empty or ask refuses, panel lets the board "
    "that the host shows ask, allow goes ahead, deny removes nothing ever",
    "data_dir": "where issues, calls and files are kept while no vendor is set; without it your platform's data folder",
}
"""What a setting means to a person who fills it in, where its own description speaks of variables."""


def variable(name: str) -> str:
    return f"CALLTRIAGE_{name.upper()}"


def is_secret(name: str) -> bool:
    annotation = Settings.model_fields[name].annotation
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def purpose(name: str) -> str:
    return Settings.model_fields[name].description or name


def bundle_manifest(project: dict[str, Any]) -> dict[str, Any]:
    """MCPB 0.4, type `uv`.

    Every option that is text defaults to the empty string, one folder too: without a default the host hands
    `${user_config.x}` itself to the server, and a `${HOME}` inside a default stays as it is. An empty variable counts as
    not set, and an empty list becomes no argument. The working folder is the bundle, so that a host's own working folder
    never becomes one to attach files from.
    """
    tools = [describe(tool) for tool in select()]
    return {
        "manifest_version": "0.4",
        "name": project["name"],
        "display_name": "calltriage",
        "version": project["version"],
        "description": project["description"],
        "author": project["authors"][0],
        "license": project["license"],
        "icon": "icon.png",
        "repository": {"type": "git", "url": project["urls"]["Repository"]},
        "keywords": project["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "src/calltriage/__main__.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "calltriage", "serve", f"${{user_config.{SEVERAL}}}"],
                "env": {variable(name): f"${{user_config.{name}}}" for name in ASKED if name != SEVERAL},
            },
        },
        "user_config": {
            name: {
                "type": kind,
                "title": title,
                "description": PICKED.get(name, purpose(name)),
                "required": False,
                **({"multiple": True} if name == SEVERAL else {}),
                "default": [] if name == SEVERAL else False if kind == "boolean" else "",
                **({"sensitive": True} if is_secret(name) else {}),
            }
            for name, (kind, title) in ASKED.items()
        },
        "tools": [{"name": tool.name, "description": tool.description} for tool in tools],
        "tools_generated": True,  # other toolsets have more
        "compatibility": {
            "platforms": ["darwin", "linux", "win32"],
            "runtimes": {"python": project["requires-python"]},
        },
    }


NOT_LIVE = "Nothing is published yet: the repository, the package and the icon are not at these addresses."
"""Take it out, with the `_meta` that holds it, in the commit that is published."""


def icon_address(project: dict[str, Any]) -> str:
    """Where the repository shows the icon as it is."""
    raw = project["urls"]["Repository"].replace("https://github.com/", "https://raw.githubusercontent.com/")
    return f"{raw}/v{project['version']}/{ICON.relative_to(ROOT).as_posix()}"


def registry_entry(project: dict[str, Any]) -> dict[str, Any]:
    """The MCP registry's server.json, schema of 2025-12-11."""
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": REGISTRY_NAME,
        "title": "calltriage",
        "description": "Call triage for agents: issues, evidence, flags, links and attachments.",
        "version": project["version"],
        "repository": {"url": project["urls"]["Repository"], "source": "github"},
        "icons": [{"src": icon_address(project), "mimeType": "image/svg+xml", "sizes": ["any"]}],
        "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"live": False, "note": NOT_LIVE}},
        "packages": [
            {
                "registryType": "pypi",
                "identifier": project["name"],
                "version": project["version"],
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": [
                    {
                        "name": variable(name),
                        "description": purpose(name),
                        "isRequired": False,
                        "isSecret": is_secret(name),
                    }
                    for name in Settings.model_fields
                ],
            }
        ],
    }


def _started_from(root: str) -> dict[str, Any]:
    """The servers of a plugin whose folder the host writes as `root`: its own sources, started by uv."""
    return {NAME: {"command": "uv", "args": ["run", "--project", root, "calltriage"]}}


def claude_plugin(project: dict[str, Any]) -> dict[str, Any]:
    """Claude Code's `.claude-plugin/plugin.json`. It finds `.mcp.json`, `skills/` and `agents/` by their names."""
    return {
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "author": project["authors"][0],
        "repository": project["urls"]["Repository"],
        "license": project["license"],
        "keywords": project["keywords"],
    }


def codex_plugin(project: dict[str, Any]) -> dict[str, Any]:
    """Codex's `.codex-plugin/plugin.json`. It names a file of its own for the servers, since Codex fills in no variable."""
    return {**claude_plugin(project), "skills": "./skills/", "mcpServers": "./codex.mcp.json"}


def codex_marketplace(project: dict[str, Any]) -> dict[str, Any]:
    """Codex's `.agents/plugins/marketplace.json`: the one plugin, in a folder below."""
    source = {"source": "local", "path": f"./plugins/{NAME}"}
    policy = {"installation": "AVAILABLE", "authentication": "ON_INSTALL"}
    entry = {"name": project["name"], "source": source, "policy": policy, "category": "Productivity"}
    return {"name": project["name"], "interface": {"displayName": NAME}, "plugins": [entry]}


def gemini_extension(project: dict[str, Any]) -> dict[str, Any]:
    """Gemini CLI's `gemini-extension.json`. It finds `skills/` by its name."""
    return {
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "mcpServers": _started_from("${extensionPath}"),
    }


def published_entry(host: str) -> str:
    """What a host's file holds for the published package."""
    there = HOSTS[host]
    return there.document("").put((*there.members, NAME), there.entry(published()))


def with_tools(readme: str) -> str:
    """README with the tools of each toolset in its table. What a row says after its tools stays."""
    head, title, rest = readme.partition("| toolset | tools |\n|---|---|\n")
    table, blank, tail = rest.partition("\n\n")
    if not title or not blank:
        raise SystemExit("README.md has no table of toolsets")
    said = {row[1]: row[2] for row in re.findall(r"(\| `(\w+)` \|(?: `\w+`)*)(.*)", table)}
    rows = [
        f"| `{toolset}` | {' '.join(f'`{tool.tool_name()}`' for tool in tools)}{said.get(toolset, ' |')}"
        for toolset, tools in TOOLSETS.items()
    ]
    return head + title + "\n".join(rows) + blank + tail


SETTINGS = "| variable | meaning | default |\n|---|---|---|\n"
"""Head of README's table of settings."""


def with_settings(readme: str) -> str:
    """README with every setting in its table."""
    head, title, rest = readme.partition(SETTINGS)
    _, blank, tail = rest.partition("\n\n")
    if not title or not blank:
        raise SystemExit("README.md has no table of settings")
    return head + title + "\n".join(_setting(name) for name in Settings.model_fields) + blank + tail


def _setting(name: str) -> str:
    default = Settings.model_fields[name].default
    match default:
        case bool():
            shown = str(int(default))
        case int() | float():
            shown = f"{default:g}"
        case tuple():
            shown = ",".join(cast("tuple[str, ...]", default))
        case str():
            shown = default
        case _:
            shown = ""
    meaning = purpose(name).replace("|", "\\|")
    return f"| `{variable(name)}` | {meaning} | {f'`{shown}`' if shown else ''} |"


ON_THE_WEB: dict[str, tuple[str, str]] = {
    "cursor": ("cursor://anysphere.cursor-deeplink/mcp/install?", "https://cursor.com/en/install-mcp?"),
    "vscode": ("", "https://insiders.vscode.dev/redirect?url="),
    "lm-studio": ("lmstudio://add_mcp?", "https://lmstudio.ai/install-mcp?"),
}
"""A host's own link begins so, and the page that opens it so: code hosts show no link with a scheme of its own."""


def install_link(host: str) -> str:
    """The page that lets a host install the published package."""
    there = HOSTS[host]
    own, page = ON_THE_WEB[host]
    if there.link is None:
        raise SystemExit(f"{host} has no link")
    link = there.link(published())
    return page + (link.removeprefix(own) if own else quote(link, safe=""))


def with_links(readme: str) -> str:
    """README with the links of hosts that install by a click."""
    links = ", ".join(f"[{HOSTS[host].title}]({install_link(host)})" for host in ON_THE_WEB)
    text, count = re.subn(
        r"(?m)^(A click installs the published package in ).*\.$", lambda found: f"{found[1]}{links}.", readme
    )
    if count != 1:
        raise SystemExit("README.md has no line of links")
    return text


DEPLOYED = (
    "container/Containerfile",
    "container/compose.yaml",
    "kubernetes/kustomization.yaml",
)
"""Files written by hand that name a version: these versions are filled in."""
VERSION = re.compile(r"((?:image\.version=\"|image: calltriage:|app\.kubernetes\.io/version: |newTag: ))\d+[\w.+-]*")


def with_version(text: str, version: str) -> str:
    """A file of a deployment with this version wherever one is named."""
    return VERSION.sub(rf"\g<1>{version}", text)


def filled() -> dict[Path, str]:
    """Text of each manifest, and of README, by its path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    manifests = {
        HERE / "mcpb" / "manifest.json": bundle_manifest(project),
        HERE / "registry" / "server.json": registry_entry(project),
        HERE / "plugin" / ".claude-plugin" / "plugin.json": claude_plugin(project),
        HERE / "plugin" / ".mcp.json": {"mcpServers": _started_from("${CLAUDE_PLUGIN_ROOT}")},
        HERE / "plugin" / ".codex-plugin" / "plugin.json": codex_plugin(project),
        HERE / "plugin" / "codex.mcp.json": {"mcpServers": {NAME: {**_started_from(".")[NAME], "cwd": "."}}},
        HERE / "plugin" / "gemini-extension.json": gemini_extension(project),
    }
    readme = ROOT / "README.md"
    texts = {path: json.dumps(body, indent=2, ensure_ascii=False) + "\n" for path, body in manifests.items()}
    entries = {HERE / "hosts" / "codex.toml": "codex", HERE / "hosts" / "cursor.json": "cursor"}
    texts |= {path: published_entry(host) for path, host in entries.items()}
    deployed = [HERE / name for name in DEPLOYED]
    texts |= {path: with_version(path.read_text(encoding="utf-8"), project["version"]) for path in deployed}
    return {**texts, readme: with_settings(with_links(with_tools(readme.read_text(encoding="utf-8"))))}


def fill() -> None:
    """Write them."""
    for path, text in filled().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def stale() -> list[Path]:
    """Files that are not what `filled` says."""
    return [path for path, text in filled().items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def lay_out(folder: Path) -> None:
    """Lay out the Claude Desktop bundle in a new folder. An old one may hold more: modules that are gone, a `.venv`."""
    folder.mkdir(parents=True)
    shutil.copy(HERE / "mcpb" / "manifest.json", folder / "manifest.json")
    (folder / "icon.png").write_bytes(icon())
    _copy_sources(folder)


def lay_out_plugin(folder: Path) -> None:
    """Lay out the plugin in a new folder: manifests, agent, skills, and the sources that it starts."""
    shutil.copytree(HERE / "plugin", folder)
    (folder / ".claude-plugin" / "icon.png").write_bytes(icon())
    shutil.copytree(SKILLS, folder / "skills", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    _copy_sources(folder)


def lay_out_marketplace(folder: Path) -> None:
    """Lay out a marketplace for Codex in a new folder, which installs plugins from marketplaces alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    catalogue = folder / ".agents" / "plugins" / "marketplace.json"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_text(json.dumps(codex_marketplace(project), indent=2) + "\n", encoding="utf-8")
    lay_out_plugin(folder / "plugins" / NAME)


def _copy_sources(folder: Path) -> None:
    for name in BUNDLED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def icon() -> bytes:
    """The icon as a PNG."""
    import resvg_py  # noqa: PLC0415  only to lay something out

    return bytes(resvg_py.svg_to_bytes(svg_path=str(ICON), width=ICON_SIZE, height=ICON_SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bundle", type=Path, metavar="DIR")
    parser.add_argument("--plugin", type=Path, metavar="DIR")
    parser.add_argument("--codex", type=Path, metavar="DIR")
    given = parser.parse_args()
    if given.check:
        differing = stale()
        for path in differing:
            print(f"{path.relative_to(ROOT)} is stale: run `uv run --group dev python manifests/fill.py`")
        sys.exit(1 if differing else 0)
    for folder in (given.bundle, given.plugin, given.codex):
        if folder is not None and folder.exists():
            parser.error(f"{folder} exists; name a new folder")
    fill()
    if given.bundle is not None:
        lay_out(given.bundle)
    if given.plugin is not None:
        lay_out_plugin(given.plugin)
    if given.codex is not None:
        lay_out_marketplace(given.codex)


if __name__ == "__main__":
    main()
