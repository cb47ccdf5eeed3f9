"""What a holder of the HTTP token can do with handles of its own making: nothing to any file of the server's."""

from __future__ import annotations

import hmac
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from e2e.processes import PATIENCE, ask, complaint, over_stdio, run, started
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from calltriage.leaves.seals import Seals
from calltriage.server.call.question_states import STATE
from calltriage.server.tools.attachments import KEPT

pytestmark = pytest.mark.slow

TOKEN, SECRET = "t" * 32, "s" * 32
NAME = "0123456789abcdef" * 2


def by_the_token(purpose: bytes) -> Seals:
    """What a holder of the token can seal with: the token itself, or a key that is derived from it."""
    return Seals(lambda: hmac.digest(TOKEN.encode(), purpose, "sha256") if purpose else TOKEN.encode())


def forms(private: Path) -> list[object]:
    """Every form of a path, and what is none."""
    up = os.path.relpath(private, private.parent / "data" / "uploads")
    return [
        str(private), up, f"../{NAME}", "..", ".", "", "/", f"./{NAME}", f"{NAME}/", f"{NAME}/../{NAME}", f"//{NAME}",
        quote(str(private), safe=""), quote(up, safe=""), up.replace("/", "\\"), f"C:\\{NAME}", f"file://{private}",
        f"{NAME}\0", f"\0{NAME}", f"{NAME}\n", f" {NAME}", f"{NAME}.used", f"{NAME}.lock", f"{NAME}.part", f"{NAME}::$DATA",
        NAME.upper(), NAME[:-1], NAME + "0", NAME * 20, "０" * 32, "é" * 32, "\u202e" + NAME[1:], "desk.sqlite3", "~", "-",
        None, 7, 0.5, True, [NAME], [str(private)], {"name": NAME}, {"0": str(private)},
    ]  # fmt: skip


@pytest.mark.parametrize("sealing", ["with the server's own secret", "with the token"])
async def test_no_handle_of_any_kind_reaches_a_file_by_any_form_of_a_path(tmp_path: Path, sealing: str) -> None:
    """With the secret too, so that the seal is not the only thing that stands before the files."""
    own = sealing == "with the server's own secret"
    makers = [Seals(SECRET.encode)] if own else [by_the_token(b""), by_the_token(b"calltriage handover")]
    private = tmp_path / "private.txt"
    private.write_text("not yours")
    values = forms(private) if own else [NAME, *forms(private)[:3]]
    settings = {"CALLTRIAGE_SEALING_KEY": SECRET, "CALLTRIAGE_HTTP_TOKEN": TOKEN, "CALLTRIAGE_WRITES_PER_MINUTE": "0"}
    async with (
        started(tmp_path, "serve", "--http", "--port", "0", "--toolsets", "all", **settings) as address,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE) as http,
        Client(streamable_http_client(address, http_client=http)) as agent,
    ):
        await ask(agent, "create_attachment", text="makes the folders", name="a.txt")
        before = tree(tmp_path)
        base = address.removesuffix("/mcp")
        for handle in handles(makers, values):
            put = await http.put(f"{base}/uploads/{handle}", content=b"overwritten")
            assert put.status_code == 403, handle
            got = await http.get(f"{base}/downloads/{handle}")
            assert got.status_code in {403, 404}, handle
            error = await complaint(agent, "create_attachment", upload=handle, name="b.txt")
            assert error["code"] == ("upload_not_found" if len(handle) <= 600 else "invalid_arguments"), handle
        for raw in ("../../private.txt", quote(str(private), safe=""), str(private), "%2e%2e%2fprivate.txt"):
            assert (await http.put(f"{base}/uploads/{raw}", content=b"overwritten")).status_code in {403, 404}
        after = tree(tmp_path)
    assert after == before
    assert private.read_text() == "not yours"


def handles(makers: Iterable[Seals], values: Iterable[object]) -> Iterator[str]:
    """Handles of every kind, with a value in each place that a handle of the kind has."""
    for maker, value in itertools.product(makers, values):
        for kind in ("upload", STATE):
            yield maker.sealed(kind, 3600, value)
        yield maker.sealed("download", 3600, value, "a.txt", "text/plain", 9)
        yield maker.sealed(KEPT, 3600, value, value, value, value)
    for maker in makers:
        yield maker.sealed("upload", 3600)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file but the databases, which the server itself writes to."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if ".sqlite3" not in path.name
    }


@pytest.mark.parametrize("kind", ["a link to a file", "a link to a folder", "a folder", "a pipe", "a link to nothing"])
async def test_what_is_no_file_under_a_handle_s_name_is_not_followed(tmp_path: Path, kind: str) -> None:
    private = tmp_path / "private.txt"
    private.write_text("not yours")
    settings = {"CALLTRIAGE_HTTP_TOKEN": TOKEN}
    async with (
        started(tmp_path, "serve", "--http", "--port", "0", "--toolsets", "all", **settings) as address,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE) as http,
        Client(streamable_http_client(address, http_client=http)) as agent,
    ):
        uploads = tmp_path / "data" / "uploads"
        for ending in ("", ".lock", ".used"):
            offer = (await ask(agent, "create_attachment", upload="new"))["upload"]
            if ending:
                assert (await http.put(offer["url"], content=b"mine")).status_code == 200
                name = next(path.name for path in uploads.iterdir() if "." not in path.name)
            else:
                uploads.mkdir()
                name = Seals((tmp_path / "data" / "sealing.key").read_bytes).opened("upload", offer["handle"])
                assert name is not None
                (name,) = name
            place = uploads / f"{name}{ending}"
            match kind:
                case "a folder":
                    place.mkdir()
                case "a pipe":
                    os.mkfifo(place)
                case _:
                    target = {"a link to a file": private, "a link to a folder": tmp_path}
                    place.symlink_to(target.get(kind, tmp_path / "new"))
            if not ending:
                assert (await http.put(offer["url"], content=b"overwritten")).status_code == 409
            await complaint(agent, "create_attachment", upload=offer["handle"], name="b.txt")
            for path in uploads.iterdir():
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert private.read_text() == "not yours"
    assert not (tmp_path / "new").exists()


async def test_an_uploads_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with (
        started(tmp_path, "serve", "--http", "--port", "0") as address,
        httpx2.AsyncClient(timeout=PATIENCE) as http,
        Client(streamable_http_client(address, http_client=http)) as agent,
    ):
        offer = (await ask(agent, "create_attachment", upload="new"))["upload"]
        (tmp_path / "data" / "uploads").symlink_to(elsewhere)
        assert (await http.put(offer["url"], content=b"x")).status_code == 503
    assert list(elsewhere.iterdir()) == []


async def test_servers_without_a_folder_in_common_open_one_another_s_handles_by_a_configured_key(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    key = {"CALLTRIAGE_SEALING_KEY_FILE": str(tmp_path / "secret")}
    command = ("serve", "--http", "--port", "0")
    async with (
        started(tmp_path / "one", *command, **key) as one,
        started(tmp_path / "two", *command, **key) as two,
        httpx2.AsyncClient(timeout=PATIENCE) as http,
        Client(one) as agent,
    ):
        offer = (await ask(agent, "create_attachment", upload="new"))["upload"]
        url = f"{two.removesuffix('/mcp')}/uploads/{offer['handle']}"
        assert (await http.put(url, content=b"x")).status_code == 200
    assert not list(tmp_path.glob("*/data/sealing.key")), "none is made beside the configured one"
    for wrong, said in (("short", "SEALING_KEY"), ("", "not both")):
        both = {"CALLTRIAGE_SEALING_KEY": SECRET, **key} if not wrong else {"CALLTRIAGE_SEALING_KEY": wrong}
        status, _, told = await run(tmp_path / "one", *command, **both)
        assert (status, said in told, wrong in told.split()) == (1, True, False), told
    status, _, told = await run(tmp_path / "one", *command, CALLTRIAGE_SEALING_KEY_FILE=str(tmp_path / "none"))
    assert status == 1
    assert "CALLTRIAGE_SEALING_KEY_FILE" in told


async def test_the_secret_of_a_folder_is_its_owner_s_alone_and_outlives_the_server(tmp_path: Path) -> None:
    key = tmp_path / "data" / "sealing.key"
    before, handle = "", ""
    for _ in range(2):
        async with started(tmp_path, "serve", "--http", "--port", "0") as address, Client(address) as agent:
            if not handle:
                handle = (await ask(agent, "create_attachment", upload="new"))["upload"]["handle"]
            async with httpx2.AsyncClient(timeout=PATIENCE) as http:
                url = f"{address.removesuffix('/mcp')}/uploads/{handle}"
                assert (await http.put(url, content=b"x")).status_code == (409 if before else 200)
        assert before in {"", key.read_text()}
        before = key.read_text()
    assert len(before) >= 32
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("made", "helps"), [("data", "CALLTRIAGE_DATA_DIR"), ("data/sealing.key/x", "CALLTRIAGE_SEALING_KEY")]
)
async def test_a_folder_in_which_no_secret_can_be_made_ends_the_start_over_http_alone(
    tmp_path: Path, made: str, helps: str
) -> None:
    """A file in the folder's place ends it whatever the key; where the secret alone has no place, another key helps."""
    (tmp_path / made).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (tmp_path / made).write_text("a file")
    status, _, told = await run(tmp_path, "serve", "--http", "--port", "0")
    assert status == 1
    assert helps in told
    assert "Traceback" not in told
    async with Client(over_stdio(tmp_path)) as agent:
        assert (await agent.list_tools()).tools
