"""The desk's attachments side, spoken to with the vendor's literal JSON: never through an operation class."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock
from contract.attachments import (
    ATTACHMENTS,
    HAL,
    LINK,
    UNKNOWN,
    bad_request,
    basic,
    byte_error,
    conflict,
    create,
    looked_up,
    put,
    refused,
    reserved,
    token_of,
    uploaded,
)

OPERATIONS: list[tuple[str, str, Any, str]] = [
    ("POST", LINK, {}, "attachments:request"),
    ("POST", ATTACHMENTS, {"name": "call-4711-evidence.wav", "request_id": UNKNOWN}, "attachments:write"),
    ("GET", ATTACHMENTS, None, "attachments:read"),
    ("GET", f"{ATTACHMENTS}/{UNKNOWN}", None, "attachments:read"),
    ("GET", f"{ATTACHMENTS}/{UNKNOWN}/download-link", None, "attachments:download"),
    ("DELETE", f"{ATTACHMENTS}/{UNKNOWN}", None, "attachments:delete"),
]
ALL_SCOPES = "attachments:request attachments:write attachments:read attachments:download attachments:delete"


def brief(value: object) -> str:
    """A short test id."""
    return ascii(value)[:32]


# --- tokens ---


async def test_basic_credentials_buy_a_token_for_599_seconds(bare: httpx2.AsyncClient) -> None:
    answer = await bare.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=basic(KEY))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    token = answer.json()
    assert set(token) == {"access_token", "token_type", "expires_in", "scope"}
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 599, ALL_SCOPES)


async def test_a_token_carries_only_the_scopes_that_were_asked_for(bare: httpx2.AsyncClient) -> None:
    form = {"grant_type": "client_credentials", "scope": "attachments:read attachments:write"}
    answer = await bare.post("/oauth/token", data=form, headers=basic(KEY))
    assert answer.json()["scope"] == "attachments:read attachments:write"


@pytest.mark.parametrize("form", [{}, {"scope": "attachments:read"}])
async def test_a_token_request_without_grant_type_is_invalid(bare: httpx2.AsyncClient, form: dict[str, str]) -> None:
    answer = await bare.post("/oauth/token", data=form, headers=basic(KEY))
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json() == {"error": "invalid_request", "error_description": "Missing grant type"}


async def test_basic_and_an_assertion_together_are_an_invalid_request(bare: httpx2.AsyncClient) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "header.payload.signature",
    }
    answer = await bare.post("/oauth/token", data=form, headers=basic(KEY))
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "scope"),
    [
        (basic("wrong"), None), (basic(KEY, "someone"), None), ({}, None), ({"authorization": "Basic !"}, None),
        ({"authorization": f"Bearer {KEY}"}, None), (basic(KEY), "attachments:read attachments:rename"),
    ],
)  # fmt: skip
async def test_a_client_that_is_unknown_or_lacks_a_scope_gets_no_token(
    bare: httpx2.AsyncClient, headers: dict[str, str], scope: str | None
) -> None:
    form = {"grant_type": "client_credentials", **({} if scope is None else {"scope": scope})}
    answer = await bare.post("/oauth/token", data=form, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json")
    assert answer.json() == {"error": "invalid_client", "error_description": "Client authentication failed"}


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
async def test_a_token_ends_after_599_seconds(
    bare: httpx2.AsyncClient, clock: Clock, method: str, path: str, body: Any, scope: str
) -> None:
    headers = {"authorization": f"Bearer {await token_of(bare, KEY, scope)}"}
    clock.advance(seconds=598)
    assert (await bare.request(method, path, json=body, headers=headers)).status_code != 401
    clock.advance(seconds=2)
    answer = await bare.request(method, path, json=body, headers=headers)
    refused(answer, 401, "2320001", "Authorization failed")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "form", [None, "{key}", "Bearer ", "Bearer {key}", "Bearer a.b.c", "Bearer {token}x", "{token}"]
)
async def test_without_a_good_bearer_token_every_operation_is_refused_before_its_body_is_read(
    bare: httpx2.AsyncClient, subtests: pytest.Subtests, form: str | None
) -> None:
    token = await token_of(bare, KEY)
    headers = {} if form is None else {"authorization": form.format(key=KEY, token=token)}
    for method, path, body, _ in OPERATIONS:
        for content in (None if body is None else json.dumps(body), b"{"):
            with subtests.test(method=method, path=path, content=content):
                answer = await bare.request(method, path, content=content, headers=headers)
                refused(answer, 401, "2320001", "Authorization failed")
                assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
async def test_an_operation_without_its_scope_is_forbidden(
    bare: httpx2.AsyncClient, method: str, path: str, body: Any, scope: str
) -> None:
    others = " ".join(name for name in ALL_SCOPES.split() if name != scope)
    headers = {"authorization": f"Bearer {await token_of(bare, KEY, others)}"}
    for content in (None if body is None else json.dumps(body), b"{"):
        refused(await bare.request(method, path, content=content, headers=headers), 403, "2320002", "Forbidden")
    headers = {"authorization": f"Bearer {await token_of(bare, KEY, scope)}"}
    assert (await bare.request(method, path, json=body, headers=headers)).status_code != 403


# --- step 1: reserve ---


async def test_an_upload_link_is_a_request_id_and_a_signed_url_of_the_public_base(account: httpx2.AsyncClient) -> None:
    for body in ({}, {"allowed_mime_types": ["audio/mp3", "audio/wav"]}, {"surplus": {"x": 1}}):
        answer = await account.post(LINK, json=body, headers={"host": "elsewhere.example"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, HAL)
        link = answer.json()
        assert set(link) == {"request_id", "url"}
        assert re.fullmatch("[0-9a-f]{32}", link["request_id"])
        assert re.fullmatch(
            re.escape(DESK_URL) + r"/blobs/[^/?]{8,128}\?expires=\d+&signature=[0-9a-f]{64}", link["url"]
        )
        assert link["request_id"] not in link["url"]


async def test_an_absent_body_reserves_like_an_empty_one(account: httpx2.AsyncClient) -> None:
    assert (await account.post(LINK)).status_code == 200
    assert (await account.post(LINK, json={"allowed_mime_types": []})).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "where"),
    [
        (["*/*"], ".0"), (["audio/*"], ".0"), (["audio/wav; codecs=1"], ".0"), (["audio"], ".0"), ([""], ".0"),
        (["audio/wav", "a/" + "x" * 126], ".1"), ([7], ".0"), (["audio/wav"] * 51, ""), ("audio/wav", ""), (None, ""),
    ],
    ids=brief,
)  # fmt: skip
async def test_malformed_media_types_are_refused_when_reserving(
    account: httpx2.AsyncClient, allowed: Any, where: str
) -> None:
    bad_request(await account.post(LINK, json={"allowed_mime_types": allowed}), f"allowed_mime_types{where}")


@pytest.mark.parametrize("path", [LINK, ATTACHMENTS])
@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b"null", b"\xff"])
async def test_a_body_that_is_no_json_object_is_400(account: httpx2.AsyncClient, path: str, raw: bytes) -> None:
    answer = await account.post(path, content=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "2320000")
    assert answer.json()["fields"]


@pytest.mark.parametrize("path", [LINK, ATTACHMENTS])
async def test_a_json_body_over_64_kib_is_413_with_a_made_up_code(account: httpx2.AsyncClient, path: str) -> None:
    answer = await account.post(path, content=b"{}".ljust(64 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "9232413")
    answer = await account.post(path, content=b"{}".ljust(64 * 1024))
    assert answer.status_code == (200 if path == LINK else 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/attachments/2022-01", 404), ("GET", "/elsewhere", 404), ("GET", f"{ATTACHMENTS}/a/b/c", 404),
        ("PATCH", ATTACHMENTS, 405), ("PUT", LINK, 405), ("GET", "/oauth/token", 405),
    ],
)  # fmt: skip
async def test_unknown_routes_and_methods_have_made_up_codes(
    bare: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await bare.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["code"] == f"9232{status}"
    assert answer.json()["message"]


# --- step 2: bytes ---


@pytest.mark.parametrize("content", [b"", b"x", b"\x00\xff" * 100_000])
async def test_put_stores_the_raw_bytes_and_create_tells_their_size_and_type(
    account: httpx2.AsyncClient, content: bytes
) -> None:
    link = await reserved(account)
    answer = await put(account, link["url"], content, content_type="audio/wav")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    made = (await create(account, "take.wav", link["request_id"], metadata={"size": 7, "type": "text/plain"})).json()
    assert (made["size"], made["type"]) == (len(content), "audio/wav")


async def test_bytes_without_a_content_type_are_an_octet_stream(account: httpx2.AsyncClient) -> None:
    link = await reserved(account)
    await put(account, link["url"], b"x")
    assert (await create(account, "x", link["request_id"])).json()["type"] == "application/octet-stream"


async def test_an_upload_link_lives_an_hour_and_its_reservation_a_day(
    account: httpx2.AsyncClient, clock: Clock
) -> None:
    early, late = await reserved(account), await reserved(account)
    clock.advance(seconds=3595)
    assert (await put(account, early["url"], b"x")).status_code == 200
    clock.advance(seconds=6)
    answer = await put(account, late["url"], b"x")
    byte_error(answer, 403, "AccessDenied")
    assert "<Message>Request has expired</Message>" in answer.text
    clock.advance(seconds=24 * 3600 - 3700)
    account.headers["authorization"] = f"Bearer {await token_of(account, KEY)}"
    assert (await create(account, "in time", early["request_id"])).status_code == 200


async def test_a_reservation_ends_after_a_day(account: httpx2.AsyncClient, clock: Clock) -> None:
    request_id = await uploaded(account)
    clock.advance(seconds=24 * 3600 + 1)
    account.headers["authorization"] = f"Bearer {await token_of(account, KEY)}"
    bad_request(await create(account, "late", request_id), "request_id")


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        (r"signature=.", "signature=g"), (r"expires=\d", "expires=9"), (r"expires=", "expires=x"),
        (r"/blobs/.", "/blobs/g"), (r"&signature=.*", ""), (r"\?.*", ""), (r"expires=\d+&", ""),
        (r"signature=.*", "signature=%C3%A9"),
    ],
)  # fmt: skip
async def test_an_altered_upload_link_is_refused(account: httpx2.AsyncClient, found: str, replacement: str) -> None:
    link = await reserved(account)
    byte_error(await put(account, re.sub(found, replacement, link["url"]), b"x"), 403, "SignatureDoesNotMatch")
    bad_request(await create(account, "x", link["request_id"]), "request_id")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_upload_link_serves_no_other_method(account: httpx2.AsyncClient, method: str) -> None:
    byte_error(await put(account, (await reserved(account))["url"], b"", method), 403, "SignatureDoesNotMatch")


async def test_an_authorization_header_at_the_byte_url_is_refused(account: httpx2.AsyncClient) -> None:
    link = await reserved(account)
    byte_error(await account.put(link["url"], content=b"x"), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("length", "status", "code"),
    [
        ("5", 400, "IncompleteBody"), ("2", 400, "IncompleteBody"), ("x", 411, "MissingContentLength"),
        ("104857600", 400, "IncompleteBody"), ("104857601", 400, "EntityTooLarge"), ("9" * 30, 400, "EntityTooLarge"),
    ],
)  # fmt: skip
async def test_bytes_must_have_the_announced_length(
    account: httpx2.AsyncClient, length: str, status: int, code: str
) -> None:
    link = await reserved(account)
    byte_error(await put(account, link["url"], b"abc", content_length=length), status, code)
    bad_request(await create(account, "x", link["request_id"]), "request_id")


async def test_bytes_without_an_announced_length_are_refused(account: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        yield b"abc"

    answer = await put(account, (await reserved(account))["url"], chunks())
    byte_error(answer, 411, "MissingContentLength")


async def test_a_wrong_content_md5_is_refused(account: httpx2.AsyncClient) -> None:
    url = (await reserved(account))["url"]
    right, wrong = (base64.b64encode(hashlib.md5(text).digest()).decode() for text in (b"abc", b"abd"))
    byte_error(await put(account, url, b"abc", content_md5=wrong), 400, "BadDigest")
    assert (await put(account, url, b"abc", content_md5=right)).status_code == 200


async def test_a_repeated_put_replaces_until_create_and_is_refused_after_it(account: httpx2.AsyncClient) -> None:
    link = await reserved(account)
    for content in (b"first try", b"second"):
        answer = await put(account, link["url"], content, content_type="text/plain")
        assert answer.status_code == 200
    made = (await create(account, "notes.txt", link["request_id"])).json()
    assert made["size"] == len(b"second")
    byte_error(await put(account, link["url"], b"third, longer"), 403, "AccessDenied")
    assert (await looked_up(account, made["id"])).json() == made


# --- step 3: create, and reading ---


async def test_a_created_attachment_has_the_documented_shape_and_can_be_read(account: httpx2.AsyncClient) -> None:
    metadata = {"flow_id": "ABCDEF0987654321", "size": 12, "rate": 0.5, "mono": True}
    answer = await create(account, "call-4711-evidence.wav", await uploaded(account), metadata=metadata, surplus=1)
    assert (answer.status_code, answer.headers["content-type"]) == (200, HAL)
    made = answer.json()
    assert re.fullmatch("[0-9a-f]{32}", made["id"])
    here = f"{DESK_URL}{ATTACHMENTS}/{made['id']}"
    assert made == {
        "id": made["id"], "name": "call-4711-evidence.wav", "state": "published", "size": 4, "type": "audio/wav",
        "metadata": metadata, "provider": {"name": "embedded"},
        "_links": {"self": {"href": here}, "download_link": {"href": f"{here}/download-link"}},
    }  # fmt: skip
    assert [type(made["metadata"][name]) for name in ("size", "rate", "mono")] == [int, float, bool]
    read = await looked_up(account, made["id"])
    assert (read.status_code, read.headers["content-type"], read.json()) == (200, HAL, made)


@pytest.mark.parametrize("attachment_id", [UNKNOWN, "a", "x" * 64], ids=brief)
async def test_an_unknown_attachment_does_not_exist(account: httpx2.AsyncClient, attachment_id: str) -> None:
    refused(await looked_up(account, attachment_id), 404, "2320009", "Attachment do not exist")


async def test_an_attachment_id_over_64_characters_is_400(account: httpx2.AsyncClient) -> None:
    answer = await looked_up(account, "x" * 65)
    assert (answer.status_code, answer.json()["code"], len(answer.json()["fields"])) == (400, "2320000", 1)


async def test_another_account_sees_neither_the_attachment_nor_the_reservation(
    account: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    made = (await create(account, "ours.wav", await uploaded(account))).json()
    refused(await looked_up(stranger, made["id"]), 404, "2320009", "Attachment do not exist")
    bad_request(await create(stranger, "theirs.wav", await uploaded(account)), "request_id")
    assert (await create(stranger, "ours.wav", await uploaded(stranger))).status_code == 200


BAD_MEMBERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": ""}, ["name"]), ({"name": "é" * 65}, ["name"]), ({"name": 7}, ["name"]), ({"name": None}, ["name"]),
    *(({"name": f"a{control}b"}, ["name"]) for control in "\x00\x01\t\n\r\x1f\x7f"),
    ({"request_id": ""}, ["request_id"]), ({"request_id": "x" * 65}, ["request_id"]),
    ({"request_id": 7}, ["request_id"]), ({"name": 1, "request_id": 1}, ["name", "request_id"]),
    ({"metadata": []}, ["metadata"]), ({"metadata": "x"}, ["metadata"]), ({"metadata": None}, ["metadata"]),
    ({"metadata": {str(n): n for n in range(51)}}, ["metadata"]),
]  # fmt: skip


async def test_a_bad_member_is_named_in_fields(account: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    request_id = await uploaded(account)
    for more, fields in BAD_MEMBERS:
        with subtests.test(more=brief(more)):
            bad_request(await account.post(ATTACHMENTS, json={"name": "x", "request_id": request_id, **more}), *fields)
    assert (await create(account, "x", request_id)).status_code == 200


@pytest.mark.parametrize(
    "labels",
    ['{"x": null}', '{"x": []}', '{"x": {}}', '{"x": ""}', f'{{"x": "{"v" * 128}"}}', f'{{"{"k" * 128}": 1}}',
     '{"": 1}', '{"x": NaN}', '{"x": Infinity}', '{"x": 1e999}'],
    ids=brief,
)  # fmt: skip
async def test_labels_that_are_not_flat_short_and_finite_are_refused(account: httpx2.AsyncClient, labels: str) -> None:
    raw = f'{{"name": "x", "request_id": "{await uploaded(account)}", "metadata": {labels}}}'
    answer = await account.post(ATTACHMENTS, content=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "2320000")
    assert len(answer.json()["fields"]) == 1


async def test_missing_members_are_named_in_fields(account: httpx2.AsyncClient) -> None:
    bad_request(await account.post(ATTACHMENTS, json={}), "name", "request_id")


@pytest.mark.parametrize("name", ["é" * 64, "🙂" * 64, "a", " padded ", "../up", "a/b:c\\d"], ids=brief)
async def test_a_name_is_kept_as_it_is_up_to_64_code_points(account: httpx2.AsyncClient, name: str) -> None:
    labels = {"k" * 127: "v" * 127, **{str(n): n for n in range(49)}}
    made = (await create(account, name, await uploaded(account), metadata=labels)).json()
    assert (made["name"], made["metadata"]) == (name, labels)


async def test_a_taken_name_is_a_conflict_that_leaves_the_reservation_usable(account: httpx2.AsyncClient) -> None:
    first = (await create(account, "take.wav", await uploaded(account, content=b"1"))).json()
    request_id = await uploaded(account, content=b"22")
    for _ in range(2):
        conflict(await create(account, "take.wav", request_id))
    assert (await create(account, "take 2.wav", request_id)).json()["size"] == 2
    assert (await looked_up(account, first["id"])).json() == first


async def test_names_are_compared_code_point_by_code_point(account: httpx2.AsyncClient) -> None:
    for name in ("é.wav", "É.wav", "e\u0301.wav", "é.wav ", " é.wav"):
        assert (await create(account, name, await uploaded(account))).status_code == 200


async def test_replaying_a_successful_create_is_a_conflict(account: httpx2.AsyncClient) -> None:
    request_id = await uploaded(account)
    assert (await create(account, "take.wav", request_id)).status_code == 200
    conflict(await create(account, "take.wav", request_id))
    bad_request(await create(account, "another.wav", request_id), "request_id")


async def test_create_checks_reservation_then_name_then_bytes_then_media_type(account: httpx2.AsyncClient) -> None:
    await create(account, "taken", await uploaded(account))
    bad_request(await create(account, "taken", UNKNOWN), "request_id")
    empty = await reserved(account, "audio/wav")
    conflict(await create(account, "taken", empty["request_id"]))
    bad_request(await create(account, "free", empty["request_id"]), "request_id")
    wrong = await uploaded(account, "image/png")
    conflict(await create(account, "taken", wrong))
    bad_request(await create(account, "free", wrong), "request_id")
    bad_request(await account.post(ATTACHMENTS, json={"name": "taken", "request_id": 7}), "request_id")


@pytest.mark.parametrize(
    ("allowed", "media_type", "status"),
    [
        (["audio/wav"], "audio/wav", 200), (["image/png", "audio/wav"], "audio/wav", 200),
        (["audio/WAV"], "Audio/wav; codecs=1", 200), ([], "application/x-anything", 200),
        (["audio/mp3"], "audio/mpeg", 400), (["audio/wav"], "audio/wave", 400), (["audio/wav"], "", 400),
    ],
)  # fmt: skip
async def test_the_media_type_is_checked_at_create_and_not_at_put(
    account: httpx2.AsyncClient, allowed: list[str], media_type: str, status: int
) -> None:
    request_id = await uploaded(account, *allowed, media_type=media_type)
    answer = await create(account, "x", request_id)
    assert answer.status_code == status
    if status == 400:
        bad_request(answer, "request_id")


async def test_of_twenty_concurrent_creates_of_one_name_one_wins(account: httpx2.AsyncClient) -> None:
    answers: list[httpx2.Response] = []

    async def attempt(request_id: str) -> None:
        answers.append(await create(account, "race.wav", request_id))

    ready = [await uploaded(account) for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for request_id in ready:
            tasks.start_soon(attempt, request_id)
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    for answer in answers:
        if answer not in won:
            conflict(answer)


async def test_an_attachment_is_evidence_of_kind_file(account: httpx2.AsyncClient, desk: httpx2.AsyncClient) -> None:
    made = (await create(account, "call-4711.wav", await uploaded(account))).json()
    body = {"title": "Noise on the line", "severity": "low", "category": "Telephony"}
    issue = (await desk.post("/v1/triage/issues", json=body)).json()["data"]
    reference = {"resource_type": "file", "resource_id": made["id"]}
    answer = await desk.post(f"/v1/triage/issues/{issue['id']}/resources", json=reference)
    assert answer.status_code == 201
    link = answer.json()["data"]
    assert (link["resource_type"], link["title"], link["status"]) == ("file", "call-4711.wav", "available")
    assert set(link["metadata"]) == {"created_at", "name", "size", "type"}
    flag = {"call_id": made["id"], "type": "noise"}
    answer = await desk.post(f"/v1/triage/issues/{issue['id']}/flags", json=flag)
    assert (answer.status_code, answer.json()["errors"][0]["error"]) == (409, "call_not_attached")
