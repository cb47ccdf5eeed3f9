"""The README's proxy with TLS stands before a real server, and everything comes through it."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme
from e2e.processes import started
from mcp_over_http import NEWEST, ask, newest
from networks import nobody

pytestmark = pytest.mark.slow
README = Path(__file__).parents[2] / "README.md"
NAME = "calltriage.example.com"
TOKEN = "token-for-tests-0123456789"


def snippet() -> str:
    """What the README shows of nginx's configuration."""
    found = re.search(r"```nginx\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def configuration(folder: Path, port: int, behind: str) -> str:
    """The snippet, with this test's ports and files in the place of the machine's."""
    text = snippet()
    for here, there in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/calltriage.pem", f"{folder}/chain.pem"),
        ("/etc/ssl/calltriage.key", f"{folder}/key.pem"),
        ("http://127.0.0.1:8000", behind),
    ):
        assert here in text
        text = text.replace(here, there)
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n{text}}}\n"


@asynccontextmanager
async def proxied(folder: Path, behind: str, port: int) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client whose requests to the public name go through nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME, "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for piece in certificate.cert_chain_pems:
        piece.write_to_path(folder / "chain.pem", append=True)
    (folder / "nginx.conf").write_text(configuration(folder, port, behind), encoding="utf-8")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
        try:
            async with httpx2.AsyncClient(verify=trusted, base_url=f"https://127.0.0.1:{port}", timeout=30) as http:
                with anyio.fail_after(30):
                    await until_it_listens(http)
                yield http
        finally:
            process.terminate()
            await process.wait()


async def until_it_listens(http: httpx2.AsyncClient) -> None:
    while True:
        try:
            await http.get("/healthz")
        except httpx2.TransportError:
            await anyio.sleep(0.05)  # nothing tells when another program is ready
        else:
            return


async def test_a_server_is_reached_through_the_readmes_proxy(tmp_path: Path) -> None:
    port = nobody()
    settings = {
        "CALLTRIAGE_HTTP_TOKEN": TOKEN,
        "CALLTRIAGE_HTTP_ALLOWED_HOSTS": NAME,
        "CALLTRIAGE_HTTP_PUBLIC_URL": f"https://{NAME}",
    }
    serve = ("serve", "--http", "--port", "0")
    async with (
        started(tmp_path, *serve, **settings) as address,
        proxied(tmp_path, address.removesuffix("/mcp"), port) as http,
    ):
        named = {"host": NAME, "authorization": f"Bearer {TOKEN}"}
        listed = await ask(http, "tools/list", newest(), mcp_protocol_version=NEWEST, mcp_method="tools/list", **named)
        assert "create_attachment" in str(listed)
        made = await ask(
            http, "tools/call", newest(name="create_attachment", arguments={"name": "a.txt", "upload": "new"}),
            mcp_protocol_version=NEWEST, mcp_method="tools/call", mcp_name="create_attachment", **named,
        )  # fmt: skip
        link = made["structuredContent"]["upload"]["url"]
        assert link.startswith(f"https://{NAME}/")
        sent = await http.put(link.removeprefix(f"https://{NAME}"), content=b"x" * 2**21, headers={"host": NAME})
        assert sent.status_code < 300, sent.text
        foreign = await http.post("/mcp", json={}, headers={"host": "other.example.com"})
        assert foreign.status_code in {400, 403, 421}
