"""Calls that arrive over HTTP."""

from __future__ import annotations

import gzip
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, call_line

from calltriage.desk.app import Desk
from calltriage.desk.importing import over_http
from calltriage.errors import SettingsError

VTT = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Agent>Hello\n"
BLAND: dict[str, Any] = {
    "call_id": "b-1", "created_at": "2026-05-01T10:00:00Z", "call_length": 0.5, "to": "+15550001111",
    "transcripts": [{"id": 1, "user": "user", "text": "Hello?", "created_at": "2026-05-01T10:00:02Z"}],
}  # fmt: skip


async def post(desk: httpx2.AsyncClient, body: str | bytes, **query: str) -> tuple[int, dict[str, Any]]:
    answer = await desk.post("/v1/calls/import", content=body, params=query)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("pack", [False, True])
async def test_an_import_over_http_takes_what_the_command_takes_and_twice_changes_nothing(
    desk: httpx2.AsyncClient, *, pack: bool
) -> None:
    for text, call_id in ((call_line("own-1", "hi"), "own-1"), (json.dumps(BLAND, indent=1), "b-1")):
        body = gzip.compress(text.encode()) if pack else text
        status, first = await post(desk, body)
        assert (status, first["data"]["added"], first["errors"]) == (200, 1, None)
        _, again = await post(desk, body)
        assert (again["data"]["added"], again["data"]["changed"], again["data"]["unchanged"]) == (0, 0, 1)
        assert (await desk.get(f"/v1/calls/{call_id}")).json()["call_id"] == call_id


async def test_a_call_without_id_or_time_is_the_same_call_when_it_comes_again(desk: httpx2.AsyncClient) -> None:
    _, first = await post(desk, VTT)
    _, again = await post(desk, VTT)
    assert (first["data"]["added"], again["data"]["unchanged"]) == (1, 1)
    assert first["data"]["notes"]


async def test_bad_lines_are_all_named_and_nothing_is_loaded_unless_they_are_skipped(desk: httpx2.AsyncClient) -> None:
    body = "\n".join([call_line("own-1", "hi"), "{}", "{}"])
    status, refused = await post(desk, body)
    assert status == 400
    assert "line 2: " in refused["errors"][0]["message"]
    assert "line 3: " in refused["errors"][0]["message"]
    assert refused["errors"][0]["message"].endswith("mend them, or pass skip_bad=true in the query.")
    assert (await desk.get("/v1/calls/own-1")).status_code == 404
    status, done = await post(desk, body, skip_bad="true")
    assert (status, done["data"]["added"], done["data"]["skipped"], len(done["data"]["complaints"])) == (200, 1, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [b"[", b'{"a":', b"[],"])
async def test_a_body_of_brackets_is_refused_before_it_is_read_whole(desk: httpx2.AsyncClient, unit: bytes) -> None:
    body = b"[" * unit.endswith(b",") + unit * (60 * 2**20 // len(unit))
    with anyio.fail_after(60):
        for sent in (body, gzip.compress(body, 1)):
            answer = await desk.post("/v1/calls/import", content=sent)
            assert answer.status_code == 400
            assert len(answer.content) < 16_000


async def test_an_import_is_of_the_organisation_whose_key_is_shown(the_desk: Desk, desk: httpx2.AsyncClient) -> None:
    other = await the_desk.tenants.add_organisation("B")
    answer = await desk.post("/v1/calls/import", content=call_line("own-1", "hi"), headers={"authorization": other.key})
    assert answer.status_code == 200
    assert (await desk.get("/v1/calls/own-1")).status_code == 404
    assert (await desk.get("/v1/calls/own-1", headers={"authorization": other.key})).status_code == 200


async def test_without_a_key_no_body_is_read(the_desk: Desk) -> None:
    read = list[bytes]()

    async def body() -> AsyncIterator[bytes]:
        read.append(b"x")
        yield b"x"

    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
        answer = await http.post("/v1/calls/import", content=body())
    assert (answer.status_code, read) == (401, [])


@pytest.mark.parametrize("query", [{"format": "x"}, {"time_zone": "Nowhere"}, {"skip_bad": "1"}, {"more": "1"}])
async def test_a_parameter_that_is_wrong_is_named(desk: httpx2.AsyncClient, query: dict[str, str]) -> None:
    status, refused = await post(desk, call_line("own-1", "hi"), **query)
    assert status == 400
    assert next(iter(query)) in refused["errors"][0]["message"]


async def test_a_body_is_bounded_packed_or_not(desk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_http, "MAX_IMPORT", 10_000)
    for body in (b" " * 10_001, gzip.compress(b" " * 10**7)):
        assert (await post(desk, body))[0] == 413
    assert (await post(desk, gzip.compress(call_line("c", "hi").encode())[:-9]))[0] == 400


async def test_a_body_that_holds_nothing_is_refused(desk: httpx2.AsyncClient) -> None:
    for body in (b"", gzip.compress(b"")):
        status, refused = await post(desk, body)
        assert (status, refused["errors"][0]["message"]) == (400, "The body is empty")


async def test_files_of_the_desks_machine_cannot_be_named(desk: httpx2.AsyncClient) -> None:
    status, refused = await post(desk, json.dumps({"kind": "file", "path": "/etc/passwd"}))
    assert status == 400
    assert "give base64" in refused["errors"][0]["message"]


async def deliver(
    desk: httpx2.AsyncClient, secret: str, body: bytes, org_id: str, signature: str | None = None
) -> httpx2.Response:
    """A webhook as the vendor sends it: no key, and the body's HMAC-SHA256 in hexadecimal digits."""
    signed = hmac.digest(secret.encode(), body, "sha256").hex() if signature is None else signature
    request = desk.build_request("POST", f"/webhooks/bland/{org_id}", content=body)
    request.headers["x-webhook-signature"] = signed
    del request.headers["authorization"]
    return await desk.send(request)


async def test_a_signed_webhook_is_a_call_of_its_organisation_and_again_the_same(
    the_desk: Desk, desk: httpx2.AsyncClient
) -> None:
    key = await the_desk.tenants.add_webhook_key()
    body = json.dumps(BLAND).encode()
    assert (await deliver(desk, key.key, body, key.org_id)).json()["data"]["added"] == 1
    shouted = hmac.digest(key.key.encode(), body, "sha256").hex().upper()
    assert (await deliver(desk, key.key, body, key.org_id, shouted)).json()["data"]["unchanged"] == 1
    call = (await desk.get("/v1/calls/b-1")).json()
    assert (call["call_id"], call["transcripts"][0]["text"]) == ("b-1", "Hello?")
    corrected = json.dumps({**BLAND, "summary": "Corrected."}).encode()
    assert (await deliver(desk, key.key, corrected, key.org_id)).json()["data"]["changed"] == 1


async def test_a_webhook_that_is_not_signed_as_it_must_be_is_refused(the_desk: Desk, desk: httpx2.AsyncClient) -> None:
    key = await the_desk.tenants.add_webhook_key()
    other = await the_desk.tenants.add_organisation("B")
    body = json.dumps(BLAND).encode()
    good = hmac.digest(key.key.encode(), body, "sha256").hex()
    answers = [
        await deliver(desk, key.key, body, other.org_id),
        await deliver(desk, key.key, body, "nobody"),
        await deliver(desk, key.key + "x", body, key.org_id),
        await deliver(desk, key.key, body, key.org_id, ""),
        await deliver(desk, key.key, body + b" ", key.org_id, good),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert len({answer.text for answer in answers}) == 1
    assert (await desk.get("/v1/calls/b-1")).status_code == 404


async def test_two_secrets_are_good_at_once_until_one_is_revoked(the_desk: Desk, desk: httpx2.AsyncClient) -> None:
    body = json.dumps(BLAND).encode()
    old = await the_desk.tenants.add_webhook_key("a secret that the vendor showed")
    new = await the_desk.tenants.add_webhook_key()
    for key in (old, new):
        assert (await deliver(desk, key.key, body, key.org_id)).status_code == 200
    await the_desk.tenants.revoke("keys", old.id)
    assert (await deliver(desk, old.key, body, old.org_id)).status_code == 401
    assert (await deliver(desk, new.key, body, new.org_id)).status_code == 200


async def test_a_signed_body_that_is_no_call_of_the_vendor_is_refused(the_desk: Desk, desk: httpx2.AsyncClient) -> None:
    key = await the_desk.tenants.add_webhook_key()
    for body in (b"{}", b"no json", call_line("own-1", "hi").encode()):
        answer = await deliver(desk, key.key, body, key.org_id)
        assert (answer.status_code, answer.json()["errors"][0]["error"]) == (400, "bad_request")


async def test_a_webhook_key_is_no_key_to_the_desk_and_is_listed_without_its_secret(
    the_desk: Desk, desk: httpx2.AsyncClient
) -> None:
    key = await the_desk.tenants.add_webhook_key("a secret that the vendor showed")
    assert (await desk.get("/v1/calls", headers={"authorization": key.key})).status_code == 401
    [listed] = [row for row in await the_desk.tenants.keys() if row["id"] == key.id]
    assert listed["kind"] == "webhook"
    assert key.key not in str(listed)
    with pytest.raises(SettingsError, match="already"):
        await the_desk.tenants.add_webhook_key(key.key)
    with pytest.raises(SettingsError, match="characters"):
        await the_desk.tenants.add_webhook_key("short")
