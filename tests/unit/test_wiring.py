"""Which folders are opened to an agent, and where the desk's key comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faults import Killed
from mcp.client import Client
from pydantic import SecretStr

from calltriage.cli.own_key import desk_key, open_tenants, own_key, revoke_key, rotate_key
from calltriage.cli.servers import serve_desk
from calltriage.client.credentials import ClientCredentials
from calltriage.desk.app import Desk
from calltriage.embedded import DeskInside, open_desk
from calltriage.errors import Forbidden, NotFound, SettingsError, StoreError
from calltriage.operations.attachments import DeleteAttachment, GetAttachment, RequestUploadLink
from calltriage.settings import Settings, load_settings
from calltriage.wiring import (
    _attachments,
    _file_roots,
    head_note,
    offered_tools,
    open_client,
    open_server,
    open_wired_client,
    sealing_key,
)


def roots(settings: Settings) -> tuple[Path, ...]:
    return _file_roots(settings, over_stdio=True).roots


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "homes" / "ann"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "data"))
    return home


def test_the_working_folder_is_open_over_stdio_and_the_host_may_declare_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home / "work")
    assert (roots(Settings()), _file_roots(Settings(), over_stdio=True).asks) == ((home / "work",), True)


@pytest.mark.parametrize("named", [None, "~/work", "none"])
def test_over_http_no_local_file_is_open_whatever_is_set(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    monkeypatch.chdir(home / "work")
    if named is not None:
        monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", named)
        assert not _file_roots(Settings(), over_stdio=True).asks, "the operator's word is the last one"
    files = _file_roots(Settings(), over_stdio=False)
    assert (files.roots, files.asks) == ((), False)


def test_a_folder_that_holds_homes_is_not_open(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (Path("/"), tmp_path, home.parent, home):
        monkeypatch.chdir(folder)
        assert roots(Settings()) == ()


def test_a_home_that_is_a_link_is_known_by_where_it_leads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "alias").symlink_to(home)
    monkeypatch.setenv("HOME", str(home.parent / "alias"))
    monkeypatch.chdir(home)
    assert roots(Settings()) == ()


def test_folders_may_begin_with_a_tilde_and_none_means_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", "~/desk")
    monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", "~/work")
    assert Settings().data_dir == home / "desk"
    assert roots(Settings()) == (home / "work",)
    monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", "none")
    assert roots(Settings()) == ()


@pytest.mark.parametrize("content", ["", "  \n", "short"])
def test_a_key_file_without_a_key_in_it_is_refused(home: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "desk.key").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=r"desk\.key"):
        desk_key(Settings())


async def test_the_settings_choose_the_tools_and_a_wrong_name_stops_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLTRIAGE_TOOLSETS", "core, evidence")
    monkeypatch.setenv("CALLTRIAGE_EXCLUDE_TOOLS", "get_issue")
    monkeypatch.setenv("CALLTRIAGE_READ_ONLY", "true")
    async with open_server(load_settings(), over_stdio=True) as (server, *_), Client(server) as agent:
        names = {tool.name for tool in (await agent.list_tools()).tools}
    assert {"list_issues", "list_flags"} <= names
    assert not {"get_issue", "create_issue", "mark_issue_viewed"} & names
    with pytest.raises(SettingsError, match="core"):
        async with open_server(load_settings(toolsets="cor"), over_stdio=True):
            pass


@pytest.mark.parametrize(
    ("chosen", "may_delete"),
    [
        ({}, False), ({"toolsets": "attachments"}, False), ({"toolsets": "cleanup"}, True), ({"toolsets": "all"}, True),
        ({"toolsets": "all", "exclude_tools": "delete_attachment"}, False), ({"toolsets": "all", "read_only": True}, False),
        ({"toolsets": "cleanup,core", "exclude_tools": "delete_issue"}, True),
    ],
    ids=str,
)  # fmt: skip
async def test_the_right_to_delete_files_is_asked_for_only_where_the_tool_for_it_is_offered(
    home: Path, chosen: dict[str, Any], may_delete: bool
) -> None:
    settings = load_settings(**chosen)
    async with open_wired_client(settings, offered_tools(settings)) as (client, _, _):
        with pytest.raises(NotFound if may_delete else Forbidden):
            await client.send(DeleteAttachment(attachment_id="none"))
        with pytest.raises(NotFound):  # the other rights are there whatever was chosen
            await client.send(GetAttachment(attachment_id="none"))
        await client.send(RequestUploadLink())


@pytest.mark.parametrize(
    ("region", "gateway", "identity"),
    [
        ("us", "https://api.talkdeskapp.com", "talkdeskid.com"), ("eu", "https://api.talkdeskapp.eu", "talkdeskid.eu"),
        ("ca", "https://api.talkdeskappca.com", "talkdeskidca.com"), ("au", "https://api.talkdeskapp.au", "talkdeskid.au"),
    ],
)  # fmt: skip
def test_each_region_has_its_gateway_and_its_token_url(home: Path, region: str, gateway: str, identity: str) -> None:
    account: dict[str, Any] = {"talkdesk_account": "acme", "talkdesk_client_id": "c", "talkdesk_client_secret": "s"}
    settings = load_settings(**account, talkdesk_region=region)
    endpoint = _attachments(settings, DeskInside(settings, SecretStr("")), ("attachments:read",))
    assert endpoint.base_url == gateway
    assert isinstance(endpoint.credentials, ClientCredentials)
    assert endpoint.credentials.token_url == f"https://acme.{identity}/oauth/token"
    own: dict[str, Any] = {
        "talkdesk_base_url": "https://gateway.example",
        "talkdesk_token_url": "https://tokens.example/token",
    }
    endpoint = _attachments(load_settings(**account, **own), DeskInside(settings, SecretStr("")), ())
    assert isinstance(endpoint.credentials, ClientCredentials)
    assert (endpoint.base_url, endpoint.credentials.token_url) == tuple(own.values())


async def test_a_program_without_tools_has_every_right_that_its_registration_has(home: Path) -> None:
    async with open_client(Settings()) as client:
        with pytest.raises(NotFound):
            await client.send(DeleteAttachment(attachment_id="none"))


@pytest.mark.parametrize("url", ["ftp://canary", "s3://canary?x", "az://container"])
async def test_an_object_store_that_cannot_be_ends_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CALLTRIAGE_BLOBS_URL", url)
    with pytest.raises(SettingsError, match="CALLTRIAGE_BLOBS_URL") as caught:
        async with open_server(load_settings(), over_stdio=True):
            pass
    assert "canary" not in str(caught.value)


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("hard links are not to be had here")

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.usefixtures("no_hard_links")
@pytest.mark.parametrize(("key", "name"), [(desk_key, "desk.key"), (sealing_key, "sealing.key")])
def test_a_key_is_made_once_by_many_at_once_and_without_hard_links(
    home: Path, tmp_path: Path, key: Callable[[Settings], SecretStr], name: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = {one.get_secret_value() for one in pool.map(lambda _: key(Settings()), range(16))}
    assert len(keys) == 1
    assert list((tmp_path / "data").glob(f"{name}.????????")) == []
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["desk.key.next", "desk.key"])
@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=1)], ids=["at-once", "overlap"])
async def test_a_rotation_that_is_cut_off_leaves_the_desk_a_key_of_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: timedelta, name: str
) -> None:
    settings, renamed = Settings(), Path.replace
    old = (await own_key(settings)).get_secret_value()
    async with open_tenants(settings) as tenants:
        assert await tenants.keep_own_key(old)

    def killed(draft: Path, target: Path) -> Path:
        if target.name == name:
            raise Killed
        return renamed(draft, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            await rotate_key(settings, "desk", overlap)
    now = (await own_key(settings)).get_secret_value()
    async with open_tenants(settings) as tenants:
        assert await tenants.keep_own_key(now)
        assert [key["id"] for key in await tenants.keys() if key["state"] == "valid" and key["expires_at"] is None] == [
            "desk"
        ]
        assert await tenants.is_own_key(now)
    assert (now == old) == (name == "desk.key.next")
    assert {file.name for file in (tmp_path / "data").glob("desk.key*")} == {"desk.key.lock", "desk.key"}
    made = await rotate_key(settings, "desk", overlap)
    assert (await own_key(settings)).get_secret_value() == made.key


async def test_a_key_that_is_shown_after_a_revocation_is_good_at_once(home: Path) -> None:
    settings = Settings()
    before = (await own_key(settings)).get_secret_value()
    assert await revoke_key(settings, "desk")
    shown = (await own_key(settings)).get_secret_value()
    assert shown != before
    assert (await own_key(settings)).get_secret_value() == shown
    async with open_desk(settings) as desk:
        assert await desk.access.by_api_header(shown, desk.clock()) is not None
        assert await desk.access.by_api_header(before, desk.clock()) is None


async def test_no_key_is_shown_that_is_not_the_desks_own(home: Path) -> None:
    served = Settings(desk_api_key=SecretStr("s" * 32))
    assert await own_key(served) == served.desk_api_key
    with pytest.raises(SettingsError, match="CALLTRIAGE_DESK_API_KEY"):
        await own_key(Settings())
    assert await revoke_key(served, "desk")
    with pytest.raises(SettingsError, match="has ended"):
        await own_key(served)


def test_a_secret_that_is_asked_for_late_does_not_make_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    note = head_note(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(StoreError, match="belongs to this user"):
        note.key()
    assert not (tmp_path / "data").exists()


async def test_a_desk_on_every_address_asks_where_it_is_reached(home: Path) -> None:
    for host in ("0.0.0.0", "::", "", "0", "0.0", "::0"):
        with pytest.raises(SettingsError, match="--public-url"):
            await serve_desk(Settings(), host, 0, lambda _: None)


@pytest.mark.parametrize(
    "url",
    ["desk.example.com", "ftp://desk.example.com", "https://", "https://u:p@desk.example.com", "https://desk.example.com/?a",
     "https://desk.example.com/#a", "https://desk.example.com:0", "https://desk.example.com:x", "https://desk example.com"],
)  # fmt: skip
def test_a_public_url_that_is_none_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CALLTRIAGE_DESK_PUBLIC_URL", url)
    with pytest.raises(SettingsError, match=r"CALLTRIAGE_DESK_PUBLIC_URL: .*https://desk"):
        load_settings()


def test_a_public_url_loses_the_slash_at_its_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTRIAGE_DESK_PUBLIC_URL", "https://desk.example.com/below/")
    assert load_settings().desk_public_url == "https://desk.example.com/below"


async def test_a_desk_that_cannot_be_warmed_up_does_not_end_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: object) -> None:
        raise OSError("canary")

    monkeypatch.setattr(Desk, "warm_up", fails)
    async with open_wired_client(Settings()) as (_, desk, _):
        await desk.warm_up()
    assert "OSError" in caplog.text
    assert "canary" not in caplog.text


async def test_looking_at_the_keys_without_the_server_s_own_leaves_it_good(home: Path) -> None:
    served = "the-key-that-a-server-was-given"
    async with open_tenants(Settings(desk_api_key=SecretStr(served))) as tenants:
        before = await tenants.keys()
    async with open_tenants(Settings()) as tenants:
        assert await tenants.keys() == before
        assert await tenants.keep_own_key(served)
        assert await tenants.keys() == before


def printed(program: str, folder: Path) -> str:
    """What a program prints in a process of its own, with an empty data folder and nothing to read."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "CALLTRIAGE_DATA_DIR": str(folder / "desk")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_desk_on_a_file_loads_nothing_that_terminals_postgresql_or_tokens_need(tmp_path: Path) -> None:
    program = (
        "import sys, anyio, calltriage.cli.main\n"
        "from calltriage import open_client\n"
        "from calltriage.operations.issues import ListIssues\n"
        "async def main():\n"
        "    async with open_client() as client:\n"
        "        await client.send(ListIssues())\n"
        "anyio.run(main)\n"
        "print(*sys.modules)"
    )
    loaded = set(printed(program, tmp_path).split())
    assert "sqlalchemy.dialects.sqlite" in loaded
    assert loaded.isdisjoint({"rich", "sqlalchemy.dialects.postgresql", "psycopg", "jwt", "cryptography"})


def test_a_server_that_starts_looks_for_no_garbage_among_imports_and_needs_no_folder_of_the_platform(
    tmp_path: Path,
) -> None:
    program = (
        "import gc, sys\n"
        "from calltriage.__main__ import main\n"
        "searched = []\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if gc.isenabled():\n"
        "            searched.append(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "sys.argv = ['calltriage', 'serve']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*searched)\n"
        "    print(*sys.modules)\n"
    )
    searched, loaded = (set(line.split()) for line in printed(program, tmp_path).splitlines())
    heavy = {"pydantic", "mcp", "calltriage.wiring", "calltriage.server.app"}
    assert heavy <= loaded
    assert heavy.isdisjoint(searched)
    assert loaded.isdisjoint({"platformdirs", "dotenv"})


def test_no_field_of_a_model_that_comes_with_the_start_is_declared_in_words_to_evaluate(tmp_path: Path) -> None:
    program = (
        "import inspect, pydantic\n"
        "import calltriage.cli.main, calltriage.server.app\n"
        "def below(model):\n"
        "    return (one for found in model.__subclasses__() for one in (found, *below(found)))\n"
        "for model in below(pydantic.BaseModel):\n"
        "    if model.__module__.startswith('calltriage.'):\n"
        "        declared = inspect.get_annotations(model)\n"
        "        words = [name for name in model.model_fields if isinstance(declared.get(name), str)]\n"
        "        print(model.__name__, *words)\n"
    )
    found = {name: words for name, *words in map(str.split, printed(program, tmp_path).splitlines())}
    assert {"Settings", "CreateIssue", "CreateIssueTool", "Flag"} <= found.keys()
    assert not {name: words for name, words in found.items() if words}
