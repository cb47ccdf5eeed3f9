"""What is published installs into an empty environment and starts there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import anyio
import pytest
from e2e.processes import environment
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


async def test_a_wheel_built_from_the_tree_installs_and_starts_in_an_empty_environment(tmp_path: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path; `uv run --group dev pytest` brings it")
    folder = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    for command in (
        [uv, "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)],
        [uv, "venv", "--python", sys.executable, str(tmp_path / "venv")],
        [uv, "pip", "install", "--python", str(folder / "python"), "--find-links", str(tmp_path), "calltriage==0.1.0"],
    ):
        with anyio.fail_after(300):
            done = await anyio.run_process(command, check=False, cwd=tmp_path, env=environment())
        assert done.returncode == 0, done.stderr.decode()
    server = StdioServerParameters(
        command=str(folder / "calltriage"), env=environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data")), cwd=tmp_path
    )
    async with Client(server) as client:
        assert client.server_info is not None
        assert client.server_info.version == "0.1.0"
        result = await client.call_tool("create_issue", {"title": "T", "severity": "low", "category": "Bug"})
        assert not result.is_error
