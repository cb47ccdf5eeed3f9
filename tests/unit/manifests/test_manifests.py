"""The manifests say what the package is, and the official validators agree."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from calltriage.server.tools import TOOLSETS
from calltriage.settings import Settings

ROOT = Path(__file__).parents[3]
MCPB = "@anthropic-ai/mcpb@2.1.2"


def load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", ROOT / "manifests" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = load_fill()


def manifest(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "manifests" / name).read_text(encoding="utf-8"))


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=180, check=False)


def test_the_manifests_are_what_their_source_says() -> None:
    assert fill.stale() == []


def test_a_stale_manifest_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fill, "HERE", tmp_path)
    assert len(fill.stale()) == 2


def test_the_bundle_lists_every_tool_and_marks_every_secret() -> None:
    bundle = manifest("mcpb/manifest.json")
    listed = [tool["name"] for tool in bundle["tools"]]
    assert listed == [tool.tool_name() for tools in TOOLSETS.values() for tool in tools]
    sensitive = {name for name, option in bundle["user_config"].items() if option.get("sensitive")}
    assert sensitive == {"bland_api_key", "talkdesk_client_secret"}
    assert not any(option["required"] for option in bundle["user_config"].values())


def test_the_registry_entry_marks_exactly_the_secret_settings() -> None:
    entry = manifest("registry/server.json")
    variables = entry["packages"][0]["environmentVariables"]
    secret = {one["name"] for one in variables if one["isSecret"]}
    typed = {name for name, info in Settings.model_fields.items() if SecretStr in get_args(info.annotation)}
    assert secret == {f"CALLTRIAGE_{name.upper()}" for name in typed}
    assert {one["name"] for one in variables} == {f"CALLTRIAGE_{name.upper()}" for name in Settings.model_fields}
    assert len(entry["description"]) <= 100
    assert f"<!-- mcp-name: {entry['name']} -->" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_a_host_leaves_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in fill.ASKED:
        monkeypatch.setenv(f"CALLTRIAGE_{name.upper()}", "")
    settings = Settings()
    assert settings.triage_on_desk
    assert settings.attachments_on_desk
    assert settings.talkdesk_region == "us"


def test_the_registry_linter_finds_nothing() -> None:
    done = run(Path(sys.executable).parent / "skillsaw", "lint", ROOT / "manifests" / "registry")
    assert done.returncode == 0, done.stdout
    assert "mcp-registry" in done.stdout


def test_the_bundle_formats_own_tool_validates_and_packs_it(tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    installed = run(bin_folder / "npm", "install", "--silent", "--no-audit", "--no-fund", MCPB, cwd=tmp_path)
    if installed.returncode != 0 and "network" in installed.stderr.lower():
        pytest.skip("the npm registry is out of reach, and the validator comes from there")
    assert installed.returncode == 0, installed.stderr
    fill.lay_out(tmp_path / "bundle")
    tool = [bin_folder / "node", tmp_path / "node_modules" / "@anthropic-ai" / "mcpb" / "dist" / "cli" / "cli.js"]
    validated = run(*tool, "validate", tmp_path / "bundle" / "manifest.json")
    assert validated.returncode == 0, validated.stdout + validated.stderr
    packed = run(*tool, "pack", tmp_path / "bundle", tmp_path / "calltriage.mcpb")
    assert packed.returncode == 0, packed.stdout + packed.stderr
    assert (tmp_path / "calltriage.mcpb").stat().st_size > 10_000
