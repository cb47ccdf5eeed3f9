"""The token endpoint: OAuth 2.0 client credentials, by Basic or by a signed assertion (talkdesk-attachments, section 3)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl

import anyio
from starlette.requests import Request
from starlette.responses import Response

from calltriage.desk.database.transaction import ContractError, Principal
from calltriage.desk.http.access import Access
from calltriage.desk.http.wire_formats import check_length, json_reply, read_body
from calltriage.leaves.callers import tell_caller

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FORM = 64 * 1024
FORM_SECONDS = 10.0
"""Seconds in which a form must arrive."""
FORMS_OF_ADDRESS, FORMS = 16, 128
"""Most forms of unknown clients that may arrive at once: from one address, and from all."""


@dataclass(eq=False)
class _Reading:
    address: str
    scope: anyio.CancelScope


@dataclass
class FormReader:
    """Reads forms of clients that are not known yet. If too many arrive at once, the oldest is given up."""

    _coming: list[_Reading] = field(default_factory=list[_Reading])
    """Oldest first. Forms are short, so the oldest is the slowest."""

    async def read(self, request: Request, *, is_known: bool) -> dict[str, str]:
        """The fields of a form. Raises ContractError: 408 if it arrives too slowly or was given up, 413 if it is too
        large, 400 if it cannot be read."""
        check_length(request, MAX_FORM)
        with nullcontext() if is_known else self._place(request.client.host if request.client else ""):
            body = await read_body(request, MAX_FORM)
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise ContractError(400, "invalid_request", "The form cannot be read") from None

    @contextmanager
    def _place(self, address: str) -> Generator[None]:
        """Holds a place while one form is read. Raises ContractError 408 if its time is over or another form took its
        place."""
        of_address = [one for one in self._coming if one.address == address]
        if len(of_address) >= FORMS_OF_ADDRESS:
            self._give_up(of_address[0])
        elif len(self._coming) >= FORMS:
            self._give_up(self._coming[0])
        with anyio.move_on_after(FORM_SECONDS) as scope:
            mine = _Reading(address, scope)
            self._coming.append(mine)
            try:
                yield
            finally:
                if mine in self._coming:
                    self._coming.remove(mine)
        if scope.cancelled_caught:
            raise ContractError(408, "request_timeout", "The form came too slowly")

    def _give_up(self, slowest: _Reading) -> None:
        self._coming.remove(slowest)
        slowest.scope.cancel()


async def issue_token(request: Request, forms: FormReader, access: Access, token_url: str, now: datetime) -> Response:
    """Answer a token request. `token_url`: the audience that an assertion must name."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"", "application/x-www-form-urlencoded"}:  # RFC 6749 knows one kind of form
        return _refused(400, "invalid_request", "The form must be application/x-www-form-urlencoded")
    known: Principal | None = None
    if basic := request.headers.get("authorization"):
        known = await access.by_basic(basic, now)
        if known is None:
            return _refused(401, "invalid_client", "Client authentication failed")
        tell_caller(request.scope, f"{known.org_id} {known.user_id}")
    form = await forms.read(request, is_known=known is not None)
    if form.get("grant_type") != "client_credentials":
        return _refused(400, "invalid_request", "Missing grant type")
    if known is not None and "client_assertion" in form:
        return _refused(400, "invalid_request", "More than one client authentication")
    if ("client_assertion" in form) != ("client_assertion_type" in form):
        return _refused(400, "invalid_request", "An assertion needs its type, and a type its assertion")
    who = known or await _by_assertion(form, access, token_url, now)
    token = None if who is None else await access.issue_token(who, form.get("scope"), now)
    if token is None:
        return _refused(401, "invalid_client", "Client authentication failed")
    return json_reply(200, token)


async def _by_assertion(form: dict[str, str], access: Access, token_url: str, now: datetime) -> Principal | None:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        return None
    return await access.by_assertion(form["client_assertion"], token_url, now)


def _refused(status: int, error: str, description: str) -> Response:
    return json_reply(status, {"error": error, "error_description": description})
