"""A credential that is replaced in the settings file while a server runs."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from faults import Inner, over_sockets

from calltriage.client.client import Client
from calltriage.errors import CallError, Unauthenticated
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.base import Operation
from calltriage.operations.calls import GetCallRecording
from calltriage.operations.flags import ListFlagTypes
from calltriage.operations.issues import CreateIssue
from calltriage.settings import load_settings
from calltriage.wiring import open_wired_client

FLAG_TYPES = ListFlagTypes()
ATTACHMENT = GetAttachment(attachment_id="a")
FIRST, SECOND = "key-AAAAAAAAAAAAAAAA", "key-BBBBBBBBBBBBBBBB"


@dataclass
class Vendor:
    """Both vendors at one address; `accepts` is in the Authorization header of who is let in."""

    accepts: str
    came: list[str] = field(default_factory=list[str])
    key_ids: list[str] = field(default_factory=list[str])
    url: str = ""

    async def answer(self, request: httpx2.Request, _: Inner) -> httpx2.Response:
        path, shown = request.url.path, request.headers.get("authorization", "")
        self.came.append(f"{path} {shown}")
        good = self.accepts in _plain(shown) or shown == "Bearer token"
        body: dict[str, Any] = {"data": {"items": [], "next_cursor": None}, "errors": None}
        if path == "/oauth/token":
            body = {"access_token": "token", "expires_in": 599}
            form = parse_qs((await request.aread()).decode())
            self.key_ids += [jwt.get_unverified_header(one)["kid"] for one in form.get("client_assertion", [])]
        elif path.startswith("/attachments"):
            body = {"id": "a", "name": "n", "state": "published"}
        return httpx2.Response(200 if good else 401, json=body if good else {})


def _plain(shown: str) -> str:
    return base64.b64decode(shown[6:]).decode() if shown.startswith("Basic ") else shown


@asynccontextmanager
async def running(folder: Path, vendor: Vendor, **first: str) -> AsyncGenerator[tuple[Client, Path]]:
    """A client on the settings of a file, in which @ stands for where the vendor is."""
    file = folder / "settings.env"
    async with over_sockets(vendor.answer, httpx2.MockTransport(lambda _: httpx2.Response(500))) as url:
        vendor.url = url
        write(file, vendor, **first)
        settings = load_settings(file, data_dir=folder / "data")
        async with open_wired_client(settings) as (client, _, _):
            yield client, file


def write(file: Path, vendor: Vendor, **settings: str) -> None:
    lines = [f"CALLTRIAGE_{name.upper()}={value}" for name, value in settings.items()]
    file.write_text("\n".join(lines).replace("@", vendor.url) + "\n", encoding="utf-8")


async def asked(client: Client, operation: Operation[Any]) -> CallError | None:
    try:
        with anyio.fail_after(20):
            await client.send(operation)
    except CallError as error:
        return error
    return None


def bland(key: str) -> dict[str, str]:
    return {"bland_api_key": key, "bland_base_url": "@"}


def talkdesk(client_id: str = "client", **proof: str) -> dict[str, str]:
    return {
        "talkdesk_client_id": client_id, "talkdesk_token_url": "@/oauth/token", "talkdesk_base_url": "@", **proof
    }  # fmt: skip


async def test_a_new_api_key_counts_for_a_file_too(tmp_path: Path) -> None:
    """The audio of a call comes another way than JSON does."""
    vendor = Vendor(FIRST)
    async with running(tmp_path, vendor, **bland(FIRST)) as (client, file):
        vendor.accepts = SECOND
        write(file, vendor, **bland(SECOND))
        with anyio.fail_after(20):
            async with client.stream(GetCallRecording(call_id="c-1")) as fetch:
                assert fetch.status == 200
        assert [line.split(" ")[1] for line in vendor.came] == [FIRST, SECOND]
        vendor.accepts = "neither"
        with pytest.raises(Unauthenticated):
            async with client.stream(GetCallRecording(call_id="c-1")):
                pass


@pytest.mark.parametrize(
    "operation", [FLAG_TYPES, CreateIssue(title="t", severity="low", category="c")], ids=["read", "write"]
)
async def test_a_new_api_key_in_the_file_counts_at_the_first_refusal(tmp_path: Path, operation: Operation[Any]) -> None:
    vendor = Vendor(FIRST)
    async with running(tmp_path, vendor, **bland(FIRST)) as (client, file):
        assert await asked(client, FLAG_TYPES) is None
        vendor.accepts = SECOND
        write(file, vendor, **bland(SECOND))
        vendor.came.clear()
        error = await asked(client, operation)
        assert not isinstance(error, Unauthenticated), "the vendor of this test answers a list to a write"
        assert [line.split(" ")[1] for line in vendor.came[:2]] == [FIRST, SECOND]
        vendor.came.clear()
        assert await asked(client, FLAG_TYPES) is None
        assert [line.split(" ")[1] for line in vendor.came] == [SECOND], "the new one is kept"


async def test_of_calls_at_once_each_goes_on_with_the_new_key(tmp_path: Path) -> None:
    vendor = Vendor(SECOND)
    async with running(tmp_path, vendor, **bland(FIRST)) as (client, file):
        write(file, vendor, **bland(SECOND))
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(client.send, FLAG_TYPES)


@pytest.mark.parametrize(
    "later",
    [
        {"bland_api_key": FIRST, "bland_base_url": "@"},
        {"bland_api_key": SECOND, "bland_base_url": "https://elsewhere.example"},
        {"bland_base_url": "@"},
        {"bland_api_key": SECOND, "bland_base_url": "@", "deadline_s": "soon"},
        {"bland_api_key": "'a b'", "bland_base_url": "@"},
        None,
    ],
    ids=[
        "the same key",
        "for another place",
        "no key",
        "a file that is wrong",
        "no key that a header carries",
        "no file",
    ],
)
async def test_a_refusal_stands_where_the_file_has_no_other_key(tmp_path: Path, later: dict[str, str] | None) -> None:
    vendor = Vendor("nothing")
    async with running(tmp_path, vendor, **bland(FIRST)) as (client, file):
        if later is None:
            file.unlink()
        else:
            write(file, vendor, **later)
        assert isinstance(await asked(client, FLAG_TYPES), Unauthenticated)
    assert [line.split(" ")[1] for line in vendor.came] == [FIRST]


async def test_the_environment_wins_over_the_file_then_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor(SECOND)
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", FIRST)
    async with running(tmp_path, vendor, bland_base_url="@") as (client, file):
        write(file, vendor, **bland(SECOND))
        assert isinstance(await asked(client, FLAG_TYPES), Unauthenticated)
    assert {line.split(" ")[1] for line in vendor.came} == {FIRST}


async def test_a_new_client_secret_in_the_file_counts_at_the_first_refusal(tmp_path: Path) -> None:
    vendor = Vendor(FIRST)
    async with running(tmp_path, vendor, **talkdesk(talkdesk_client_secret=SECOND)) as (client, file):
        write(file, vendor, **talkdesk(talkdesk_client_secret=FIRST))
        assert await asked(client, ATTACHMENT) is None
        assert [line.split(" ", 1)[0] for line in vendor.came[:2]] == ["/oauth/token"] * 2
        assert [_plain(line.split(" ", 1)[1]) for line in vendor.came[:2]] == [f"client:{SECOND}", f"client:{FIRST}"]


async def test_a_new_signing_key_in_the_file_counts_at_the_first_refusal(tmp_path: Path) -> None:
    def proof(key_id: str) -> dict[str, str]:
        return talkdesk(talkdesk_private_key=key_in_base64(), talkdesk_key_id=key_id)

    vendor = Vendor(FIRST)
    async with running(tmp_path, vendor, **proof("first")) as (client, file):
        assert isinstance(await asked(client, ATTACHMENT), Unauthenticated)
        assert vendor.key_ids == ["first"], "the file holds no other one"
        write(file, vendor, **proof("second"))
        assert isinstance(await asked(client, ATTACHMENT), Unauthenticated), "this vendor takes secrets alone"
        assert vendor.key_ids == ["first", "first", "second"]
        write(file, vendor, **talkdesk(talkdesk_client_secret=FIRST))
        assert await asked(client, ATTACHMENT) is None


def key_in_base64() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


async def test_a_secret_of_another_client_is_not_shown(tmp_path: Path) -> None:
    vendor = Vendor(FIRST)
    async with running(tmp_path, vendor, **talkdesk(talkdesk_client_secret=SECOND)) as (client, file):
        write(file, vendor, **talkdesk("other", talkdesk_client_secret=FIRST))
        assert isinstance(await asked(client, ATTACHMENT), Unauthenticated)
    assert len(vendor.came) == 1


async def test_a_new_key_in_a_file_of_its_own_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, own = Vendor(SECOND), tmp_path / "secret"
    own.write_text(f"{FIRST}\n", encoding="utf-8")
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY_FILE", str(own))
    async with running(tmp_path, vendor, bland_base_url="@") as (client, _):
        own.write_text(f"{SECOND}\n", encoding="utf-8")
        assert await asked(client, FLAG_TYPES) is None
    assert [line.split(" ")[1] for line in vendor.came] == [FIRST, SECOND]
