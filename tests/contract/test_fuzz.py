"""Generated requests against the desk, over the document that the desk itself serves: no crash, and only what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, cast

import anyio.from_thread
import httpx2
import pytest
from conftest import CALLS, DESK_URL, KEY, Clock, database_for, load_lines
from hypothesis import HealthCheck, Phase, given, reject, settings
from pydantic import SecretStr

from calltriage.desk.app import Desk
from calltriage.desk.http.openapi import description

EXAMPLES = 10
"""Requests an operation in each mode. They follow from the operation alone, so that a failure comes again."""

LABELS = [
    f"{method.upper()} {path}"
    for path, methods in description()["paths"].items()
    for method in methods
    if method != "parameters"
]

Send = Callable[[dict[str, Any]], httpx2.Response]


@cache
def operations() -> dict[str, Any]:
    """What can be asked, by its label. Schemathesis is imported here, since a run without this test does well without."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(description())
    found = [cast("Any", one).ok() for one in schema.get_all_operations()]
    return {operation.label: operation for operation in found}


@cache
def checks() -> list[Any]:
    from schemathesis import checks
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        checks.not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def database_url(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """The store of the desk that all requests are sent to."""
    with database_for(request) as url:
        yield url


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory, database_url: SecretStr | None) -> Iterator[Send]:
    """Sends a request to a desk that holds two calls and an issue with a flag and a session, whatever came before."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with ExitStack() as stack:
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
        desk = Desk(folder / "desk", SecretStr(KEY), DESK_URL, clock=Clock(), database_url=database_url)
        transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        http = httpx2.AsyncClient(transport=transport, base_url=DESK_URL)
        real = portal.call(_prepare, desk, http)
        stack.callback(portal.call, desk.close)
        stack.callback(portal.call, http.aclose)

        async def exchange(request: dict[str, Any]) -> httpx2.Response:
            request = {name: value for name, value in request.items() if name != "cookies"}
            if isinstance(request.get("data"), bytes | str):
                request["content"] = request.pop("data")
            return await http.request(**request)

        def send(request: dict[str, Any]) -> httpx2.Response:
            is_triage = request["url"].startswith(f"{DESK_URL}/v1/")
            request["headers"] = {**request["headers"], **({"authorization": KEY} if is_triage else real["token"])}
            try:
                return portal.call(exchange, request)
            except httpx2.InvalidURL:  # longer than the HTTP library writes one
                reject()

        send.real = real  # type: ignore[attr-defined]
        yield send


async def _prepare(desk: Desk, http: httpx2.AsyncClient) -> dict[str, Any]:
    """Ids of things that are there, by the name of the path parameter that names them, and a token's header."""
    await load_lines(desk, *CALLS)
    key = {"authorization": KEY}
    issue = {"title": "t", "severity": "low", "category": "Bug"}
    made = (await http.post("/v1/triage/issues", json=issue, headers=key)).json()["data"]
    here = f"/v1/triage/issues/{made['id']}"
    link = (await http.put(f"{here}/calls/call-card", headers=key)).status_code
    session = (await http.post(f"{here}/agent-sessions", json={}, headers=key)).json()["data"]
    form = {"grant_type": "client_credentials"}
    token = (await http.post("/oauth/token", data=form, auth=("desk", KEY))).json()["access_token"]
    assert link == 200
    return {
        "issue_id": made["id"],
        "call_id": "call-card",
        "session_id": session["id"],
        "token": {"authorization": f"Bearer {token}"},
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["good", "bad"])
@pytest.mark.parametrize("label", LABELS)
def test_generated_requests_are_answered_as_the_document_says(send: Send, label: str, mode: str) -> None:
    from schemathesis import GenerationMode
    from schemathesis.core.transport import Response

    operation = operations()[label]
    generated = GenerationMode.POSITIVE if mode == "good" else GenerationMode.NEGATIVE
    real: dict[str, Any] = send.real  # type: ignore[attr-defined]

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=generated))
    def ask(case: Any) -> None:
        if label != "DELETE /v1/triage/issues/{issue_id}":  # what else is asked for is asked of an issue that is there
            known = {name: real[name] for name in case.path_parameters or {} if name in real}
            case.path_parameters = {**(case.path_parameters or {}), **known}
        response = send(case.as_transport_kwargs(base_url=DESK_URL))
        case.validate_response(Response.from_httpx2(response, verify=True), checks=checks())

    ask()
