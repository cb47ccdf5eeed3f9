"""What `install` writes works: `doctor --host` starts it, and the hosts' own command lines connect to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.processes import environment, started
from npm import BIN, install

pytestmark = pytest.mark.slow


def said_by(
    home: Path, *arguments: str, path: str | None = None, within: tuple[str, ...] = (), **more: str
) -> tuple[int, str]:
    """Status and words of the command line, in a home of its own. `within`: a command that runs it."""
    env = environment(HOME=str(home), XDG_DATA_HOME=str(home / "share"), COLUMNS="300", **more)
    env["PATH"] = str(home / "nothing") if path is None else path
    command = [*within, sys.executable, "-m", "calltriage", *arguments]
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def with_a_process_of_ours(file: Path, member: str) -> None:
    """Let the entry start this very Python: a clone's own command may install things first."""
    held = json.loads(file.read_text(encoding="utf-8"))
    held[member]["calltriage"] |= {"command": sys.executable, "args": ["-m", "calltriage"]}
    file.write_text(json.dumps(held), encoding="utf-8")


def test_doctor_starts_what_the_host_would_start(tmp_path: Path) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    status, said = said_by(tmp_path, "doctor", "--host", "cursor")
    assert status == 1
    assert "Install it first" in said
    assert said_by(tmp_path, "install", "cursor", CALLTRIAGE_BLAND_API_KEY="org_secret")[0] == 0
    with_a_process_of_ours(file, "mcpServers")
    status, said = said_by(tmp_path, "doctor", "--host", "cursor")
    assert status == 1
    assert "not set here: CALLTRIAGE_BLAND_API_KEY" in said
    status, said = said_by(tmp_path, "doctor", "--host", "cursor", CALLTRIAGE_BLAND_API_KEY="org_secret")
    assert status == 0, said
    assert "14: list_issues" in said
    assert "org_secret" not in said


def test_doctor_says_what_is_wrong_with_a_command(tmp_path: Path) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    entry = {"command": str(tmp_path / "gone"), "args": []}
    file.write_text(json.dumps({"mcpServers": {"calltriage": entry}}), encoding="utf-8")
    status, said = said_by(tmp_path, "doctor", "--host", "cursor")
    assert status == 1
    assert "does not exist" in said
    assert "Traceback" not in said


async def test_doctor_reaches_a_server_on_a_port(tmp_path: Path) -> None:
    (tmp_path / ".cursor").mkdir()
    async with started(tmp_path, "serve", "--http", "--port", "0") as url:
        assert said_by(tmp_path, "install", "cursor", "--url", url)[0] == 0
        status, said = said_by(tmp_path, "doctor", "--host", "cursor")
        assert status == 0, said
        assert "14: list_issues" in said
        assert said_by(tmp_path, "install", "cursor", "--url", url.removesuffix("/mcp"))[0] == 0
        status, said = said_by(tmp_path, "doctor", "--host", "cursor")
        assert (status, "ends with /mcp" in said) == (1, True), said
    status, said = said_by(tmp_path, "doctor", "--host", "cursor")
    assert (status, "no server answers at this address" in said) == (1, True), said


ROOT = Path(__file__).parents[2]
OFFLINE = ("unshare", "--map-root-user", "--net")
"""Runs a command without any network."""
OWN = {"claude-code": "@anthropic-ai/claude-code", "codex": "@openai/codex", "gemini": "@google/gemini-cli"}


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_the_hosts_own_command_adds_connects_and_removes(name: str, tmp_path: Path) -> None:
    """Without a network and without a login. `claude mcp list` starts the server; the others show what they would start."""
    if subprocess.run([*OFFLINE, "true"], check=False).returncode != 0:
        pytest.skip("a command without a network needs Linux's network namespaces (unshare)")
    program = name.split("-", maxsplit=1)[0]
    modules = install(tmp_path, OWN[name])
    path = os.pathsep.join([str(modules / ".bin"), str(BIN), os.environ["PATH"]])
    home = tmp_path / "home"
    home.mkdir()

    def own(*arguments: str) -> str:
        env = environment(HOME=str(home), PATH=path, GEMINI_CLI_TRUST_WORKSPACE="true")
        command = [*OFFLINE, str(modules / ".bin" / program), *arguments]
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    for _ in range(2):
        status, said = said_by(home, "install", name, "--toolsets", "core,cleanup", path=path, within=OFFLINE)
        assert status == 0, said
    listed = own("mcp", "list")
    assert listed.count("calltriage:") + listed.count("calltriage ") >= 1, listed
    assert "core,cleanup" in listed
    if name != "codex":  # which starts nothing to list it
        assert "onnected" in listed, listed
    status, said = said_by(home, "doctor", "--host", name, path=path, within=OFFLINE)
    assert status == 0, said
    assert "delete_issue" in said
    status, said = said_by(home, "install", name, "--remove", path=path, within=OFFLINE)
    assert status == 0, said
    assert "calltriage" not in own("mcp", "list").replace(str(tmp_path), "")


@pytest.mark.long
def test_codex_installs_the_plugin_from_its_marketplace_and_would_start_its_sources(tmp_path: Path) -> None:
    modules = install(tmp_path, OWN["codex"])
    marketplace, home = tmp_path / "marketplace", tmp_path / "home"
    home.mkdir()
    laid_out = [sys.executable, str(ROOT / "manifests" / "fill.py"), "--codex", str(marketplace)]
    assert subprocess.run(laid_out, check=False, timeout=120).returncode == 0

    def codex(*arguments: str) -> str:
        env = environment(HOME=str(home), PATH=os.pathsep.join([str(BIN), os.environ["PATH"]]))
        command = [*OFFLINE, str(modules / ".bin" / "codex"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True).stdout

    codex("plugin", "marketplace", "add", str(marketplace))
    codex("plugin", "add", "calltriage@calltriage")
    [server] = json.loads(codex("mcp", "list", "--json"))
    assert (server["name"], server["enabled"]) == ("calltriage", True)
    installed = Path(server["transport"]["cwd"])
    assert (installed / "pyproject.toml").is_file()
    assert len([*installed.glob("skills/*/SKILL.md")]) == 3


@pytest.mark.long
@pytest.mark.parametrize(("name", "command"), [("claude-code", "plugin"), ("gemini", "extensions")])
def test_the_plugin_is_valid_by_the_hosts_own_tool(name: str, command: str, tmp_path: Path) -> None:
    modules = install(tmp_path, OWN[name])
    plugin = tmp_path / "plugin"
    laid_out = [sys.executable, str(ROOT / "manifests" / "fill.py"), "--plugin", str(plugin)]
    assert subprocess.run(laid_out, check=False, timeout=120).returncode == 0
    program = modules / ".bin" / name.split("-", maxsplit=1)[0]
    env = environment(HOME=str(tmp_path), PATH=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    done = subprocess.run(
        [str(program), command, "validate", str(plugin)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
