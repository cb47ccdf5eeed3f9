"""The board's page: what is served of it, and who gets in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from mcp_over_http import ACCEPT, NEWEST, newest, served
from pydantic import SecretStr
from storing import Time

from calltriage.client.client import Client
from calltriage.leaves.seals import Seals
from calltriage.server.context import PERSON
from calltriage.server.surfaces.board import page, script, style
from calltriage.server.transports.board_page import CODE_SECONDS, SESSION_SECONDS, BoardPage

TOKEN = SecretStr("token-for-tests-0123456789")
HERE = "http://127.0.0.1:8000"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def board(time: Time) -> BoardPage:
    return BoardPage(Seals(clock=time), TOKEN, clock=time)


@pytest.fixture
async def http(client: Client, board: BoardPage) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser at a server with a token; it has no cookie yet."""
    async with served(client, HERE, token=TOKEN, page=board) as opened:
        yield opened


async def sign_in(http: httpx2.AsyncClient, code: object, origin: str | None = HERE) -> httpx2.Response:
    return await http.post("/ui/session", json={"code": code}, headers={} if origin is None else {"origin": origin})


async def listing(http: httpx2.AsyncClient, **headers: str) -> int:
    """The status of a tools/list on the newest wire, as the page asks for it."""
    given = ACCEPT | {"mcp-protocol-version": NEWEST, "mcp-method": "tools/list"} | headers
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": newest()}
    return (await http.post("/mcp", json=body, headers=given)).status_code


async def test_the_page_is_for_anybody_and_tells_nothing_of_the_server(http: httpx2.AsyncClient) -> None:
    for path, media_type, text in (
        ("/ui", "text/html", page()),
        ("/ui/board.js", "text/javascript", script("page")),
        ("/ui/board.css", "text/css", style("page")),
    ):
        answer = await http.get(path)
        assert (answer.status_code, answer.text) == (200, text)
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert answer.headers["content-security-policy"] == POLICY
        kept = [answer.headers[name] for name in ("x-content-type-options", "referrer-policy", "cache-control")]
        assert kept == ["nosniff", "no-referrer", "no-store"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "list_issues" not in page()
    assert [(await http.get(path)).status_code for path in ("/ui/session", "/ui/other", "/uis")] == [405, 404, 401]


async def test_a_code_signs_one_person_in_once(http: httpx2.AsyncClient, board: BoardPage) -> None:
    code = board.new_code()
    assert await listing(http, origin=HERE) == 401
    first = await sign_in(http, code)
    assert first.status_code == 204
    named, _, rules = first.headers["set-cookie"].partition("; ")
    assert named.startswith("calltriage_board_8000=")
    assert rules.split("; ") == ["HttpOnly", f"Max-Age={SESSION_SECONDS}", "Path=/", "SameSite=strict"]
    assert await listing(http, origin=HERE) == 200
    http.cookies.clear()
    assert (await sign_in(http, code)).status_code == 403
    assert await listing(http, origin=HERE) == 401


async def test_the_servers_token_signs_in_and_anything_else_does_not(
    http: httpx2.AsyncClient, board: BoardPage
) -> None:
    board.new_code()
    for wrong in ("", "x" * 32, TOKEN.get_secret_value()[:-1], None, ["a"], "y" * 5000):
        assert (await sign_in(http, wrong)).status_code == 403
    for body in (b"[" * 4000, b'{"code": "\\ud800"}', b"[]", b""):
        refused = await http.post("/ui/session", content=body, headers={"origin": HERE})
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers
    assert (await sign_in(http, TOKEN.get_secret_value())).status_code == 204


async def test_codes_and_sessions_end(http: httpx2.AsyncClient, board: BoardPage, time: Time) -> None:
    late, good = board.new_code(), board.new_code()
    assert (await sign_in(http, good)).status_code == 204
    time.now += CODE_SECONDS
    assert (await sign_in(http, late)).status_code == 403
    assert await listing(http, origin=HERE) == 200
    time.now += SESSION_SECONDS - CODE_SECONDS
    assert await listing(http, origin=HERE) == 401


async def test_no_other_page_and_no_other_name_gets_in_with_the_cookie(
    http: httpx2.AsyncClient, board: BoardPage
) -> None:
    await sign_in(http, board.new_code())
    assert await listing(http) == 401, "without an origin it is no page that asks"
    assert await listing(http, origin="http://127.0.0.1:9000") == 401, "a page of another port has the cookie, too"
    assert await listing(http, origin="https://attacker.example") == 403
    assert await listing(http, origin=HERE, host="attacker.example") == 421
    foreign = [(await http.get("/ui", headers={"host": "attacker.example"})).status_code]
    foreign += [(await sign_in(http, board.new_code(), one)).status_code for one in ("https://attacker.example", None)]
    assert foreign == [421, 403, 403]
    assert (await sign_in(http, board.new_code(), "http://127.0.0.1:9000")).status_code == 403


async def test_a_cookie_is_good_at_its_port_and_under_its_token_alone(client: Client, time: Time) -> None:
    seals = Seals(clock=time)
    first = BoardPage(seals, TOKEN, clock=time)
    async with served(client, HERE, token=TOKEN, page=first) as http:
        await sign_in(http, first.new_code())
        value = http.cookies["calltriage_board_8000"]
    for port, token in ((8000, TOKEN), (8001, TOKEN), (8000, SecretStr("another-token-0123456789"))):
        base = f"http://127.0.0.1:{port}"
        async with served(client, base, token=token, page=BoardPage(seals, token, clock=time)) as http:
            http.cookies.set(f"calltriage_board_{port}", value)
            assert await listing(http, origin=base) == (200 if (port, token) == (8000, TOKEN) else 401)


def scope(cookie: str, origin: str = HERE) -> dict[str, Any]:
    headers = {"host": "127.0.0.1:8000", "origin": origin, "cookie": cookie}
    return {
        "server": ("127.0.0.1", 8000),
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
    }


async def test_each_session_is_a_caller_of_its_own_and_a_persons(http: httpx2.AsyncClient, board: BoardPage) -> None:
    names = set[str | None]()
    for _ in range(2):
        value = (await sign_in(http, board.new_code())).headers["set-cookie"].partition(";")[0]
        names.add(board.caller(scope(value)))
        assert board.caller(scope(f"other=1; {value}")) in names
        assert board.caller(scope(value[:-1])) is None
    assert len(names) == 2
    assert all(name and name.startswith(PERSON) for name in names)


async def test_behind_tls_the_cookie_is_for_tls_alone(client: Client, board: BoardPage) -> None:
    more: dict[str, Any] = {"host": "0.0.0.0", "allowed_hosts": ("mcp.example.com",), "token": TOKEN, "page": board}
    async with served(client, "http://mcp.example.com", **more) as http:
        answer = await sign_in(http, board.new_code(), "https://mcp.example.com")
    assert "Secure" in answer.headers["set-cookie"].split("; ")


async def test_a_server_without_the_page_has_none(client: Client) -> None:
    async with served(client, token=TOKEN) as http:
        assert (await http.get("/ui")).status_code == 401
