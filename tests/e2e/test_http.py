"""The server over Streamable HTTP, and the desk on a port as a vendor would be."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import anyio
import httpx2
import pytest
from conftest import CALLS
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from e2e.processes import PATIENCE, ask, load, over_stdio, run, started
from mcp.client import Client

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_both_protocol_generations_are_served_over_http(tmp_path: Path, era: Literal["legacy", "auto"]) -> None:
    await load(tmp_path, *CALLS)
    async with started(tmp_path, "serve", "--http", "--port", "0") as address, Client(address, mode=era) as client:
        wire = "2025-11-25" if era == "legacy" else "2026-07-28"
        assert client.protocol_version == wire
        issue = await ask(client, "create_issue", title="Over HTTP", severity="low", category="Bug")
        link = {"issue_id": issue["triage_id"], "resource_type": "call", "resource_id": "call-hours"}
        assert (await ask(client, "attach_resource", **link))["outcome"] == "committed"
        assert len((await client.list_resource_templates()).resource_templates) == 4
        stored = await client.call_tool("create_attachment", {"path": "report.md"})
        assert (stored.structured_content or {})["error"]["code"] == "path_not_allowed"


async def test_a_watcher_is_told_that_the_server_stops(tmp_path: Path) -> None:
    """A stream has no end of its own: it must not be cut, nor hold up the stop until it is."""
    stopping = AsyncExitStack()
    address = await stopping.enter_async_context(started(tmp_path, "serve", "--http", "--port", "0"))
    async with (
        Client(address) as client,
        client.listen(resource_subscriptions=["triage://flag-types"]) as stream,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stopping.aclose)
        with anyio.fail_after(PATIENCE):
            assert [event async for event in stream] == []  # a stream that is cut raises SubscriptionLost


async def test_requests_from_elsewhere_are_refused(tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--http", "--port", "0") as address, httpx2.AsyncClient() as http:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        foreign_host = await http.post(address, json=ping, headers={"host": "attacker.example"})
        foreign_page = await http.post(address, json=ping, headers={"origin": "https://attacker.example"})
    assert (foreign_host.status_code, foreign_page.status_code) == (421, 403)


async def test_the_desk_on_a_port_refuses_what_comes_from_elsewhere(tmp_path: Path) -> None:
    _, key, _ = await run(tmp_path, "desk", "keys", "show")
    names = {
        "CALLTRIAGE_DESK_PUBLIC_URL": "https://desk.example.com/calltriage",
        "CALLTRIAGE_DESK_ALLOWED_HOSTS": "desk.internal:8765",
    }
    tried: list[tuple[dict[str, str], int]] = [
        ({"host": "attacker.example"}, 421),
        ({"host": "127.0.0.1:1.attacker.example"}, 421),
        ({"origin": "https://attacker.example"}, 403),
        ({"origin": "http://127.0.0.1.attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "desk.example.com", "origin": "https://DESK.example.com:443"}, 200),
        ({"host": "desk.internal:8765"}, 200),
    ]
    async with started(tmp_path, "desk", "serve", "--port", "0", **names) as desk, httpx2.AsyncClient() as http:
        for headers, status in tried:
            for path in ("/v1/triage/issues", "/openapi.json"):
                known = {"authorization": f"bEARER {key.strip()}", **headers}
                assert (await http.get(f"{desk}{path}", headers=known)).status_code == status, headers


async def test_off_loopback_the_server_refuses_to_start_without_a_token(tmp_path: Path) -> None:
    status, _, complaint = await run(tmp_path, "serve", "--http", "--host", "0.0.0.0", "--port", "0")
    assert status == 1
    assert "CALLTRIAGE_HTTP_TOKEN" in complaint
    assert "Traceback" not in complaint


async def test_a_bearer_token_is_asked_for_where_one_is_set(tmp_path: Path) -> None:
    token = "t" * 32
    async with (
        started(tmp_path, "serve", "--http", "--port", "0", CALLTRIAGE_HTTP_TOKEN=token) as address,
        httpx2.AsyncClient() as http,
    ):
        assert (await http.post(address, json={})).status_code == 401
        wrong = {"authorization": "Bearer " + "x" * 32}
        assert (await http.post(address, json={}, headers=wrong)).status_code == 401
        right = {"authorization": f"Bearer {token}"}
        assert (await http.post(address, json={}, headers=right)).status_code == 400


async def test_the_server_works_against_a_desk_on_a_port_as_against_the_vendors(tmp_path: Path) -> None:
    await load(tmp_path, *CALLS)
    _, key, _ = await run(tmp_path, "desk", "keys", "show")
    async with started(tmp_path, "desk", "serve", "--port", "0") as desk:
        vendors = {
            "CALLTRIAGE_BLAND_API_KEY": key.strip(),
            "CALLTRIAGE_BLAND_BASE_URL": desk,
            "CALLTRIAGE_TALKDESK_CLIENT_ID": "desk",
            "CALLTRIAGE_TALKDESK_CLIENT_SECRET": key.strip(),
            "CALLTRIAGE_TALKDESK_BASE_URL": desk,
            "CALLTRIAGE_TALKDESK_TOKEN_URL": f"{desk}/oauth/token",
        }
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "recording.wav").write_bytes(bytes(range(256)) * 4096)
        async with Client(over_stdio(elsewhere, **vendors)) as client:
            issue = await ask(client, "create_issue", title="By wire", severity="low", category="Bug")
            stored = await ask(client, "create_attachment", path="recording.wav", attach_to=issue["triage_id"])
            assert stored["size"] == 2**20
            assert stored["type"] in {"audio/x-wav", "audio/wav"}
            assert stored["evidence"]["outcome"] == "committed"
        status, said, _ = await run(elsewhere, "doctor", **vendors)
        assert status == 0, said
        assert key.strip() not in said
        assert not (elsewhere / "data" / "desk.sqlite3").exists(), "a server on the vendors must not make a desk"
        async with httpx2.AsyncClient(base_url=desk, headers={"authorization": key.strip()}) as http:
            listed = (await http.get("/v1/triage/issues")).json()["data"]["items"]
            assert [one["resource_count"] for one in listed] == [1]


async def test_a_client_signs_in_to_the_desk_with_a_key_that_was_added_to_it(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der, pem = serialization.Encoding.DER, serialization.Encoding.PEM
    private = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    status, key_id, complaint = await run(tmp_path, "desk", "keys", "add", "--public-key", "key.pem")
    assert (status, complaint) == (0, "")
    (tmp_path / "none.pem").write_text("canary")
    status, said, complaint = await run(tmp_path, "desk", "keys", "add", "--public-key", "none.pem")
    assert (status, said) == (1, "")
    assert "PEM" in complaint
    assert "canary" not in complaint
    async with started(tmp_path, "desk", "serve", "--port", "0") as desk:
        signs = {
            "CALLTRIAGE_TALKDESK_CLIENT_ID": "desk",
            "CALLTRIAGE_TALKDESK_PRIVATE_KEY": base64.b64encode(private).decode(),
            "CALLTRIAGE_TALKDESK_KEY_ID": key_id.strip(),
            "CALLTRIAGE_TALKDESK_BASE_URL": desk,
            "CALLTRIAGE_TALKDESK_TOKEN_URL": f"{desk}/oauth/token",
        }
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        async with Client(over_stdio(elsewhere, **signs)) as client:
            assert (await ask(client, "create_attachment", name="a.txt", text="signed"))["size"] == 6


async def test_many_clients_at_once_each_get_their_own_answers(tmp_path: Path) -> None:
    """Every client numbers its requests alike; none may hear another's answer."""
    async with started(tmp_path, "serve", "--http", "--port", "0") as address:

        async def one(number: int) -> None:
            async with Client(address) as client:
                for _ in range(3):
                    title = f"client {number}"
                    new = {"title": title, "severity": "low", "category": "Bug", "on_duplicate": "create"}
                    made = await ask(client, "create_issue", **new)
                    assert made["title"] == title
                    assert (await ask(client, "get_issue", issue_id=made["id"]))["title"] == title

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)


async def test_a_desk_behind_a_public_url_hands_out_links_that_begin_with_it(tmp_path: Path) -> None:
    _, key, _ = await run(tmp_path, "desk", "keys", "show")
    known_as = "https://desk.example.com/below"
    serve = ("desk", "serve", "--host", "0.0.0.0", "--port", "0", "--public-url", known_as)
    async with started(tmp_path, *serve) as address:
        here = address.replace("0.0.0.0", "127.0.0.1")
        async with httpx2.AsyncClient(base_url=here) as http:
            form = {"grant_type": "client_credentials"}
            token = (await http.post("/oauth/token", data=form, auth=("desk", key.strip()))).json()["access_token"]
            bearer = {"authorization": f"Bearer {token}"}
            link = (await http.post("/attachments/2023-03/upload-link", json={}, headers=bearer)).json()
            assert link["url"].startswith(f"{known_as}/blobs/")
            sent = await http.put(link["url"].removeprefix(known_as), content=b"abc")
            assert sent.status_code == 200


async def test_a_signal_ends_both_servers_cleanly(tmp_path: Path) -> None:
    for command in (("serve", "--http"), ("desk", "serve")):
        async with started(tmp_path, *command, "--port", "0") as address:
            assert address
