"""What an operator is told about a desk that does not work."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio import to_thread
from anyio.abc import SocketStream
from faults import http_answer, says, tcp_server
from networks import nobody
from postgres import PostgresServer
from pydantic import SecretStr

from calltriage.cli.doctor import examine
from calltriage.cli.main import cli
from calltriage.journal.journal import FILE
from calltriage.settings import Settings, load_settings


async def test_a_folder_that_cannot_be_used_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "file").touch()
    assert not await examine(Settings(data_dir=tmp_path / "file"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be used" in line]
    assert [line.split()[1] for line in lines] == ["Triage", "Attachments", "Journal", "Store", "Data"]
    assert all("point CALLTRIAGE_DATA_DIR elsewhere" in line for line in lines)


async def test_the_open_folders_are_tried_and_said_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    there = tmp_path / "[dev]" / "x[]"
    there.mkdir(parents=True)
    (tmp_path / "file").touch()
    roots = [there, tmp_path / "absent", tmp_path / "file"]
    for named, good in (("none", True), (":".join(map(str, roots)), False)):
        monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", named)
        assert await examine(load_settings(data_dir=tmp_path / "desk")) is good
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "Local files" in line]
    assert [line[0] for line in lines] == ["✓", "✓", "✗", "✗"]
    assert [line[1].removeprefix("Local files").strip() for line in lines[:2]] == [
        "none",
        f"{there}, read and written to",
    ]
    assert all("CALLTRIAGE_ALLOWED_ROOTS" in line[1] for line in lines[2:])
    assert list(there.iterdir()) == []


@pytest.mark.slow
async def test_the_transcripts_kept_of_a_vendor_are_measured_and_one_command_removes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    folder = tmp_path / "transcripts"

    async def line(**given: Any) -> str:
        await examine(load_settings(data_dir=tmp_path, **given))
        return next((one for one in capsys.readouterr().out.splitlines() if "Transcripts" in one), "")

    vendor = {"bland_api_key": SecretStr("k" * 20), "bland_base_url": "http://127.0.0.1:9"}
    assert await line() == ""
    assert f"0 of a vendor's calls kept in {folder}, 0.0 MiB, at most 64 MiB" in await line(**vendor)
    assert await line(**vendor, transcript_cache="off") == ""
    folder.mkdir(mode=0o700)
    (folder / "a.json").write_bytes(bytes(2**20))
    assert "1 of a vendor's calls" in await line()
    assert "1.0 MiB, none are added" in await line(**vendor, transcript_cache="off")
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path))
    await to_thread.run_sync(lambda: cli.main(["transcripts", "clear"], standalone_mode=False))
    assert (capsys.readouterr().out, list(folder.iterdir())) == ("1 transcripts removed.\n", [])


async def test_an_object_store_that_cannot_be_reached_is_said_with_what_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    async with tcp_server(says(http_answer("403 Forbidden", b"<Error><Code>canary</Code></Error>"))) as (url, heads):
        for name, value in {
            "ENDPOINT_URL": url,
            "ALLOW_HTTP": "true",
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        assert not await examine(load_settings(data_dir=tmp_path / "desk", blobs_url="s3://bucket/prefix"))
    assert heads, "the store was asked"
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if "Object store" in line]
    assert "CALLTRIAGE_BLOBS_URL" in line
    assert line.split()[0] in {"✗", "NO"}
    assert "canary" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="rights there are no mode bits")
@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("desk.key", 0o666, "desk.key"),
        ("desk.key", 0o640, "desk.key"),
        (".", 0o777, "the folder itself"),
        (".", 0o711, "the folder itself"),
        ("blobs/aa/bb", 0o604, "blobs/aa/bb"),
        ("blobs/aa", 0o701, "blobs/aa"),
        ("desk.sqlite3-old", 0o602, "desk.sqlite3-old"),
    ],
)
async def test_what_others_may_get_at_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, mode: int, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    folder = tmp_path / "my desk"
    (folder / "blobs" / "aa").mkdir(parents=True, mode=0o700)
    for path in (folder, folder / "blobs", folder / "blobs" / "aa"):
        path.chmod(0o700)
    for file in ("desk.key", "blobs/aa/bb", "desk.sqlite3-old"):
        (folder / file).write_text("k" * 43)
        (folder / file).chmod(0o600)
    assert await examine(Settings(data_dir=folder)), capsys.readouterr().out
    (folder / name).chmod(mode)
    assert not await examine(Settings(data_dir=folder))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "others than the owner" in line]
    assert line.split()[0] in {"✗", "NO"}
    assert f" {said}. Run: chmod -R go= '{folder}'" in line
    assert ("make another one" in line) == (name == "desk.key")


VENDORS = {
    "bland_api_key": "canary-secret-key", "talkdesk_client_id": "id", "talkdesk_client_secret": "canary-secret",
}  # fmt: skip
TOKEN = b'{"access_token": "t", "expires_in": 600}'
PAGE = b'{"data": {"items": [], "next_cursor": null}, "errors": null}'


async def examined(tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, body: bytes) -> tuple[bool, str]:
    """What doctor says when both vendors answer so."""

    async def talk(stream: SocketStream, head: bytes) -> None:
        good = b"/oauth/token" in head
        await stream.send(http_answer("200 OK" if good else status, TOKEN if good else body, ["connection: close"]))

    async with tcp_server(talk) as (url, _):
        places = {"bland_base_url": url, "talkdesk_base_url": url, "talkdesk_token_url": f"{url}/oauth/token"}
        settings = load_settings(None, data_dir=tmp_path / "data", deadline_s=1, **VENDORS, **places)
        return await examine(settings), capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("401 Unauthorized", "CALLTRIAGE_BLAND_API_KEY"),
        ("403 Forbidden", "right to read and write"),
        ("404 Not Found", "CALLTRIAGE_BLAND_BASE_URL"),
        ("302 Found", "CALLTRIAGE_BLAND_BASE_URL"),
        ("200 OK", "CALLTRIAGE_BLAND_BASE_URL"),
        ("429 Too Many Requests", "CALLTRIAGE_VENDOR_RATE"),
        ("500 Internal Server Error", "status 500"),
        ("503 Service Unavailable", "status 503"),
    ],
)
async def test_each_vendor_s_refusal_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: str, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    good, out = await examined(tmp_path, capsys, status, b"<html>canary</html>")
    assert not good
    wrong = [line for line in out.splitlines() if "✗" in line]
    assert [line.split()[1] for line in wrong] == ["Triage", "Attachments"]
    assert said in wrong[0]
    assert "calltriage doctor" not in out, "it is the doctor who speaks"
    assert "Ask the operator" not in out, "it is the operator who reads"
    assert "canary" not in out


async def test_what_was_not_tried_is_not_called_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    _, out = await examined(tmp_path, capsys, "200 OK", PAGE)
    [line] = [line for line in out.splitlines() if "Triage" in line]
    assert "answers a read; no write was tried" in line
    assert not any(word in out for word in ("Store", "File bytes")), "the desk is not used"


def test_wrong_rights_and_a_journal_that_is_no_database_are_wrong_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    data = tmp_path / "data"
    assert anyio.run(examine, load_settings(data_dir=data))
    data.chmod(0o777)
    assert not anyio.run(examine, load_settings(data_dir=data))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "✗" in line]
    assert "Rights" in line
    assert f"chmod -R go= {data}" in line
    data.chmod(0o700)
    (data / FILE).write_bytes(b"no database" * 999)
    assert not anyio.run(examine, load_settings(data_dir=data))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "✗" in line]
    assert "Journal" in line
    (data / FILE).unlink()
    (data / "blobs").rename(data / "gone")
    (data / "blobs").touch(mode=0o600)
    assert not anyio.run(examine, load_settings(data_dir=data))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "✗" in line]
    assert "File bytes" in line
    assert "folder blobs" in line


async def test_a_wrong_network_is_said_without_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
    proxy = f"http://user:canary-word@127.0.0.1:{nobody()}"
    settings = load_settings(data_dir=tmp_path / "data", bland_api_key="k" * 20, proxy=proxy, deadline_s=2)
    assert not await examine(settings)
    out = capsys.readouterr().out
    assert "canary" not in out
    [triage, certificates] = [
        next(line for line in out.splitlines() if what in line) for what in ("Triage", "Certificates")
    ]
    assert "SSL_CERT_FILE" in triage
    assert "SSL_CERT_FILE" in certificates
    monkeypatch.delenv("SSL_CERT_FILE")
    assert not await examine(settings)
    assert "the proxy refused the connection" in capsys.readouterr().out


async def test_a_database_user_who_may_only_read_is_said(
    tmp_path: Path, postgres: PostgresServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as admin:
        assert await examine(Settings(data_dir=tmp_path / "desk", database_url=SecretStr(url)))
        assert "changes of no row made" in capsys.readouterr().out
        admin.execute(
            "CREATE ROLE reader LOGIN PASSWORD 'canary'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
        )
        try:
            reading = SecretStr(re.sub("//[^@]*@", "//reader:canary@", url))
            assert not await examine(Settings(data_dir=tmp_path / "desk", database_url=reading))
        finally:
            admin.execute("DROP OWNED BY reader; DROP ROLE reader")
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if " Store " in line]
    assert "cannot be written: its user lacks rights" in line
    assert "canary" not in out


async def store_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """What doctor says of a database that cannot be used."""
    monkeypatch.setenv("COLUMNS", "900")
    assert not await examine(Settings(data_dir=tmp_path / "desk", database_url=SecretStr(url)))
    out = capsys.readouterr().out
    assert "canary" not in out
    [line] = [line for line in out.splitlines() if " Store " in line]
    assert line.split()[0] in {"✗", "NO"}
    return line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/desk", "/canary"), "has no such database. Create it"),
        (("//postgres:@", "//canary:canary@"), "does not accept the user and password"),
        (("host=/", "host=/canary/"), "nothing answers at its address. Start the server"),
        (("@/", "@canary.invalid/"), "its host is not known"),
    ],
    ids=["database", "user", "socket", "host"],
)
async def test_each_failure_to_reach_a_database_is_said_with_what_to_do(
    tmp_path: Path,
    postgres: PostgresServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    said: str,
) -> None:
    with postgres.database() as url:
        wrong = url.replace(*change)
        if ".invalid" in wrong:
            wrong = wrong.partition("?")[0]
        assert wrong != url
        assert said in await store_line(wrong, tmp_path, capsys, monkeypatch)


async def test_a_database_user_who_may_make_no_table_is_said(
    tmp_path: Path, postgres: PostgresServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE visitor LOGIN")
        try:
            visiting = re.sub("//[^@]*@", "//visitor:canary@", url)
            assert "its user lacks rights" in await store_line(visiting, tmp_path, capsys, monkeypatch)
        finally:
            admin.execute("DROP ROLE visitor")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('password authentication failed for user "canary"', "does not accept the user and password"),
        ('unrecognized configuration parameter "plan_cache_mode"', "is older than PostgreSQL 12"),
        ('no pg_hba.conf entry for host "10.1.2.3", user "canary", database "x", no encryption', "pg_hba.conf"),
        ("sorry, too many clients already", "Raise its max_connections"),
        ("the database system is starting up", "Wait, and try again"),
        ('permission denied for database "canary"', "its user lacks rights"),
        ("canary words", "Check CALLTRIAGE_DATABASE_URL, that the server runs"),
    ],
)
async def test_each_refusal_of_a_database_server_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, message: str, said: str
) -> None:
    """A server that speaks the protocol up to its refusal, as one of another version or setting does."""

    async def refuse(stream: SocketStream, head: bytes) -> None:
        while True:
            if head[4:8] == b"\x04\xd2\x16/":  # asks whether this server encrypts
                await stream.send(b"N")
            elif len(head) > 8:
                break
            head = await stream.receive()
        fields = b"SFATAL\x00VFATAL\x00C00000\x00M" + message.encode() + b"\x00\x00"
        await stream.send(b"E" + (len(fields) + 4).to_bytes(4) + fields)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def talk(stream: SocketStream) -> None:
        async with stream:
            await refuse(stream, await stream.receive())

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, talk)
        url = f"postgresql://canary:canary@127.0.0.1:{port}/x"
        assert said in await store_line(url, tmp_path, capsys, monkeypatch)
        group.cancel_scope.cancel()
