"""The server as foreign clients find it: the official conformance suite, the TypeScript SDK, the Inspector, a linter of tool
definitions. They come from the registries and run offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import CALLS
from e2e.processes import environment, run, started
from npm import BIN, NODE, install

from calltriage.offering import ALL
from calltriage.server.call.views import BOARD
from calltriage.server.toolsets import select

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CONFORMANCE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
TYPESCRIPT = "@modelcontextprotocol/sdk@1.32.2"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
PATIENCE = 120

HOLDS: dict[str, tuple[str, ...]] = {
    "2026-07-28": (
        "caching", "dns-rebinding-protection", "http-header-validation", "input-required-result-unsupported-methods",
        "prompts-list", "resources-list", "sep-2164-resource-not-found", "server-sse-multiple-streams", "server-stateless",
        "tools-list",
    ),
    "2025-11-25": (
        "dns-rebinding-protection", "ping", "prompts-list", "resources-list", "server-initialize", "tools-list",
    ),
    "2025-06-18": ("ping", "prompts-list", "resources-list", "server-initialize", "tools-list"),
}  # fmt: skip
"""Scenarios that mean something for a product, by wire; what else the suite has stands in the files beside this one."""


async def output(command: Sequence[str | Path], folder: Path, **settings: str) -> tuple[int, str, str]:
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            [*map(str, command)],
            cwd=folder,
            check=False,
            env=environment(**settings) | {"PATH": f"{BIN}:/usr/bin:/bin"},
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = install(tmp_path_factory.mktemp("conformance"), CONFORMANCE)
    return modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


@pytest.mark.parametrize("wire", HOLDS)
async def test_the_official_conformance_suite_finds_nothing_unexpected(
    conformance: Path, tmp_path: Path, wire: str
) -> None:
    async with started(tmp_path, "serve", "--http", "--port", "0", "--toolsets", "all") as address:
        status, said, _ = await output(
            [NODE, conformance, "server", "--url", address, "--suite", "all", "--spec-version", wire,
             "--expected-failures", HERE / f"{wire}.yml", "--output-dir", tmp_path / "found"],
            tmp_path,
        )  # fmt: skip
    assert status == 0, said[said.find("=== SUMMARY") :]
    for scenario in HOLDS[wire]:
        checked = checks(tmp_path / "found", scenario)
        good = [check for check, status in checks(tmp_path / "found", scenario) if status == "SUCCESS"]
        assert set(good) - {"wire-schema-valid"}, (scenario, checked)


@pytest.mark.parametrize("scenario", ["sep-2640-skills-enumeration", "sep-2640-skills-manifest"])
async def test_skills_are_served_as_their_extension_says(conformance: Path, tmp_path: Path, scenario: str) -> None:
    """Without `--force` the suite leaves extensions out, and finds nothing in nothing."""
    async with started(tmp_path, "serve", "--http", "--port", "0") as address:
        status, said, complaints = await output(
            [NODE, conformance, "server", "--url", address, "--scenario", scenario, "--force",
             "--output-dir", tmp_path / "found"],
            tmp_path,
        )  # fmt: skip
    assert status == 0, said + complaints
    found = json.loads(next((tmp_path / "found").rglob("checks.json")).read_text(encoding="utf-8"))
    bad = [(check["id"], check["status"], check.get("errorMessage")) for check in found if check["status"] in BAD]
    assert bad == []
    assert sum(check["status"] == "SUCCESS" for check in found) >= 4


BAD = ("FAILURE", "WARNING")


def checks(folder: Path, scenario: str) -> list[tuple[str, str]]:
    """Each check of a scenario and how it ended."""
    found = [one for one in folder.iterdir() if one.name.startswith((f"server-{scenario}-20", f"{scenario}-20"))]
    assert len(found) == 1, scenario
    return [(check["id"], check["status"]) for check in json.loads((found[0] / "checks.json").read_text())]


async def test_the_typescript_client_gets_results_and_structured_errors(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its first version throws an error away that does not fit the output schema, so that no model ever reads it."""
    folder = tmp_path_factory.mktemp("typescript")
    install(folder, TYPESCRIPT)
    script = folder / "client.mjs"
    script.write_text((HERE / "typescript_v1.mjs").read_text(encoding="utf-8"), encoding="utf-8")
    status, _, complaints = await run(tmp_path, "desk", "import", "-", stdin="\n".join(CALLS))
    assert status == 0, complaints
    settings = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    arguments = [sys.executable, json.dumps(["-m", "calltriage"]), json.dumps(settings), tmp_path]
    status, said, complaints = await output([NODE, script, *arguments], tmp_path)
    assert status == 0, complaints
    found: dict[str, Any] = json.loads(said)
    assert found["version"]["name"] == "calltriage"
    assert found["tools"] == [tool.tool_name() for tool in select()]
    for code, result in found["errors"].items():
        assert result["isError"] is True
        assert result["structuredContent"]["error"]["code"] == code
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    again = found["errors"]["call_not_attached"]["structuredContent"]["error"]["try_next"]
    assert (again["tool"], again["arguments"]["attach_if_missing"]) == ("add_flag", True)
    assert [found[name]["structuredContent"]["outcome"] for name in ("attached", "replayed")] == [
        "committed",
        "replayed",
    ]
    ticket = found["attached"]["structuredContent"]["issue_id"]
    evidence = json.loads(found["evidence"]["contents"][0]["text"])
    assert evidence["issue"]["id"] == ticket
    assert found["told"] == "triage://issues/T-1001"
    assert "investigate_issue" in found["prompts"]
    assert [message["content"]["type"] for message in found["prompt"]["messages"]] == ["text", "resource"]
    assert found["completion"]["values"] == ["T-1001 From TypeScript"]
    assert found["absent"] == -32602


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_finds_every_schema_portable(inspector: Path, tmp_path: Path, era: str) -> None:
    """In its strict mode it fails for a schema that some model's API would refuse."""
    settings = ["-e", f"CALLTRIAGE_DATA_DIR={tmp_path / 'data'}", "-e", f"CALLTRIAGE_TOOLSETS={ALL}"]
    command = [NODE, inspector, "--cli", *settings, sys.executable, "-m", "calltriage", "--protocol-era", era]
    listing = ["--method", "tools/list", "--strict", "--format", "json", "-q"]
    status, said, complaints = await output([*command, *listing], tmp_path)
    assert status == 0, said + complaints
    listed = json.loads(said)
    tools = listed.get("result", listed)["tools"]
    assert [tool["name"] for tool in tools] == [tool.tool_name() for tool in select([ALL])]


async def test_the_inspector_finds_the_board_at_the_tools_that_show_it(inspector: Path, tmp_path: Path) -> None:
    settings = ["-e", f"CALLTRIAGE_DATA_DIR={tmp_path / 'data'}"]
    command = [NODE, inspector, "--cli", *settings, sys.executable, "-m", "calltriage", "--protocol-era", "modern"]
    status, said, complaints = await output([*command, "--method", "tools/list", "--app-info", "-q"], tmp_path)
    assert status == 0, said + complaints
    shown = [json.loads(line) for line in said.splitlines() if BOARD in line]
    assert len(shown) == 2
    assert {name for name in ("get_issue", "get_evidence") if any(name in str(one) for one in shown)} == {
        "get_issue",
        "get_evidence",
    }


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = install(tmp_path_factory.mktemp("inspector"), INSPECTOR)
    entry = json.loads((modules / "@modelcontextprotocol" / "inspector" / "package.json").read_text())
    return modules / "@modelcontextprotocol" / "inspector" / entry["bin"]["mcp-inspector"]


async def test_the_linter_of_tool_definitions_has_no_warning(tmp_path: Path) -> None:
    server = f"{sys.executable} -m calltriage serve --toolsets all"
    settings = {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data")}
    status, said, complaints = await output(
        [BIN / "tdqs", "lint", "--command", server, "--fail-on", "warning"], tmp_path, **settings
    )
    assert status == 0, said + complaints
    assert f"{len(select([ALL]))} tools" in said
