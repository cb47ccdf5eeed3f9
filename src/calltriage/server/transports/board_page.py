"""The board as a page of the server's HTTP side: its files, and how a person signs in to it.

The page holds no secret. A code that is good once, or the server's token, becomes a cookie that no script can read. The page
is a client of `/mcp` like any other one: this module adds no second way to the tools.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.server.context import PERSON
from calltriage.server.questions import Questions
from calltriage.server.surfaces.board import icon, page, script, style

PATH = "/ui"
SESSION, QUESTIONS = f"{PATH}/session", f"{PATH}/questions"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
SESSION_SECONDS = 8 * 3600
CODE_SECONDS = 3600
"""For how long a code is good that nobody has used."""
LONGEST_BODY = 4096


@dataclass(frozen=True)
class BoardPage:
    """The page, and who is signed in to it.

    Attributes:
        seals: seal the cookies, which any server with the same secret, port and token takes.
        token: the server's token, which signs in, too; None if it has none.
        questions: what waits for a person's answer.
        clock: Unix seconds.
    """

    seals: Seals
    token: SecretStr | None = None
    questions: Questions | None = None
    clock: Callable[[], float] = time.time
    _codes: dict[bytes, float] = field(default_factory=dict[bytes, float], repr=False)
    """When each code ends that was not used yet, by its digest."""

    def new_code(self) -> str:
        """A code that signs one person in, once."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = self.clock() + CODE_SECONDS
        return code

    def routes(self) -> list[Route]:
        return [
            Route(PATH, _answer(page, "text/html"), methods=["GET"]),
            Route(f"{PATH}/board.js", _answer(lambda: script("page"), "text/javascript"), methods=["GET"]),
            Route(f"{PATH}/board.css", _answer(lambda: style("page"), "text/css"), methods=["GET"]),
            Route(f"{PATH}/icon.svg", _answer(icon, "image/svg+xml"), methods=["GET"]),
            Route(SESSION, self._sign_in, methods=["POST"]),
            Route(QUESTIONS, self._question, methods=["POST"]),
        ]

    def caller(self, scope: Scope) -> str | None:
        """The caller's name for a request of the page, with the session in its cookie. None without a good cookie, and for
        requests of other pages than this server's: pages of other ports get the cookie, too."""
        if not _is_own_page(scope):
            return None
        session = self.seals.opened(self._kind(scope), _cookies(scope).get(_cookie_name(scope), ""))
        match session:
            case [str(name)]:
                return f"{PERSON}{name}"
            case _:
                return None

    async def _question(self, request: Request) -> Response:
        """Answer with the call that waits under an id, or take a person's answer to it. 401 unless they are signed in, 404
        if nothing waits.

        The page makes the call itself, so that the server asks once more, about what would be removed now. If the caller
        waits to make it, the page gets the question, too.
        """
        if self.caller(request.scope) is None:
            return Response(status_code=401, headers=HEADERS)
        given = await _body_of(request)
        ident, agreed = given.get("id"), given.get("agreed")
        waits = await self.questions.waiting(ident) if isinstance(ident, str) and self.questions is not None else None
        if waits is None or self.questions is None or not isinstance(ident, str):
            return Response(status_code=404, headers=HEADERS)
        if isinstance(agreed, bool):
            await self.questions.answer(ident, agreed=agreed)
            return Response(status_code=204, headers=HEADERS)
        found = {"tool": waits.tool, "arguments": waits.arguments}
        return JSONResponse(found | ({"awaited": waits.question} if waits.is_awaited else {}), headers=HEADERS)

    async def _sign_in(self, request: Request) -> Response:
        given = (await _body_of(request)).get("code")
        if not isinstance(given, str) or not _is_own_page(request.scope) or not self._is_good(given):
            return Response(status_code=403, headers=HEADERS)
        value = self.seals.sealed(self._kind(request.scope), SESSION_SECONDS, secrets.token_hex(8))
        response = Response(status_code=204, headers=HEADERS)
        response.set_cookie(
            _cookie_name(request.scope), value, max_age=SESSION_SECONDS, httponly=True, samesite="strict",
            secure=_header(request.scope, b"origin").startswith("https:"),
        )  # fmt: skip
        return response

    def _is_good(self, given: str) -> bool:
        """Whether a code or token signs in. A code is then used up."""
        ends = self._codes.pop(_digest(given), 0.0)
        token = None if self.token is None else _digest(self.token.get_secret_value())
        is_token = token is not None and secrets.compare_digest(_digest(given), token)
        return is_token or self.clock() < ends

    def _kind(self, scope: Scope) -> str:
        """The kind of a cookie's seal: good at this port and with this token only."""
        token = "" if self.token is None else self.token.get_secret_value()
        return f"session of the board at {_port(scope)} under {token}"


def _answer(text: Callable[[], str], media_type: str) -> Callable[[Request], Response]:
    return lambda _: Response(text(), media_type=media_type, headers=HEADERS)


async def _body_of(request: Request) -> JsonObject:
    """The JSON object in a request's body; empty for anything else, and for more than LONGEST_BODY bytes."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST_BODY:
                return {}
        given = json.loads(body)
    except (ClientDisconnect, ValueError, RecursionError):
        return {}
    return given if is_object(given) else {}


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()


def _port(scope: Scope) -> int:
    """The port that the request came to. Cookies have no port, so two servers on a machine would share them."""
    return (scope.get("server") or ("", 0))[1] or 0


def _cookie_name(scope: Scope) -> str:
    return f"calltriage_board_{_port(scope)}"


def _header(scope: Scope, name: bytes) -> str:
    """The one header of this name; empty if there is none, or several."""
    found = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else ""


def _cookies(scope: Scope) -> dict[str, str]:
    pairs = (one.strip().partition("=") for one in _header(scope, b"cookie").split(";"))
    return {name: value for name, _, value in pairs}


def _is_own_page(scope: Scope) -> bool:
    """Whether a request was made by a page of the origin that it is sent to."""
    scheme, _, origin = _header(scope, b"origin").lower().partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme)
    if usual is None:
        return False
    return origin.removesuffix(usual) == _header(scope, b"host").lower().removesuffix(usual)
