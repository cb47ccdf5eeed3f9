"""The image, built from its file, answers over both wires as a container; official tools validate what deploys it.

The base image is made of Debian's packages, so that no registry of images is needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp_over_http import NEWEST, ask, newest
from networks import nobody
from npm import BIN, install

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
TOKEN = "token-for-tests-0123456789"
MIRROR = "http://deb.debian.org/debian"
TRUSTED = ("/etc/ssl/certs", "/etc/pip.conf", "/root/.config", "/opt")
"""What this machine needs to reach its registries, mounted for the build alone."""


def buildah(*arguments: str | Path) -> str:
    env = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    command = ["buildah", *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image, built on a Debian with Python."""
    for program in ("buildah", "mmdebstrap"):
        if shutil.which(program) is None or os.geteuid() != 0:
            pytest.skip(
                f"an image is built by root with Debian's packages buildah and mmdebstrap; {program} is missing"
            )
    base = tmp_path_factory.mktemp("base") / "base.tar"
    include = "--include=python3,python3-venv,ca-certificates"
    suite = Path("/etc/os-release").read_text(encoding="utf-8").partition("VERSION_CODENAME=")[2].split()[0]
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", include, suite, str(base), MIRROR], check=True, timeout=900
    )
    made = buildah("from", "scratch")
    buildah("add", "-q", made, base, "/")
    buildah("commit", "-q", "--rm", made, "localhost/calltriage-base:test")
    mounts = [f"--volume={path}:{path}:ro" for path in TRUSTED if Path(path).exists()]
    buildah(
        "build", "-q", "--format=docker", "--network=host", *mounts,
        "--build-arg=BASE=localhost/calltriage-base:test", f"--file={MANIFESTS / 'container' / 'Containerfile'}",
        f"--ignorefile={MANIFESTS / 'container' / 'Containerfile.dockerignore'}", "--tag=localhost/calltriage:test", ".",
    )  # fmt: skip
    container = buildah("from", "localhost/calltriage:test")
    yield container
    buildah("rm", container)
    buildah("rmi", "localhost/calltriage:test", "localhost/calltriage-base:test")


@asynccontextmanager
async def serving(container: str, port: int) -> AsyncGenerator[str]:
    """The server of the container on a port of this machine; its address."""
    variables = {
        "CALLTRIAGE_HTTP_TOKEN": TOKEN,
        "CALLTRIAGE_HTTP_ALLOWED_HOSTS": "calltriage.example.com",
    }
    command = [
        "buildah", "run", "--network=host", *(f"--env={name}={value}" for name, value in variables.items()),
        container, "--", "calltriage", "serve", "--http", "--host", "0.0.0.0", "--port", str(port),
    ]  # fmt: skip
    env = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    address = f"http://127.0.0.1:{port}"
    async with await anyio.open_process(command, env=env, start_new_session=True) as process:
        try:
            with anyio.fail_after(60):
                await until_ready(address)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with anyio.fail_after(60):
                await process.wait()


async def until_ready(address: str) -> None:
    async with httpx2.AsyncClient() as http:
        while True:
            try:
                if (await http.get(f"{address}/readyz")).status_code == 200:
                    return
            except httpx2.TransportError:
                await anyio.sleep(0.1)  # nothing tells when another program is ready


async def test_the_container_answers_on_both_wires(image: str) -> None:
    port = nobody()
    async with serving(image, port) as address, httpx2.AsyncClient(base_url=address, timeout=30) as http:
        probe = await http.get("/readyz", headers={"host": f"10.1.2.3:{port}"})
        assert probe.status_code == 200, "a probe names the pod's address"
        named = {"authorization": f"Bearer {TOKEN}", "host": "calltriage.example.com"}
        assert (await http.post("/mcp", headers=named | {"authorization": "Bearer other"}, json={})).status_code == 401
        older = await ask(http, "tools/list", {}, mcp_protocol_version="2025-11-25", **named)
        newer = await ask(http, "tools/list", newest(), mcp_protocol_version=NEWEST, mcp_method="tools/list", **named)
        assert [tool["name"] for tool in older["tools"]] == [tool["name"] for tool in newer["tools"]]
        assert "list_issues" in str(older)


def test_the_container_is_nobodys_who_can_change_it(image: str) -> None:
    assert buildah("run", image, "--", "id", "-u") == "65532"
    assert buildah("run", image, "--", "sh", "-c", "find /app -writable -not -type l | head -1") == ""
    assert buildah("run", image, "--", "sh", "-c", "touch /data/x && rm /data/x && echo done") == "done"
    assert buildah("run", image, "--", "sh", "-c", "stat -c %a /data") == "700"
    assert "0." in buildah("run", image, "--", "calltriage", "--version")


def test_kubernetes_takes_each_resource() -> None:
    files = [str(path) for path in (MANIFESTS / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"]
    command = [str(BIN / "uvx") if (BIN / "uvx").exists() else "uvx", "kubernetes-validate==1.37.0", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_takes_the_file(tmp_path: Path) -> None:
    linter = install(tmp_path, "dclint@3.1.0") / ".bin" / "dclint"
    command = [str(linter), "--quiet", str(MANIFESTS / "container" / "compose.yaml")]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (MANIFESTS / "systemd" / "calltriage.service").read_text(encoding="utf-8")
    unit = tmp_path / "calltriage.service"
    unit.write_text(text.replace("/opt/calltriage/bin/calltriage", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr
