"""The manifests say what the package is, the official validators agree, and the bundle starts."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from npm import BIN, install
from pydantic import SecretStr

from calltriage.server.call.table import describe
from calltriage.server.toolsets import select
from calltriage.settings import Settings

ROOT = Path(__file__).parents[3]
MCPB = "@anthropic-ai/mcpb@2.1.2"
RESOLVE = """
import { readFileSync } from "node:fs";
const { getMcpConfigForManifest } = await import(process.argv[2]);
const config = await getMcpConfigForManifest({
  manifest: JSON.parse(readFileSync(process.argv[3])), extensionPath: "/bundle",
  systemDirs: { HOME: "/home/ann" }, userConfig: JSON.parse(process.argv[4]), pathSeparator: "/",
});
console.log(JSON.stringify(config));
"""
"""What a host runs, by the bundle format's own code: module, manifest, what the user filled in."""


def load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", ROOT / "manifests" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = load_fill()
BUNDLE = ROOT / "manifests" / "mcpb" / "manifest.json"


def manifest(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "manifests" / name).read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def secret_settings() -> set[str]:
    return {name for name, info in Settings.model_fields.items() if SecretStr in get_args(info.annotation)}


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="module")
def mcpb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle format's own tool, installed from npm."""
    return install(tmp_path_factory.mktemp("mcpb"), MCPB) / "@anthropic-ai" / "mcpb" / "dist"


def test_the_manifests_are_what_their_source_says() -> None:
    assert fill.stale() == []


@pytest.mark.slow
def test_the_check_names_the_file_that_differs_and_filling_mends_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(readme.replace("| `list_attachments` ", "| "), encoding="utf-8")
    script = tmp_path / "manifests" / "fill.py"
    entry = tmp_path / "manifests" / "registry" / "server.json"
    entry.write_text(entry.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    checked = run(sys.executable, script, "--check")
    assert checked.returncode == 1
    assert "server.json" in checked.stdout
    assert "README.md is stale" in checked.stdout
    assert "manifest.json" not in checked.stdout
    assert run(sys.executable, script).returncode == 0
    assert run(sys.executable, script, "--check").returncode == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == readme


def test_name_version_and_licence_are_those_of_the_package() -> None:
    bundle, entry, package = manifest("mcpb/manifest.json"), manifest("registry/server.json"), project()
    assert bundle["name"] == entry["packages"][0]["identifier"] == package["name"]
    versions = {bundle["version"], entry["version"], entry["packages"][0]["version"]}
    assert versions == {package["version"]}
    assert bundle["license"] == package["license"]


def test_the_bundle_lists_the_default_tools_as_the_server_does() -> None:
    listed = [(tool["name"], tool["description"]) for tool in manifest("mcpb/manifest.json")["tools"]]
    table = [describe(tool) for tool in select()]
    assert listed == [(tool.name, tool.description) for tool in table]


def test_the_bundle_asks_for_nothing_it_must_have_and_hides_exactly_the_secrets() -> None:
    options = manifest("mcpb/manifest.json")["user_config"]
    assert {name for name, option in options.items() if option.get("sensitive")} == secret_settings() & set(options)
    assert {"bland_api_key", "talkdesk_client_secret"} <= secret_settings() & set(options)
    assert not any(option["required"] for option in options.values())


def test_the_registry_entry_has_every_setting_and_marks_exactly_the_secrets() -> None:
    entry = manifest("registry/server.json")
    variables = entry["packages"][0]["environmentVariables"]
    secret = {one["name"] for one in variables if one["isSecret"]}
    assert secret == {f"CALLTRIAGE_{name.upper()}" for name in secret_settings()}
    assert {one["name"] for one in variables} == {f"CALLTRIAGE_{name.upper()}" for name in Settings.model_fields}
    assert len(entry["description"]) <= 100
    assert f"<!-- mcp-name: {entry['name']} -->" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_registry_entry_is_marked_as_not_live_and_shows_the_icon_that_is_there() -> None:
    entry = manifest("registry/server.json")
    [about] = entry["_meta"].values()
    assert about["live"] is False
    [icon] = entry["icons"]
    repository = project()["urls"]["Repository"].removeprefix("https://github.com/")
    path = icon["src"].removeprefix(f"https://raw.githubusercontent.com/{repository}/v{entry['version']}/")
    assert (ROOT / path).is_file()


def test_what_a_host_leaves_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CALLTRIAGE_{name.upper()}", raising=False)
    unset = Settings()
    for name in fill.ASKED:
        monkeypatch.setenv(f"CALLTRIAGE_{name.upper()}", "")
    assert Settings() == unset


@pytest.mark.slow
def test_the_registry_linter_finds_nothing() -> None:
    done = run(BIN / "skillsaw", "lint", ROOT / "manifests" / "registry")
    assert done.returncode == 0, done.stdout
    assert "mcp-registry" in done.stdout


@pytest.mark.slow
def test_the_bundle_formats_own_tool_validates_and_packs_it(mcpb: Path, tmp_path: Path) -> None:
    fill.lay_out(tmp_path / "bundle")
    tool = [BIN / "node", mcpb / "cli" / "cli.js"]
    validated = run(*tool, "validate", tmp_path / "bundle" / "manifest.json")
    assert validated.returncode == 0, validated.stdout + validated.stderr
    packed = run(*tool, "pack", tmp_path / "bundle", tmp_path / "calltriage.mcpb")
    assert packed.returncode == 0, packed.stdout + packed.stderr
    assert (tmp_path / "calltriage.mcpb").stat().st_size > 10_000


@pytest.mark.slow
def test_the_plugin_carries_its_skills_and_a_linter_finds_nothing(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    fill.lay_out_plugin(plugin)
    assert {path.parent.name for path in plugin.glob("skills/*/SKILL.md")} == {
        "find-duplicates",
        "hand-over",
        "triage-a-call",
    }
    done = run(BIN / "skillsaw", "lint", "--strict", plugin)
    assert done.returncode == 0, done.stdout
    assert (
        json.loads((plugin / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))["version"]
        == (json.loads((plugin / "gemini-extension.json").read_text(encoding="utf-8"))["version"])
    )


def test_the_icon_is_a_square_picture_of_the_size_that_directories_want() -> None:
    png = fill.icon()
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (512, 512)


FOLDERS = ["/home/ann/one", "/home/ann/two two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "filled_in", [{}, {"bland_api_key": "k", "data_dir": "/home/ann/desk"}, {"allowed_roots": FOLDERS}]
)
def test_a_host_hands_over_what_the_user_filled_in_and_no_placeholder(
    mcpb: Path, tmp_path: Path, filled_in: dict[str, Any]
) -> None:
    script = tmp_path / "resolve.mjs"
    script.write_text(RESOLVE, encoding="utf-8")
    done = run(BIN / "node", script, (mcpb / "index.js").as_uri(), BUNDLE, json.dumps(filled_in))
    assert done.returncode == 0, done.stderr
    assert "${" not in done.stdout
    unset = {name: "false" if kind == "boolean" else "" for name, (kind, _) in fill.ASKED.items()}
    named = [name for name in fill.ASKED if name != fill.SEVERAL]
    expected = {f"CALLTRIAGE_{name.upper()}": filled_in.get(name, unset[name]) for name in named}
    handed = json.loads(done.stdout)
    assert handed["env"] == expected
    assert handed["args"][-2:] == FOLDERS if fill.SEVERAL in filled_in else handed["args"][-1] == "serve"


@pytest.mark.slow
async def test_the_bundle_starts_by_its_own_command_and_lists_its_tools(tmp_path: Path) -> None:
    config = manifest("mcpb/manifest.json")["server"]["mcp_config"]
    uv = os.environ.get("UV") or shutil.which(config["command"])
    if uv is None:
        pytest.skip("uv is not on the path; `uv run --group dev pytest` brings it")
    bundle = tmp_path / "bundle"
    fill.lay_out(bundle)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALLTRIAGE_", "VIRTUAL_ENV"))}
    settings = dict.fromkeys(config["env"], "") | {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data")}
    arguments = [one.replace("${__dirname}", str(bundle)) for one in config["args"]]
    assert arguments[-1].startswith("${"), "what a host leaves that fills nothing in"
    with anyio.fail_after(120):
        async with Client(StdioServerParameters(command=uv, args=arguments, env=kept | settings)) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert client.server_info is not None
            assert client.server_info.version == project()["version"]
            [icon] = client.server_info.icons or []
            assert base64.b64decode(icon.src.partition(",")[2]) == fill.ICON.read_bytes().strip()
    assert names == [tool["name"] for tool in manifest("mcpb/manifest.json")["tools"]]


def test_the_readmes_links_install_what_the_hosts_files_would_hold() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [line] = [line for line in readme.splitlines() if line.startswith("A click installs")]
    links = dict(re.findall(r"\[([^\]]+)\]\((\S+?)\)(?=,|\.)", line))
    assert links.keys() == {fill.HOSTS[name].title for name in fill.ON_THE_WEB}
    for name in fill.ON_THE_WEB:
        host = fill.HOSTS[name]
        parts = urlsplit(links[host.title])
        assert parts.scheme == "https"
        query = parse_qs(parts.query)
        if name == "vscode":
            entry = json.loads(unquote(urlsplit(query["url"][0]).query))
        else:
            entry = json.loads(base64.b64decode(query["config"][0])) | {"name": query["name"][0]}
        assert entry.pop("name") == "calltriage"
        assert entry == host.entry(fill.published())


def test_a_files_version_is_filled_in_wherever_it_is_named() -> None:
    text = 'LABEL image.version="0.0.1"\nimage: calltriage:0.0.1\n  app.kubernetes.io/version: 0.0.1\nnewTag: 0.0.1\n'
    assert "0.0.1" not in fill.with_version(text, "7.8.9rc1")
    assert fill.with_version(text, "7.8.9rc1").count("7.8.9rc1") == 4
