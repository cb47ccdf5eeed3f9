"""Who is asking: keys and tokens."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from conftest import KEY, Clock
from pydantic import SecretStr

from calltriage.desk.app import Desk
from calltriage.desk.database.store import Store
from calltriage.desk.http.access import CLIENT_ID, TOKEN_SECONDS, Access, digest
from calltriage.desk.operating.tenants import Tenants
from calltriage.operations import SCOPES

NOW = Clock().now


def basic(client_id: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{key}".encode()).decode()


@pytest.fixture
def access(the_desk: Desk) -> Access:
    return the_desk.access


@pytest.fixture
def tenants(the_desk: Desk) -> Tenants:
    return the_desk.tenants


async def issued_to(access: Access, header: str | None, scope: str | None, now: datetime) -> dict[str, Any] | None:
    """What the token endpoint makes of a Basic header."""
    who = await access.by_basic(header, now)
    return None if who is None else await access.issue_token(who, scope, now)


async def token_of(access: Access, clock: Clock, scope: str | None = None) -> str:
    issued = await issued_to(access, basic(CLIENT_ID, KEY), scope, clock.now)
    assert issued is not None
    return issued["access_token"]


async def forged(
    access: Access, clock: Clock, *, secret: bytes | str | None = None, without: str = "", **more: Any
) -> str:
    """A token with the claims of a good one, but for `more` and `without`."""
    good = jwt.decode(await token_of(access, clock), options={"verify_signature": False})
    algorithm = more.pop("algorithm", "HS256")
    claims = {name: value for name, value in {**good, **more}.items() if name != without}
    return "Bearer " + jwt.encode(claims, await access.secret() if secret is None else secret, algorithm=algorithm)


@pytest.mark.parametrize("header", [KEY, f"Bearer {KEY}", f"  {KEY} "])
async def test_the_key_is_good_bare_and_as_a_bearer(access: Access, header: str) -> None:
    who = await access.by_api_header(header, NOW)
    facts = await access.facts()
    assert who is not None
    assert (who.org_id, who.user_id) == (facts["org_id"], facts["user_id"])


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "Bearer", "Bearer ", KEY[:-1], KEY + "x", KEY.upper(), f"Basic {KEY}", "ключ", "\x00",
     f"{KEY},{KEY}",     digest(KEY)],
    ids=repr,
)  # fmt: skip
async def test_no_other_key_is_good(access: Access, header: str | None) -> None:
    assert await access.by_api_header(header, NOW) is None


async def test_keys_of_two_organisations_stand_for_two_principals(access: Access, tenants: Tenants) -> None:
    other = (await tenants.add_organisation("Other")).key
    one, two = await access.by_key(KEY, NOW), await access.by_key(other, NOW)
    assert one is not None
    assert two is not None
    assert one.org_id != two.org_id
    assert one.user_id != two.user_id


async def test_a_token_has_the_life_and_the_scopes_that_were_asked_for(access: Access, clock: Clock) -> None:
    issued = await issued_to(access, basic(CLIENT_ID, KEY), "attachments:read", clock.now)
    assert issued is not None
    assert {name: issued[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "scope": "attachments:read",
    }
    found = await access.by_token("Bearer " + issued["access_token"], clock.now)
    assert found is not None
    assert (found[0], found[1]) == (await access.by_key(KEY, NOW), {"attachments:read"})


@pytest.mark.parametrize("scope", [None, ""])
async def test_no_scope_means_all_scopes(access: Access, clock: Clock, scope: str | None) -> None:
    found = await access.by_token("Bearer " + await token_of(access, clock, scope), clock.now)
    assert found is not None
    assert found[1] == set(SCOPES)


async def test_two_tokens_are_never_the_same(access: Access, clock: Clock) -> None:
    assert await token_of(access, clock) != await token_of(access, clock)


async def test_a_token_of_one_organisation_is_not_the_other_s(access: Access, tenants: Tenants, clock: Clock) -> None:
    key = (await tenants.add_organisation("Other")).key
    issued = await issued_to(access, basic(CLIENT_ID, key), None, clock.now)
    assert issued is not None
    found = await access.by_token("Bearer " + issued["access_token"], clock.now)
    assert found is not None
    assert found[0] == await access.by_key(key, NOW)


@pytest.mark.parametrize(
    ("header", "scope"),
    [
        (None, None),
        ("", None),
        ("Basic", None),
        ("Basic ", None),
        ("Basic !!!", None),
        ("Basic " + base64.b64encode(b"\xff\xfe:x").decode(), None),
        ("Basic " + base64.b64encode(b"desk").decode(), None),
        (basic("desk", ""), None),
        (basic("desk", "wrong"), None),
        (basic("other", KEY), None),
        (basic("", KEY), None),
        (f"Bearer {KEY}", None),
        ("Bearer " + basic(CLIENT_ID, KEY).removeprefix("Basic "), None),
        (basic(CLIENT_ID, KEY), "admin"),
        (basic(CLIENT_ID, KEY), "attachments:read admin"),
        ("Basic ключ", None),
    ],
)
async def test_no_token_without_the_client_s_key_and_scopes(
    access: Access, clock: Clock, header: str | None, scope: str | None
) -> None:
    assert await issued_to(access, header, scope, clock.now) is None


async def test_a_token_ends(access: Access, clock: Clock) -> None:
    token, begun = "Bearer " + await token_of(access, clock), clock.now.replace(microsecond=0)
    assert await access.by_token(token, begun + timedelta(seconds=TOKEN_SECONDS - 1)) is not None
    assert await access.by_token(token, begun + timedelta(seconds=TOKEN_SECONDS)) is None


async def test_a_token_whose_signature_is_altered_is_refused(access: Access, clock: Clock) -> None:
    head, body, signature = (await token_of(access, clock)).split(".")
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    for token in (f"{head}.{body}.{other}", f"{head}.{body}.", f"{head}.{body}", f"{head}.{body[:-2]}.{signature}"):
        assert await access.by_token(f"Bearer {token}", clock.now) is None


async def test_a_token_with_other_claims_under_its_signature_is_refused(access: Access, clock: Clock) -> None:
    head, _, signature = (await token_of(access, clock)).split(".")
    body = (await forged(access, clock, org="other")).split(".")[1]
    assert await access.by_token(f"Bearer {head}.{body}.{signature}", clock.now) is None


async def test_a_token_signed_with_another_secret_is_refused(access: Access, clock: Clock) -> None:
    assert await access.by_token(await forged(access, clock, secret=b"s" * 32), clock.now) is None


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_a_token_of_another_algorithm_is_refused(access: Access, clock: Clock, algorithm: str) -> None:
    secret = (await access.secret()) * 2
    assert await access.by_token(await forged(access, clock, secret=secret, algorithm=algorithm), clock.now) is None


async def test_a_token_without_signature_is_refused(access: Access, clock: Clock) -> None:
    unsigned = await forged(access, clock, secret="", algorithm="none")
    assert await access.by_token(unsigned, clock.now) is None


@pytest.mark.parametrize("claim", ["exp", "sub", "org", "scope"])
async def test_a_token_without_a_needed_claim_is_refused(access: Access, clock: Clock, claim: str) -> None:
    assert await access.by_token(await forged(access, clock), clock.now) is not None
    assert await access.by_token(await forged(access, clock, without=claim), clock.now) is None


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer x", f"Bearer {KEY}", KEY, "Bearer ключ", "Bearer a.b.c"]
)
async def test_what_is_no_token_is_refused(access: Access, clock: Clock, header: str | None) -> None:
    assert await access.by_token(header, clock.now) is None


async def test_a_token_without_the_word_bearer_is_refused(access: Access, clock: Clock) -> None:
    token = await token_of(access, clock)
    assert await access.by_token(token, clock.now) is None
    assert await access.by_token(f"Basic {token}", clock.now) is None


async def test_tokens_of_two_desks_are_not_each_other_s(
    access: Access, clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:

    store = Store(tmp_path_factory.mktemp("other"))
    other = Access(store, SecretStr(KEY))
    assert await other.by_token("Bearer " + await token_of(access, clock), clock.now) is None
    await store.close()
