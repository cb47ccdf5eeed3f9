"""The desk's attachments once they are there: lists, downloads, deletes, the house kept. Raw, as the vendor writes it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import jwt
import pytest
from conftest import DESK_URL, KEY, Clock
from contract.attachments import (
    ATTACHMENTS,
    HAL,
    UNKNOWN,
    bad_request,
    basic,
    byte_error,
    create,
    looked_up,
    put,
    refused,
    reserved,
    token_of,
    uploaded,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import SecretStr
from sqlalchemy import insert, select
from uuid_utils import uuid4

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import SIGNING_KEY, keys, used_assertions

TOKEN_URL = f"{DESK_URL}/oauth/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def stored(account: httpx2.AsyncClient, name: str, content: bytes = b"RIFF", **more: Any) -> dict[str, Any]:
    media_type = more.pop("media_type", "audio/wav")
    answer = await create(account, name, await uploaded(account, content=content, media_type=media_type), **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def link_to(account: httpx2.AsyncClient, made: dict[str, Any]) -> str:
    answer = await account.get(f"{ATTACHMENTS}/{made['id']}/download-link")
    assert (answer.status_code, answer.headers["content-type"]) == (200, HAL)
    assert set(answer.json()) == {"url", "expire_time"}
    assert answer.json()["expire_time"] == 600
    return answer.json()["url"]


async def fetched(http: httpx2.AsyncClient, url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return await put(http, url, b"", method, **headers)


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["_embedded"]["list"]]


# --- lists ---


async def test_a_list_is_newest_first_and_has_the_documented_shape(account: httpx2.AsyncClient) -> None:
    made = [await stored(account, f"{n}.wav") for n in range(3)]
    answer = await account.get(ATTACHMENTS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, HAL)
    body = answer.json()
    assert {key: body[key] for key in ("total", "count", "page", "per_page")} == {
        "total": 3, "count": 3, "page": 1, "per_page": 50,
    }  # fmt: skip
    assert body["_embedded"]["list"] == made[::-1]
    assert set(body["_links"]) == {"self"}


async def test_pages_are_linked_to_the_end(account: httpx2.AsyncClient) -> None:
    for n in range(5):
        await stored(account, f"{n}")
    url, seen = f"{ATTACHMENTS}?per_page=2", list[str]()
    for page in (1, 2, 3):
        answer = await account.get(url)
        seen += names(answer)
        links = answer.json()["_links"]
        assert ("prev" in links, "next" in links) == (page > 1, page < 3)
        if page < 3:
            url = links["next"]["href"]
            assert urlsplit(url).netloc == "desk.test"
    assert seen == ["4", "3", "2", "1", "0"]


async def test_links_keep_the_filters(account: httpx2.AsyncClient) -> None:
    for n in range(2):
        await stored(account, f"{n}", metadata={"flow": "a b&c"})
    wanted = {"types": ["audio/wav", "x/y"], "metadata": '{"flow": "a b&c"}', "per_page": 1}
    answer = await account.get(ATTACHMENTS, params=wanted)
    following = urlsplit(answer.json()["_links"]["next"]["href"])
    assert parse_qs(following.query) == {
        "types": ["audio/wav", "x/y"], "metadata": ['{"flow": "a b&c"}'], "page": ["2"], "per_page": ["1"],
    }  # fmt: skip
    assert names(await account.get(f"{ATTACHMENTS}?{following.query}")) == ["0"]


@pytest.mark.parametrize("page", [2, 4611686018427387904])
async def test_a_page_past_the_end_is_empty(account: httpx2.AsyncClient, page: int) -> None:
    await stored(account, "x")
    answer = await account.get(ATTACHMENTS, params={"page": page})
    assert names(answer) == []
    assert (answer.json()["total"], answer.json()["count"]) == (1, 0)
    assert "next" not in answer.json()["_links"]


FILTERS: list[tuple[str, list[str]]] = [
    ("name=a.wav", ["a.wav"]), ("name=A.wav", []), ("name=a", []), ("types=AUDIO/wav", ["a.wav"]),
    ("types=audio/wav&types=text/plain", ["b.txt", "a.wav"]), ("types=audio", []),
    ("state=published", ["b.txt", "a.wav"]),
    ("state=draft", []), ('metadata={"n": 1}', ["a.wav"]), ('metadata={"n": 1.0}', []), ('metadata={"n": "1"}', []),
    ('metadata={"yes": true, "n": 1}', ["a.wav"]), ('metadata={"yes": true, "n": 2}', []),
    ("metadata={}", ["b.txt", "a.wav"]),
    ('metadata={"ü": "é"}', ["b.txt"]), ('name=a.wav&metadata={"ü": "é"}', []),
]  # fmt: skip


async def test_filters_are_exact_and_combine_with_and(account: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    await stored(account, "a.wav", metadata={"n": 1, "yes": True})
    await stored(account, "b.txt", media_type="text/plain", metadata={"ü": "é"})
    for query, found in FILTERS:
        with subtests.test(query=query):
            assert names(await account.get(f"{ATTACHMENTS}?{query}")) == found


BAD_FILTERS: list[tuple[str, str]] = [
    ("per_page=251", "per_page"), ("per_page=0", "per_page"), ("per_page=x", "per_page"), ("page=0", "page"),
    ("page=4611686018427387905", "page"), ("name=", "name"), (f"name={'x' * 513}", "name"),
    (f"types={'x' * 128}", "types.0"), ("state=", "state"), (f"metadata={'x' * 128}", "metadata"),
    ("metadata=x", "metadata"), ("metadata=[]", "metadata"), ('metadata={"x": null}', "metadata"),
    ('metadata={"x": {}}', "metadata"), ('metadata={"x": NaN}', "metadata"), (f"metadata={'[' * 120}", "metadata"),
]  # fmt: skip


async def test_a_bad_filter_is_named_in_a_400(account: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for query, field in BAD_FILTERS:
        with subtests.test(query=query[:24]):
            bad_request(await account.get(f"{ATTACHMENTS}?{query}"), field)


async def test_the_largest_page_is_250(account: httpx2.AsyncClient) -> None:
    assert (await account.get(f"{ATTACHMENTS}?per_page=250")).json()["per_page"] == 250


async def test_a_list_is_the_account_s_own(account: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    await stored(account, "ours", metadata={"a": 1})
    await stored(stranger, "theirs", metadata={"a": 1})
    for query in ("", "?name=ours", '?metadata={"a": 1}'):
        assert names(await account.get(ATTACHMENTS + query)) == ["ours"]


# --- downloads ---


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(8 * 2**20)], ids=["0 B", "1 B", "8 MiB"])
async def test_bytes_come_back_as_they_went_in(account: httpx2.AsyncClient, content: bytes) -> None:
    made = await stored(account, 'report é".wav', content)
    assert made["size"] == len(content)
    answer = await fetched(account, await link_to(account, made))
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"report __.wav\"; filename*=UTF-8''report%20%C3%A9%22.wav"
    )


async def test_a_markup_file_is_a_download_too(account: httpx2.AsyncClient) -> None:
    made = await stored(account, "page.html", b"<script>alert(1)</script>", media_type="text/html")
    answer = await fetched(account, await link_to(account, made))
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_each_call_mints_a_link_that_serves_until_its_own_end(account: httpx2.AsyncClient, clock: Clock) -> None:
    made = await stored(account, "x")
    first = await link_to(account, made)
    clock.advance(seconds=300)
    second = await link_to(account, made)
    assert first != second
    assert re.fullmatch(re.escape(DESK_URL) + r"/blobs/[0-9a-f]{32}\?expires=\d+&signature=[0-9a-f]{64}", first)
    assert made["id"] not in first
    clock.advance(seconds=298)
    for _ in range(2):
        assert (await fetched(account, first)).status_code == 200
    clock.advance(seconds=3)
    byte_error(await fetched(account, first), 403, "AccessDenied")
    assert (await fetched(account, second)).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "DELETE"])
async def test_a_download_link_serves_no_other_method(account: httpx2.AsyncClient, method: str) -> None:
    answer = await fetched(account, await link_to(account, await stored(account, "x")), method)
    assert answer.status_code == 403
    if method != "HEAD":
        byte_error(answer, 403, "SignatureDoesNotMatch")


async def test_an_authorization_header_at_a_download_link_is_refused(account: httpx2.AsyncClient) -> None:
    url = await link_to(account, await stored(account, "x"))
    byte_error(await account.get(url), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("found", "replacement"), [(r"signature=.", "signature=g"), (r"expires=\d", "expires=9"), (r"/blobs/.", "/blobs/g")]
)
async def test_an_altered_download_link_is_refused(account: httpx2.AsyncClient, found: str, replacement: str) -> None:
    url = await link_to(account, await stored(account, "x"))
    byte_error(await fetched(account, re.sub(found, replacement, url)), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("wanted", "content", "span"),
    [
        ("bytes=0-0", b"0", "0-0"), ("bytes=2-4", b"234", "2-4"), ("bytes=7-", b"789", "7-9"),
        ("bytes=-3", b"789", "7-9"), ("bytes=-99", b"0123456789", "0-9"), ("bytes=8-99", b"89", "8-9"),
        ("bytes=0-9", b"0123456789", "0-9"),
    ],
)  # fmt: skip
async def test_a_single_range_is_served(account: httpx2.AsyncClient, wanted: str, content: bytes, span: str) -> None:
    url = await link_to(account, await stored(account, "x", b"0123456789"))
    answer = await fetched(account, url, range=wanted)
    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["content-range"] == f"bytes {span}/10"
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("wanted", ["bytes=0-1,3-4", "bytes=4-2", "bytes=", "bytes=-", "items=0-1", "bytes=a-b", "x"])
async def test_any_other_range_is_answered_with_the_whole(account: httpx2.AsyncClient, wanted: str) -> None:
    url = await link_to(account, await stored(account, "x", b"0123456789"))
    answer = await fetched(account, url, range=wanted)
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("size", "wanted"), [(10, "bytes=10-"), (10, "bytes=99-100"), (10, "bytes=-0"), (0, "bytes=0-0")]
)
async def test_a_range_outside_is_416(account: httpx2.AsyncClient, size: int, wanted: str) -> None:
    url = await link_to(account, await stored(account, "x", b"0" * size))
    answer = await fetched(account, url, range=wanted)
    byte_error(answer, 416, "InvalidRange")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("condition", "status"),
    [("{etag}", 206), ('"other"', 200), ("W/{etag}", 200), ("Wed, 06 May 2026 21:09:57 GMT", 200)],
)
async def test_a_range_is_served_only_of_the_bytes_that_if_range_names(
    account: httpx2.AsyncClient, condition: str, status: int
) -> None:
    url = await link_to(account, await stored(account, "x", b"0123456789"))
    etag = (await fetched(account, url)).headers["etag"]
    answer = await fetched(account, url, range="bytes=2-3", if_range=condition.format(etag=etag))
    assert answer.status_code == status


@pytest.mark.parametrize("attachment_id", [UNKNOWN, "a"])
async def test_an_unknown_attachment_has_no_link_and_cannot_be_deleted(
    account: httpx2.AsyncClient, attachment_id: str
) -> None:
    for method, path in (("GET", "/download-link"), ("DELETE", "")):
        answer = await account.request(method, f"{ATTACHMENTS}/{attachment_id}{path}")
        refused(answer, 404, "2320009", "Attachment do not exist")
        long = await account.request(method, f"{ATTACHMENTS}/{'x' * 65}{path}")
        assert (long.status_code, long.json()["code"]) == (400, "2320000")


async def test_damaged_bytes_are_never_given_out_as_whole(
    account: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    url = await link_to(account, await stored(account, "x", b"0123456789"))
    [blob] = [path for path in (the_desk.folder / "blobs").rglob("*.*") if path.is_file()]
    blob.write_bytes(b"0123456780")
    byte_error(await fetched(account, url), 503, "SlowDown")
    blob.write_bytes(b"0123")
    byte_error(await fetched(account, url), 503, "SlowDown")
    blob.unlink()
    byte_error(await fetched(account, url), 503, "SlowDown")


# --- deletes ---


async def test_a_delete_is_at_once_and_for_good(account: httpx2.AsyncClient, the_desk: Desk) -> None:
    made = await stored(account, "x", b"secret", metadata={"a": 1})
    url = await link_to(account, made)
    answer = await account.delete(f"{ATTACHMENTS}/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    byte_error(await fetched(account, url), 404, "NoSuchKey")
    for path in ("", "/download-link"):
        refused(await account.get(f"{ATTACHMENTS}/{made['id']}{path}"), 404, "2320009", "Attachment do not exist")
    refused(await account.delete(f"{ATTACHMENTS}/{made['id']}"), 404, "2320009", "Attachment do not exist")
    assert names(await account.get(f'{ATTACHMENTS}?metadata={{"a": 1}}')) == []
    assert [path for path in (the_desk.folder / "blobs").rglob("*") if path.is_file()] == []
    again = await stored(account, "x")
    assert again["id"] != made["id"], "the name is free again"


async def test_a_delete_leaves_equal_bytes_of_another_attachment(account: httpx2.AsyncClient) -> None:
    one, two = await stored(account, "one", b"same"), await stored(account, "two", b"same")
    await account.delete(f"{ATTACHMENTS}/{one['id']}")
    assert (await fetched(account, await link_to(account, two))).content == b"same"


async def test_another_account_can_neither_fetch_nor_delete(
    account: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    made = await stored(account, "x")
    for method, path in (("GET", "/download-link"), ("DELETE", "")):
        answer = await stranger.request(method, f"{ATTACHMENTS}/{made['id']}{path}")
        refused(answer, 404, "2320009", "Attachment do not exist")
    assert (await looked_up(account, made["id"])).status_code == 200


# --- the house kept ---


def blobs_of(desk: Desk) -> list[Path]:
    return sorted(path for path in (desk.folder / "blobs").rglob("*") if path.is_file())


def made_old(*paths: Path) -> None:
    long_ago = time.time() - 7200
    for path in paths:
        os.utime(path, (long_ago, long_ago))


async def test_the_bytes_of_an_attachment_are_kept_once_and_survive_a_sweep(
    account: httpx2.AsyncClient, the_desk: Desk
) -> None:
    made = await stored(account, "x", b"kept")
    made_old(*blobs_of(the_desk))
    for _ in range(2):
        await the_desk.files.sweep()
    assert len(blobs_of(the_desk)) == 1
    assert (await fetched(account, await link_to(account, made))).content == b"kept"


async def test_an_ended_reservation_goes_with_its_bytes(
    account: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    request_id = await uploaded(account)
    await the_desk.files.sweep()
    assert len(blobs_of(the_desk)) == 1
    clock.advance(days=1, seconds=1)
    await the_desk.files.sweep()
    assert blobs_of(the_desk) == []
    account.headers["authorization"] = f"Bearer {await token_of(account, KEY)}"
    bad_request(await create(account, "x", request_id), "request_id")


async def test_bytes_without_a_row_go_once_they_are_old(account: httpx2.AsyncClient, the_desk: Desk) -> None:
    await stored(account, "x", b"kept")
    [kept] = blobs_of(the_desk)
    lost = [kept.with_name(f"{kept.name[:-16]}{'0' * 16}"), the_desk.folder / "blobs" / "incoming" / ("0" * 32)]
    for path in lost:
        path.write_bytes(b"crashed before the row")
    await the_desk.files.sweep()
    assert len(blobs_of(the_desk)) == 3, "their row may be about to be written"
    made_old(kept, *lost)
    await the_desk.files.sweep()
    assert blobs_of(the_desk) == [kept]


async def test_a_repeated_put_and_a_refused_create_leave_no_bytes_behind(
    account: httpx2.AsyncClient, the_desk: Desk
) -> None:
    link = await reserved(account)
    for content in (b"one", b"two", b"three"):
        await put(account, link["url"], content)
    assert [path.read_bytes() for path in blobs_of(the_desk)] == [b"three"]
    await stored(account, "taken", b"three")
    for _ in range(3):
        assert (await create(account, "taken", link["request_id"])).status_code == 409
    assert len(blobs_of(the_desk)) == 2
    assert (await create(account, "free", link["request_id"])).status_code == 200
    assert {path.stat().st_ino for path in blobs_of(the_desk)} == {blobs_of(the_desk)[0].stat().st_ino}


async def test_equal_bytes_are_shared_within_an_organisation_and_never_across(
    account: httpx2.AsyncClient, stranger: httpx2.AsyncClient, the_desk: Desk
) -> None:
    for who in (account, stranger):
        for name in ("one", "two"):
            await stored(who, name, b"the same")
    links = {path.stat().st_ino: path.stat().st_nlink for path in blobs_of(the_desk)}
    assert sorted(links.values()) == [2, 2], "two files of two names each"


# --- a client that signs ---


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claims(clock: Clock, **more: Any) -> dict[str, Any]:
    now = int(clock.now.timestamp())
    made = {
        "iss": "desk",
        "sub": "desk",
        "aud": TOKEN_URL,
        "jti": str(uuid4()),
        "iat": now,
        "exp": now + 300,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


async def with_assertion(bare: httpx2.AsyncClient, assertion: str, **more: str) -> httpx2.Response:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return await bare.post("/oauth/token", data={**form, **more})


KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048),
    "ES384": ec.generate_private_key(ec.SECP384R1()), "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}  # fmt: skip


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_a_signed_assertion_buys_a_token(
    bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock, algorithm: str
) -> None:
    key_id = await the_desk.tenants.add_client_key(pem(KEYS[algorithm]))
    assertion = jwt.encode(claims(clock), KEYS[algorithm], algorithm, {"kid": key_id})
    answer = await with_assertion(bare, assertion, scope="attachments:read")
    assert (answer.status_code, answer.json()["scope"]) == (200, "attachments:read")
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await bare.get(ATTACHMENTS, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "other"}, {"sub": "other"}, {"aud": "https://elsewhere.test/oauth/token"}, {"exp": 0}, {"iat": 0},
        {"exp": 2_000_000_000}, {"jti": None}, {"exp": None}, {"iat": None}, {"iat": "x"},
    ],
    ids=str,
)  # fmt: skip
async def test_an_assertion_with_a_wrong_claim_buys_nothing(
    bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock, wrong: dict[str, Any]
) -> None:
    key_id = await the_desk.tenants.add_client_key(pem(KEYS["ES256"]))
    assertion = jwt.encode(claims(clock, **wrong), KEYS["ES256"], "ES256", {"kid": key_id})
    answer = await with_assertion(bare, assertion)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_an_assertion_of_another_key_or_without_signature_buys_nothing(
    bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    key_id = await the_desk.tenants.add_client_key(pem(KEYS["ES256"]))
    other = ec.generate_private_key(ec.SECP256R1())
    by_hmac = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "kid": key_id}, claims(clock))
    )
    mac = hmac.digest(pem(KEYS["ES256"]), by_hmac.encode(), "sha256")
    forged = [
        jwt.encode(claims(clock), other, "ES256", {"kid": key_id}),
        jwt.encode(claims(clock), KEYS["ES256"], "ES256", {"kid": "unknown"}),
        jwt.encode(claims(clock), KEYS["ES256"], "ES256"),
        *(jwt.encode(claims(clock), KEYS[name], name, {"kid": key_id}) for name in ("RS256", "ES384", "EdDSA")),
        jwt.encode(claims(clock), "", "none", {"kid": key_id}),
        f"{by_hmac}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "header.payload.signature",
        "",
    ]
    for assertion in forged:
        assert (await with_assertion(bare, assertion)).status_code == 401


async def test_an_assertion_buys_one_token(bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock) -> None:
    key_ids = {name: await the_desk.tenants.add_client_key(pem(key)) for name, key in KEYS.items()}

    async def status_of(algorithm: str, of: dict[str, Any], key: Any = None) -> int:
        signed = jwt.encode(of, key or KEYS[algorithm], algorithm, {"kid": key_ids[algorithm]})
        return (await with_assertion(bare, signed)).status_code

    first = claims(clock)
    assert await status_of("ES256", first, ec.generate_private_key(ec.SECP256R1())) == 401, "which uses nothing up"
    assert await status_of("ES256", first) == 200
    for again in (first, {**first, "iat": first["iat"] + 1}, {**first, "exp": first["exp"] - 1}):
        assert await status_of("ES256", again) == 401, "the same id in another signature, too"
    assert await status_of("ES256", claims(clock)) == 200
    assert await status_of("RS256", first) == 200, "ids are each client's own"
    clock.advance(seconds=200)
    assert await status_of("ES256", claims(clock)) == 200
    assert await status_of("ES256", first) == 401, "as long as it would be good"


async def test_an_assertion_buys_one_token_of_all_servers_and_after_a_restart(the_desk: Desk, clock: Clock) -> None:
    """Two desks on one store are two processes, or one before and after a restart."""
    key_id = await the_desk.tenants.add_client_key(pem(KEYS["ES256"]))
    url = the_desk.database_url
    desks = [the_desk, *(Desk(the_desk.folder, SecretStr(KEY), DESK_URL, clock, database_url=url) for _ in range(2))]
    statuses = list[int]()

    async def present(desk: Desk, assertion: str) -> None:
        transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
            statuses.append((await with_assertion(http, assertion)).status_code)

    first, second = (jwt.encode(claims(clock), KEYS["ES256"], "ES256", {"kid": key_id}) for _ in range(2))
    for desk in desks:
        await present(desk, first)
    assert statuses == [200, 401, 401]
    statuses.clear()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for desk in desks * 4:
                tasks.start_soon(present, desk, second)
    assert sorted(statuses) == [200, *[401] * 11], "at once, too"
    for desk in desks[1:]:
        await desk.close()


async def test_used_assertions_are_forgotten_once_they_have_ended(
    bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    key_id = await the_desk.tenants.add_client_key(pem(KEYS["ES256"]))

    async def kept() -> int:
        assertion = jwt.encode(claims(clock), KEYS["ES256"], "ES256", {"kid": key_id})
        assert (await with_assertion(bare, assertion)).status_code == 200
        return len(await the_desk.store.read(lambda connection: connection.execute(select(used_assertions)).all()))

    assert [await kept() for _ in range(5)] == [1, 2, 3, 4, 5]
    clock.advance(seconds=301)
    assert await kept() == 6, "for a while longer, because clocks differ"
    clock.advance(seconds=62)
    assert await kept() == 2


@pytest.mark.parametrize("bits", [1024, 2047])
async def test_a_weak_key_of_an_older_desk_opens_nothing(
    bare: httpx2.AsyncClient, the_desk: Desk, clock: Clock, bits: int
) -> None:
    weak, facts = rsa.generate_private_key(65537, bits), await the_desk.access.facts()
    row = {"id": "old", "org_id": facts["org_id"], "user_id": facts["user_id"], "kind": SIGNING_KEY}
    row["material"] = pem(weak).decode()
    await the_desk.store.write(lambda connection: connection.execute(insert(keys).values(**row)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the signing side says itself that the key is weak
        assertion = jwt.encode(claims(clock), weak, "RS256", {"kid": "old"})
    assert (await with_assertion(bare, assertion)).status_code == 401
    assert [row["state"] for row in await the_desk.tenants.keys()] == ["too weak"]


@pytest.mark.parametrize("missing", ["client_assertion", "client_assertion_type"])
async def test_an_assertion_and_its_type_come_together(bare: httpx2.AsyncClient, missing: str) -> None:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": "a.b.c"}
    del form[missing]
    answer = await bare.post("/oauth/token", data=form, headers=basic(KEY) if missing == "client_assertion" else {})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
