"""The MCP hosts that calltriage can be installed in: where each keeps its servers, and how an entry is written there.

Sources: each host's own documentation and, for Claude Code, Codex and Gemini, their command lines.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Literal
from urllib.parse import quote, urlencode

from calltriage.cli.install.documents import Document
from calltriage.cli.install.json_document import JsonDocument
from calltriage.cli.install.toml_document import TomlDocument
from calltriage.cli.install.yaml_document import YamlDocument
from calltriage.leaves.strict_json import JsonObject

System = Literal["linux", "macos", "windows"]
Scope = Literal["user", "project"]

NAME = "calltriage"
"""What the server is called in every host."""
TOKEN = "CALLTRIAGE_HTTP_TOKEN"  # noqa: S105  the name of a variable
"""The variable that holds the bearer token of a remote server."""


@dataclass(frozen=True)
class Launch:
    """A process that the host starts. `env` are values, `secrets` names of variables that the host passes on."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remote:
    """A server on a port. `has_token`: it asks for the bearer token in the variable TOKEN."""

    url: str
    has_token: bool = False


Target = Launch | Remote
Naming = Callable[[str], str]
"""How a host writes the value of a variable of its environment."""


@dataclass(frozen=True)
class Place:
    """The machine that is installed on: what of it decides where files are and what stands in them."""

    system: System
    home: str
    appdata: str
    folder: str
    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> Place:
        system: System = "windows" if os.name == "nt" else "macos" if sys.platform == "darwin" else "linux"
        home = str(Path.home())
        appdata = os.environ.get("APPDATA", str(Path(home, "AppData", "Roaming")))
        return cls(system, home, appdata, os.getcwd(), os.environ)


@dataclass(frozen=True)
class Command:
    """The host's own command line. Each gives the arguments behind the program, or None for what it cannot say."""

    program: str
    add: Callable[[Target, Scope], list[str] | None]
    remove: Callable[[Scope], list[str] | None]


@dataclass(frozen=True)
class Host:
    """One host.

    `user` and `project` are paths of its file by scope; `~` is the home, `{appdata}` the roaming folder of Windows.
    `members` lead to the object that has a member for each server. `stdio` and `remote` write an entry; a `remote` that is
    a text says why there is none. `moved`: a variable that names another folder, and the one that it stands for.
    """

    title: str
    members: tuple[str, ...]
    stdio: Callable[[Launch, Naming], JsonObject]
    remote: Callable[[Remote, Naming], JsonObject] | str
    user: str | Mapping[System, str]
    moved: tuple[str, str] | None = None
    project: str | None = None
    document: type[Document] = JsonDocument
    naming: Naming | None = None
    command: Command | None = None
    only_by_command: bool = False
    link: Callable[[Launch], str] | None = None
    after: str = "Restart it"

    def file(self, scope: Scope, place: Place) -> PurePath | None:
        """Where the host keeps its servers; None where it has no such scope."""
        path = PureWindowsPath if place.system == "windows" else PurePosixPath
        if scope == "project":
            return None if self.project is None else path(place.folder) / self.project
        template = self.user if isinstance(self.user, str) else self.user[place.system]
        if self.moved is not None and (elsewhere := place.environment.get(self.moved[0])):
            template = template.replace(self.moved[1], elsewhere, 1)
        return path(template.replace("~", place.home, 1).replace("{appdata}", place.appdata, 1))

    def entry(self, target: Target) -> JsonObject:
        """What the host's file holds for the server. Raises ValueError with the reason where it can hold none."""
        naming = self.naming or _no_name
        if isinstance(target, Launch):
            if target.secrets and self.naming is None:
                raise ValueError(
                    f"{self.title} cannot pass on a variable by its name, and secrets do not belong into its file. Write "
                    f"{', '.join(target.secrets)} into a file that only you may read, take them out of the environment, and "
                    "name the file: calltriage --settings-file FILE install …"
                )
            return self.stdio(target, naming)
        if isinstance(self.remote, str):
            raise ValueError(self.remote)
        if target.has_token and self.naming is None:
            raise ValueError(
                f"{self.title} cannot take a token from the environment. Unset {TOKEN} to write the entry without one, and "
                "type the token into the host itself."
            )
        return self.remote(target, naming)


def _no_name(name: str) -> str:
    raise ValueError(name)


def braces(name: str) -> str:
    return f"${{{name}}}"


def env_braces(name: str) -> str:
    return f"${{env:{name}}}"


def _environment(launch: Launch, naming: Naming) -> dict[str, str]:
    return {**launch.env, **{name: naming(name) for name in launch.secrets}}


def _started(launch: Launch, naming: Naming, **also: str) -> JsonObject:
    env = _environment(launch, naming)
    return {**also, "command": launch.command, "args": list(launch.args), **({"env": env} if env else {})}


def _plain(launch: Launch, naming: Naming) -> JsonObject:
    return _started(launch, naming)


def _typed(launch: Launch, naming: Naming) -> JsonObject:
    return _started(launch, naming, type="stdio")


def _for_zed(launch: Launch, naming: Naming) -> JsonObject:
    return _started(launch, naming, source="custom")


def _for_codex(launch: Launch, naming: Naming) -> JsonObject:  # noqa: ARG001  it lists names, in a member of their own
    env: JsonObject = {"env": dict(launch.env)} if launch.env else {}
    secrets: JsonObject = {"env_vars": list(launch.secrets)} if launch.secrets else {}
    return {"command": launch.command, "args": list(launch.args), **env, **secrets}


def _for_goose(launch: Launch, naming: Naming) -> JsonObject:  # noqa: ARG001  likewise
    return {
        "enabled": True,
        "type": "stdio",
        "name": NAME,
        "description": "Call triage",
        "cmd": launch.command,
        "args": list(launch.args),
        "envs": dict(launch.env),
        "env_keys": list(launch.secrets),
        "timeout": 300,
    }


def _at(member: str, **also: str) -> Callable[[Remote, Naming], JsonObject]:
    """An entry of a remote server, whose address is in a member of this name."""

    def write(remote: Remote, naming: Naming) -> JsonObject:
        headers = {"headers": {"Authorization": f"Bearer {naming(TOKEN)}"}} if remote.has_token else {}
        return {**also, member: remote.url, **headers}

    return write


def _codex_remote(remote: Remote, naming: Naming) -> JsonObject:  # noqa: ARG001  it has a member for the name
    return {"url": remote.url, **({"bearer_token_env_var": TOKEN} if remote.has_token else {})}


def _goose_remote(remote: Remote, naming: Naming) -> JsonObject:
    token = {"headers": {"Authorization": f"Bearer {naming(TOKEN)}"}, "env_keys": [TOKEN]} if remote.has_token else {}
    about: JsonObject = {"enabled": True, "type": "streamable_http", "name": NAME, "description": "Call triage"}
    return {**about, "uri": remote.url, **token, "timeout": 300}


def _claude_add(target: Target, scope: Scope) -> list[str]:
    return ["mcp", "add-json", "-s", scope, NAME, json.dumps(HOSTS["claude-code"].entry(target))]


def _codex_add(target: Target, scope: Scope) -> list[str] | None:
    if scope == "project" or (isinstance(target, Launch) and target.secrets):  # it has no option for either
        return None
    if isinstance(target, Remote):
        token = ["--bearer-token-env-var", TOKEN] if target.has_token else []
        return ["mcp", "add", NAME, "--url", target.url, *token]
    env = [part for name, value in target.env.items() for part in ("--env", f"{name}={value}")]
    return ["mcp", "add", NAME, *env, "--", target.command, *target.args]


def _gemini_add(target: Target, scope: Scope) -> list[str] | None:
    if isinstance(target, Remote):
        token = ["-H", f"Authorization: Bearer ${{{TOKEN}}}"] if target.has_token else []
        return ["mcp", "add", "-s", scope, "-t", "http", NAME, target.url, *token]
    env = [part for name, value in _environment(target, braces).items() for part in ("-e", f"{name}={value}")]
    return [
        "mcp",
        "add",
        "-s",
        scope,
        NAME,
        target.command,
        *env,
        "--",
        *target.args,
    ]  # an option takes what follows it


def _code_add(target: Target, scope: Scope) -> list[str] | None:
    entry = {"name": NAME, **HOSTS["vscode"].entry(target)}
    return ["--add-mcp", json.dumps(entry)] if scope == "user" else None


def _base64(entry: JsonObject) -> str:
    return base64.b64encode(json.dumps(entry, separators=(",", ":")).encode()).decode()


def _cursor_link(launch: Launch) -> str:
    query = urlencode({"name": NAME, "config": _base64(_plain(launch, braces))})
    return f"cursor://anysphere.cursor-deeplink/mcp/install?{query}"


def _vscode_link(launch: Launch) -> str:
    return f"vscode:mcp/install?{quote(json.dumps({'name': NAME, **_typed(launch, braces)}), safe='')}"


def _lm_studio_link(launch: Launch) -> str:
    return f"lmstudio://add_mcp?{urlencode({'name': NAME, 'config': _base64(_plain(launch, braces))})}"


def _goose_link(launch: Launch) -> str:
    about = [("id", NAME), ("name", NAME), ("description", "Call triage")]
    return f"goose://extension?{urlencode([('cmd', launch.command), *(('arg', arg) for arg in launch.args), *about])}"


def in_mcp_json(target: Target) -> JsonObject:
    """The object that most hosts read, for those that are not in the table. Names stand as `${NAME}`."""
    entry = _plain(target, braces) if isinstance(target, Launch) else _at("url", type="http")(target, braces)
    return {"mcpServers": {NAME: entry}}


HOSTS: dict[str, Host] = {
    "claude-code": Host(
        "Claude Code",
        ("mcpServers",),
        _typed,
        _at("url", type="http"),
        user="~/.claude.json",
        moved=("CLAUDE_CONFIG_DIR", "~"),
        project=".mcp.json",
        naming=braces,
        command=Command("claude", _claude_add, lambda scope: ["mcp", "remove", "-s", scope, NAME]),
        only_by_command=True,
        after="Start a new session",
    ),
    "claude-desktop": Host(
        "Claude Desktop",
        ("mcpServers",),
        _plain,
        "Claude Desktop's file starts processes only. Add a server on a port in its settings, under Connectors.",
        user={
            "linux": "~/.config/Claude/claude_desktop_config.json",
            "macos": "~/Library/Application Support/Claude/claude_desktop_config.json",
            "windows": "{appdata}/Claude/claude_desktop_config.json",
        },
    ),
    "cursor": Host(
        "Cursor",
        ("mcpServers",),
        _plain,
        _at("url"),
        user="~/.cursor/mcp.json",
        project=".cursor/mcp.json",
        naming=env_braces,
        link=_cursor_link,
    ),
    "vscode": Host(
        "VS Code",
        ("servers",),
        _typed,
        _at("url", type="http"),
        user={
            "linux": "~/.config/Code/User/mcp.json",
            "macos": "~/Library/Application Support/Code/User/mcp.json",
            "windows": "{appdata}/Code/User/mcp.json",
        },
        project=".vscode/mcp.json",
        naming=env_braces,
        command=Command("code", _code_add, lambda _: None),
        link=_vscode_link,
        after="Start the server with `MCP: List Servers`",
    ),
    "codex": Host(
        "Codex",
        ("mcp_servers",),
        _for_codex,
        _codex_remote,
        user="~/.codex/config.toml",
        moved=("CODEX_HOME", "~/.codex"),
        project=".codex/config.toml",
        document=TomlDocument,
        naming=braces,
        command=Command("codex", _codex_add, lambda scope: ["mcp", "remove", NAME] if scope == "user" else None),
        after="Start a new session",
    ),
    "gemini": Host(
        "Gemini CLI",
        ("mcpServers",),
        _plain,
        _at("url", type="http"),
        user="~/.gemini/settings.json",
        project=".gemini/settings.json",
        naming=braces,
        command=Command("gemini", _gemini_add, lambda scope: ["mcp", "remove", "-s", scope, NAME]),
        after="Start a new session",
    ),
    "lm-studio": Host(
        "LM Studio", ("mcpServers",), _plain, _at("url"), user="~/.lmstudio/mcp.json", link=_lm_studio_link
    ),
    "goose": Host(
        "Goose",
        ("extensions",),
        _for_goose,
        _goose_remote,
        user={
            "linux": "~/.config/goose/config.yaml",
            "macos": "~/.config/goose/config.yaml",
            "windows": "{appdata}/Block/goose/config/config.yaml",
        },
        document=YamlDocument,
        naming=braces,
        link=_goose_link,
        after="Start a new session",
    ),
    "windsurf": Host(
        "Windsurf",
        ("mcpServers",),
        _plain,
        _at("serverUrl"),
        user="~/.codeium/windsurf/mcp_config.json",
        naming=env_braces,
    ),
    "zed": Host(
        "Zed",
        ("context_servers",),
        _for_zed,
        _at("url", source="custom"),
        user={
            "linux": "~/.config/zed/settings.json",
            "macos": "~/.config/zed/settings.json",
            "windows": "{appdata}/Zed/settings.json",
        },
        project=".zed/settings.json",
        after="It starts the server by itself",
    ),
    "jetbrains": Host(
        "Junie (JetBrains)",
        ("mcpServers",),
        _plain,
        "Junie's file starts processes only. Leave --url away, and let it start calltriage itself.",
        user="~/.junie/mcp/mcp.json",
        project=".junie/mcp/mcp.json",
    ),
}
"""The hosts by the name that the command line takes."""
