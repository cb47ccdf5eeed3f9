"""Foreign tools and clients from npm, run by the Node that the development dependencies bring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
NODE = BIN / "node"
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")
"""npm's error codes for a registry that cannot be reached."""


def install(folder: Path, *packages: str) -> Path:
    """Install packages into a folder and return its `node_modules`; skips the test where the registry is out of reach."""
    quiet = ("--loglevel=error", "--no-audit", "--no-fund", "--fetch-retries=1")
    command = [BIN / "npm", "install", *quiet, "--prefix", folder, *packages]
    installed = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if installed.returncode != 0 and any(f"code {code}" in installed.stderr for code in UNREACHABLE):
        pytest.skip(f"the npm registry is out of reach, and {', '.join(packages)} comes from there")
    assert installed.returncode == 0, installed.stderr
    return folder / "node_modules"
