"""The token endpoint: OAuth 2.0 client credentials, by Basic or by a signed assertion (talkdesk-attachments, section 3)."""

from __future__ import annotations

from datetime import datetime

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from calltriage.desk.database.transaction import Principal
from calltriage.desk.http.access import Access
from calltriage.desk.http.wire import json_reply, read_body

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FORM = 64 * 1024


async def issue_token(request: Request, access: Access, token_url: str, now: datetime) -> Response:
    """Answer a token request. `token_url` is what an assertion must be meant for."""
    await read_body(request, MAX_FORM)
    if request.headers.get("content-type", "").lower().startswith("multipart/"):  # RFC 6749 knows one kind of form
        return _refused(400, "invalid_request", "The form must be application/x-www-form-urlencoded")
    form = await request.form()
    if form.get("grant_type") != "client_credentials":
        return _refused(400, "invalid_request", "Missing grant type")
    if "authorization" in request.headers and "client_assertion" in form:
        return _refused(400, "invalid_request", "More than one client authentication")
    if ("client_assertion" in form) != ("client_assertion_type" in form):
        return _refused(400, "invalid_request", "An assertion needs its type, and a type its assertion")
    who = await _client(request, form, access, token_url, now)
    scope = form.get("scope")
    token = None if who is None else await access.issue_token(who, scope if isinstance(scope, str) else None, now)
    if token is None:
        return _refused(401, "invalid_client", "Client authentication failed")
    return json_reply(200, token)


async def _client(request: Request, form: FormData, access: Access, token_url: str, now: datetime) -> Principal | None:
    assertion = form.get("client_assertion")
    if assertion is None:
        return await access.by_basic(request.headers.get("authorization"))
    if form.get("client_assertion_type") != ASSERTION_TYPE or not isinstance(assertion, str):
        return None
    return await access.by_assertion(assertion, token_url, now)


def _refused(status: int, error: str, description: str) -> Response:
    return json_reply(status, {"error": error, "error_description": description})
