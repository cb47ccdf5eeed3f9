"""The HTTP side in process: the gate before every route, and both wires answered in raw JSON-RPC."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_over_http import ACCEPT, NEWEST, ask, newest, served
from pydantic import SecretStr

from calltriage.client.client import Client
from calltriage.errors import SettingsError
from calltriage.server.app import build_server
from calltriage.server.toolsets import DEFAULT, OFFERING
from calltriage.server.transports.http import build_http_app

TOKEN = "t" * 32


async def test_initialize_is_answered_on_the_older_wire(client: Client) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with served(client) as http:
        answer = await ask(http, "initialize", hello)
        assert answer["protocolVersion"] == "2025-11-25"
        assert answer["serverInfo"]["name"] == "calltriage"
        assert answer["serverInfo"]["version"] == "1.2.3"
        assert answer["instructions"] == OFFERING.instructions(OFFERING.offered(DEFAULT))
        assert set(answer["capabilities"]) == {"tools", "resources", "prompts", "completions"}
        listed = await ask(http, "tools/list", {}, mcp_protocol_version="2025-11-25")
        assert len(listed["tools"]) <= 14
        asked = {"name": "list_issues", "arguments": {}}
        assert (await ask(http, "tools/call", asked, mcp_protocol_version="2025-11-25"))["isError"] is False


async def test_discover_and_a_call_are_answered_on_the_newest_wire_without_a_session(client: Client) -> None:
    async with served(client) as http:
        found = await ask(http, "server/discover", newest(), mcp_protocol_version=NEWEST, mcp_method="server/discover")
        assert NEWEST in found["supportedVersions"]
        assert found["instructions"] == OFFERING.instructions(OFFERING.offered(DEFAULT))
        assert "listChanged" not in json.dumps(found["capabilities"])  # no list changes while the server runs
        headers = {"mcp_protocol_version": NEWEST, "mcp_method": "tools/call", "mcp_name": "list_issues"}
        called = await ask(http, "tools/call", newest(name="list_issues", arguments={}), **headers)
        assert called["structuredContent"].items() >= {"items": [], "returned": 0, "complete": True}.items()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "attacker.example"}, 421),
        ({"host": "127.0.0.1.attacker.example:8000"}, 421),
        ({"origin": "https://attacker.example"}, 403),
        ({"origin": "http://localhost.attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "127.0.0.1:8000.attacker.example"}, 421),
        ({"host": "127.0.0.1:8000@attacker.example"}, 421),
        ({"host": "attacker@127.0.0.1"}, 421),
        ({"host": "127.0.0.1:*"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://localhost:8000.attacker.example"}, 403),
        ({"origin": "http://localhost:8000@attacker.example"}, 403),
        ({"origin": "https://localhost"}, 403),
        ({"origin": "file://localhost"}, 403),
        ({"origin": "http://localhost/"}, 403),
        ({"origin": ""}, 403),
    ],
)
async def test_requests_for_other_hosts_and_from_other_pages_are_refused(
    client: Client, headers: dict[str, str], status: int
) -> None:
    async with served(client) as http:
        answer = await http.post("/mcp", headers=ACCEPT | headers, json={})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "host", ["localhost:1", "127.0.0.1:65535", "[::1]:8000", "127.0.0.1", "[::1]", "LocalHost", "localhost:80"]
)
async def test_this_machine_is_served_under_each_of_its_names(client: Client, host: str) -> None:
    async with served(client) as http:
        listed = await ask(
            http, "tools/list", {}, host=host, origin=f"http://{host}", mcp_protocol_version="2025-11-25"
        )
    assert listed["tools"]


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"Bearer{TOKEN}", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize("path", ["/mcp", "/elsewhere"])
async def test_without_the_token_every_route_says_401_and_nothing_else(
    client: Client, given: str | None, path: str
) -> None:
    async with served(client, token=SecretStr(TOKEN)) as http:
        answer = await http.post(path, headers=ACCEPT | ({} if given is None else {"authorization": given}), json={})
    assert (answer.status_code, answer.text, answer.headers["www-authenticate"]) == (401, "", "Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
async def test_with_the_token_the_server_answers(client: Client, scheme: str) -> None:
    async with served(client, token=SecretStr(TOKEN)) as http:
        headers = {"authorization": f"{scheme} {TOKEN}", "mcp_protocol_version": "2025-11-25"}
        assert (await ask(http, "tools/list", {}, **headers))["tools"]


@pytest.mark.parametrize(
    "more", [{}, {"token": SecretStr(TOKEN)}, {"allowed_hosts": ("triage.example",)}], ids=["bare", "token", "hosts"]
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.9", "triage.example"])
async def test_off_loopback_a_token_and_the_names_are_asked_for(
    client: Client, host: str, more: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="CALLTRIAGE_HTTP_TOKEN"):
        build_http_app(build_server(client, version="0"), host=host, **more)


async def test_off_loopback_only_the_named_hosts_are_served(client: Client) -> None:
    gate = {"host": "0.0.0.0", "token": SecretStr(TOKEN), "allowed_hosts": ("triage.example",)}
    headers = {"authorization": f"Bearer {TOKEN}", "mcp_protocol_version": "2025-11-25"}
    async with served(client, "https://triage.example", **gate) as http:
        assert (await ask(http, "tools/list", {}, **headers, origin="https://triage.example"))["tools"]
        other = await http.post("/mcp", headers={**ACCEPT, **headers, "host": "other.example"}, json={})
        page = await http.post("/mcp", headers={**ACCEPT, **headers, "origin": "http://triage.example"}, json={})
    assert (other.status_code, page.status_code) == (421, 403)


@pytest.mark.parametrize(
    ("allowed", "host", "origin", "good"),
    [
        ("triage.example", "Triage.Example", "HTTPS://TRIAGE.example:443", True),
        ("triage.example", "triage.example:443", "https://triage.example", True),
        ("triage.example", "triage.example:80", "https://triage.example", True),
        ("triage.example", "triage.example:8443", None, False),
        ("triage.example", "triage.example", "https://triage.example:8443", False),
        ("triage.example", "sub.triage.example", None, False),
        ("triage.example:443", "triage.example", "https://triage.example", True),
        ("Triage.Example:8443", "triage.example:8443", "https://triage.example:8443", True),
        ("triage.example:8443", "triage.example", None, False),
        ("triage.example:8443", "triage.example:84430", None, False),
        ("triage.example:*", "triage.example:7", "https://triage.example:9", True),
        ("2001:db8::1", "[2001:DB8::1]", "https://[2001:db8::1]", True),
    ],
)
async def test_a_name_is_compared_whole_in_any_case_with_or_without_the_default_port(
    client: Client, allowed: str, host: str, origin: str | None, good: bool
) -> None:
    gate: dict[str, Any] = {"host": "0.0.0.0", "token": SecretStr(TOKEN), "allowed_hosts": (allowed,)}
    headers = {**ACCEPT, "authorization": f"Bearer {TOKEN}", "mcp-protocol-version": "2025-11-25", "host": host}
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with served(client, **gate) as http:
        answer = await http.post("/mcp", headers=headers | ({"origin": origin} if origin else {}), json=body)
    assert (answer.status_code == 200) is good, answer.text


@pytest.mark.parametrize("name", ["", "*", "a b", "ftp://triage.example", "triage.example:0", "a,b"])
async def test_a_name_that_is_none_stops_the_start(client: Client, name: str) -> None:
    gate: dict[str, Any] = {"host": "0.0.0.0", "token": SecretStr(TOKEN), "allowed_hosts": (name,)}
    with pytest.raises(SettingsError, match="CALLTRIAGE_HTTP_ALLOWED_HOSTS"):
        build_http_app(build_server(client, version="0"), **gate)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"\xff\xfe"])
async def test_a_body_that_is_no_message_is_a_client_error_and_the_next_is_answered(
    client: Client, body: bytes
) -> None:
    async with served(client) as http:
        answer = await http.post("/mcp", headers=ACCEPT | {"content-type": "application/json"}, content=body)
        assert 400 <= answer.status_code < 500
        assert "Traceback" not in answer.text
        assert (await ask(http, "tools/list", {}, mcp_protocol_version="2025-11-25"))["tools"]


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [
        ("GET", "/mcp", "0", 405),
        ("DELETE", "/mcp", "0", 405),
        ("PUT", "/mcp", "9", 405),
        ("POST", "/nothing", "9", 404),
        ("GET", "/nothing", "0", 404),
        ("POST", "/mcp", str(4 * 2**20 + 1), 413),
        ("POST", "/mcp", "x", 413),
    ],
)
async def test_no_body_is_read_before_path_method_and_size_allow_it(
    client: Client, method: str, path: str, length: str, status: int
) -> None:
    app = build_http_app(build_server(client, version="1", duplex=False), host="127.0.0.1", token=SecretStr(TOKEN))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8000"), (b"content-length", length.encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
    await app({**scope, "query_string": b""}, receive, send)
    assert sent.pop(0)["status"] == 401
    sent.clear()
    headers.append((b"authorization", f"Bearer {TOKEN}".encode()))
    await app({**scope, "query_string": b""}, receive, send)
    assert sent[0]["status"] == status
