"""Organisations, users and keys: named, listed, rotated, ended by time or by hand, on a desk that others use meanwhile."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from calltriage.desk.app import Desk
from calltriage.desk.http.access import CLIENT_ID, digest
from calltriage.desk.operating.tenants import OWN_KEY, Tenants, What
from calltriage.errors import SettingsError, StoreError

OWN = "the-desks-own-key-0123456789"
ISSUES = "/v1/triage/issues"


@pytest.fixture
def tenants(the_desk: Desk) -> Tenants:
    return the_desk.tenants


async def status_of(desk: Desk, key: str) -> int:
    """What the desk answers to a key on the triage side, and, which must agree, to a request for a token."""
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
        status = (await http.get(ISSUES, headers={"authorization": key})).status_code
        basic = {"authorization": "Basic " + base64.b64encode(f"{CLIENT_ID}:{key}".encode()).decode()}
        token = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=basic)
    assert token.status_code == status
    return status


async def with_token(desk: Desk, key: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    http = httpx2.AsyncClient(transport=transport, base_url=DESK_URL)
    basic = {"authorization": "Basic " + base64.b64encode(f"{CLIENT_ID}:{key}".encode()).decode()}
    answer = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=basic)
    http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    return http


async def one(tenants: Tenants, row_id: str) -> dict[str, Any]:
    [found] = [row for row in await tenants.keys() if row["id"] == row_id]
    return found


async def test_keys_are_listed_by_a_short_id_and_never_shown(the_desk: Desk, tenants: Tenants, clock: Clock) -> None:
    ada = await tenants.add_user(name="Ada")
    other = await tenants.add_key(ada.user_id, "laptop", clock.now + timedelta(days=30))
    listed = await tenants.keys()
    assert {row["id"]: (row["name"], row["kind"], row["user"], row["state"]) for row in listed} == {
        ada.id: (None, "api", ada.user_id, "valid"),
        other.id: ("laptop", "api", ada.user_id, "valid"),
    }
    assert all(len(row["id"]) == 8 for row in listed)
    shown = json.dumps(listed)
    for key in (ada.key, other.key):
        assert await status_of(the_desk, key) == 200
        assert key not in shown
        assert digest(key)[:8] not in shown
        assert key not in repr((ada, other))


async def test_an_expired_key_is_refused_from_that_instant_on(the_desk: Desk, tenants: Tenants, clock: Clock) -> None:
    made = await tenants.add_key(expires=clock.now + timedelta(hours=1))
    assert await status_of(the_desk, made.key) == 200
    http = await with_token(the_desk, made.key)
    clock.advance(minutes=55)
    http = await with_token(the_desk, made.key)
    assert (await http.get("/attachments/2023-03")).status_code == 200
    clock.advance(minutes=5)
    assert await status_of(the_desk, made.key) == 401
    assert (await http.get("/attachments/2023-03")).status_code == 401, "a token ends with the key that bought it"
    assert (await one(tenants, made.id))["state"] == "expired"
    await tenants.change("keys", made.id, expires="never")
    assert await status_of(the_desk, made.key) == 200
    await http.aclose()


@pytest.mark.parametrize("what", ["keys", "users", "organisations"])
async def test_what_is_revoked_opens_nothing_any_more(the_desk: Desk, tenants: Tenants, what: What) -> None:
    made, bystander = await tenants.add_organisation("B"), await tenants.add_organisation("C")
    http = await with_token(the_desk, made.key)
    assert (await http.get("/attachments/2023-03")).status_code == 200
    row_id = {"keys": made.id, "users": made.user_id, "organisations": made.org_id}[what]
    assert await tenants.revoke(what, row_id)
    assert not await tenants.revoke(what, row_id), "once is enough"
    assert await status_of(the_desk, made.key) == 401
    assert (await http.get("/attachments/2023-03")).status_code == 401
    assert await status_of(the_desk, bystander.key) == await status_of(the_desk, KEY) == 200
    of_key = {"keys": "revoked", "users": "user revoked", "organisations": "organisation revoked"}[what]
    assert (await one(tenants, made.id))["state"] == of_key
    await http.aclose()


@pytest.mark.parametrize("what", ["users", "organisations"])
async def test_users_and_organisations_expire_too(the_desk: Desk, tenants: Tenants, clock: Clock, what: What) -> None:
    made = await tenants.add_organisation("B")
    row_id = {"users": made.user_id, "organisations": made.org_id}[what]
    await tenants.change(what, row_id, name="Guest", expires=clock.now + timedelta(days=1))
    assert await status_of(the_desk, made.key) == 200
    clock.advance(days=1)
    assert await status_of(the_desk, made.key) == 401
    [row] = [
        row for row in await (tenants.users() if what == "users" else tenants.organisations()) if row["id"] == row_id
    ]
    assert (row["name"], row["state"]) == ("Guest", "expired")


async def test_a_rotated_key_is_good_beside_the_new_one_until_the_overlap_ends(
    the_desk: Desk, tenants: Tenants, clock: Clock
) -> None:
    old = await tenants.add_key(name="phone")
    new = await tenants.rotate(old.id, timedelta(hours=2))
    assert (new.user_id, (await one(tenants, new.id))["name"]) == (old.user_id, "phone")
    clock.advance(hours=1, minutes=59)
    assert [await status_of(the_desk, key) for key in (old.key, new.key)] == [200, 200]
    clock.advance(minutes=1)
    assert [await status_of(the_desk, key) for key in (old.key, new.key)] == [401, 200]
    at_once = await tenants.rotate(new.id, timedelta(0))
    assert [await status_of(the_desk, key) for key in (new.key, at_once.key)] == [401, 200]


async def test_rotating_never_lengthens_a_life(the_desk: Desk, tenants: Tenants, clock: Clock) -> None:
    end = clock.now + timedelta(hours=1)
    old = await tenants.add_key(expires=end)
    with pytest.raises(SettingsError, match="--expires"):
        await tenants.rotate(old.id, timedelta(hours=24))
    new = await tenants.rotate(old.id, timedelta(hours=24), end)
    clock.advance(hours=1)
    assert [await status_of(the_desk, key) for key in (old.key, new.key)] == [401, 401]
    with pytest.raises(SettingsError, match="expired"):
        await tenants.rotate(new.id, timedelta(hours=1))


async def test_the_desks_own_key_is_kept_rotated_and_revoked_like_another(
    the_desk: Desk, tenants: Tenants, clock: Clock
) -> None:
    assert await status_of(the_desk, OWN) == 401
    assert await tenants.keep_own_key(OWN)
    assert await tenants.keep_own_key(OWN)
    own = await one(tenants, OWN_KEY)
    assert own["user"] == (await the_desk.access.facts())["user_id"]
    assert await status_of(the_desk, OWN) == 200
    new = await tenants.rotate(OWN_KEY, timedelta(hours=1))
    assert new.id == OWN_KEY
    assert [await status_of(the_desk, key) for key in (OWN, new.key)] == [200, 200]
    clock.advance(hours=1)
    assert [await status_of(the_desk, key) for key in (OWN, new.key)] == [401, 200]
    assert not await tenants.keep_own_key(OWN), "a key that has ended does not come back by being configured"
    assert await tenants.keep_own_key("another-key-of-the-operator")
    assert await status_of(the_desk, new.key) == 401, "what was configured before ends, as it always did"
    await tenants.revoke("keys", OWN_KEY)
    assert await status_of(the_desk, "another-key-of-the-operator") == 401
    assert not await tenants.keep_own_key("another-key-of-the-operator")
    assert await tenants.keep_own_key("the-key-after-that-one")
    assert not await tenants.keep_own_key("another-key-of-the-operator"), "revoked for good, whatever came between"
    assert await status_of(the_desk, "the-key-after-that-one") == 200
    assert await status_of(the_desk, KEY) == 200, "the key of the process itself is not a row"


async def test_the_desks_own_organisation_and_user_cannot_be_ended(
    tenants: Tenants, the_desk: Desk, clock: Clock
) -> None:
    facts = await the_desk.access.facts()
    own: tuple[tuple[What, str], ...] = (("organisations", facts["org_id"]), ("users", facts["user_id"]))
    for what, row_id in own:
        with pytest.raises(SettingsError, match="the desk's own"):
            await tenants.revoke(what, row_id)
        with pytest.raises(SettingsError, match="the desk's own"):
            await tenants.change(what, row_id, expires=clock.now + timedelta(days=1))
        await tenants.change(what, row_id, name="Ours", expires="never")
    assert [row["name"] for row in await tenants.users()] == ["Ours"]


@pytest.mark.parametrize("what", ["keys", "users", "organisations"])
async def test_an_unknown_id_is_said_to_be_one(tenants: Tenants, what: What) -> None:
    for work in (tenants.revoke(what, "absent"), tenants.change(what, "absent", name="x")):
        with pytest.raises(StoreError, match=f"desk {what} list"):
            await work
    with pytest.raises(StoreError, match="desk users list"):
        await tenants.add_key("absent")
    with pytest.raises(StoreError, match="desk organisations list"):
        await tenants.add_user("absent")
    with pytest.raises(StoreError, match="desk keys list"):
        await tenants.rotate("absent", timedelta(0))


@pytest.mark.parametrize("name", ["", "  ", "x" * 129])
async def test_a_name_that_is_none_is_refused(tenants: Tenants, name: str) -> None:
    for work in (tenants.add_organisation(name), tenants.add_user(name=name), tenants.add_key(name=name)):
        with pytest.raises(SettingsError, match="1 to 128"):
            await work


async def test_members_are_the_users_that_stand(the_desk: Desk, tenants: Tenants, clock: Clock) -> None:
    ada, guest = await tenants.add_user(name="Ada Lovelace"), await tenants.add_user(expires=clock.now + timedelta(1))
    second = await tenants.add_key(ada.user_id)
    await tenants.revoke("keys", ada.id)
    facts = await the_desk.access.facts()
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY}) as http:

        async def members() -> set[str]:
            answer = await http.get(f"/v1/orgs/{facts['org_id']}/members")
            return {member["user_id"] for member in answer.json()["data"]}

        assert await members() == {facts["user_id"], ada.user_id, guest.user_id}, "a user is more than a key"
        clock.advance(days=1)
        assert await members() == {facts["user_id"], ada.user_id}
        await tenants.revoke("users", ada.user_id)
        assert await members() == {facts["user_id"]}
    assert await status_of(the_desk, second.key) == 401


# --- keys of clients that sign ---


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private(key: Any) -> bytes:
    no_encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_encryption)


WEAK_512 = b"""-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOP14CVx+gUzMlRjsEcMeXYKHuOnCwt2
YNde15NBKs8knxBLarJeZulzyqvmqU8TaZoGpTKuSOsSpoRg3P67ahkCAwEAAQ==
-----END PUBLIC KEY-----
"""
"""A key of 512 bits, which the library at hand no longer makes."""


@pytest.mark.parametrize(
    "key",
    [
        b"", b"canary", b"-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n",
        private(ec.generate_private_key(ec.SECP256R1())), public(ec.generate_private_key(ec.SECP256K1())),
        public(ec.generate_private_key(ec.SECP224R1())), public(ed448.Ed448PrivateKey.generate()),
        WEAK_512, public(rsa.generate_private_key(65537, 1024)), public(rsa.generate_private_key(65537, 2047)),
    ],
    ids=["empty", "none", "broken", "private", "another curve", "a short curve", "another kind", "512", "1024", "2047"],
)  # fmt: skip
async def test_a_key_that_no_client_can_sign_with_is_not_taken(tenants: Tenants, key: bytes) -> None:
    with pytest.raises(SettingsError, match=r"public half.*2048.*PEM") as caught:
        await tenants.add_client_key(key)
    assert "canary" not in str(caught.value)
    assert await tenants.keys() == []


async def test_a_key_has_one_id_however_often_it_is_added(tenants: Tenants) -> None:
    keys = [public(ec.generate_private_key(curve)) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())]
    keys += [public(rsa.generate_private_key(65537, 2048)), public(ed25519.Ed25519PrivateKey.generate())]
    ids = [await tenants.add_client_key(key) for key in keys]
    assert len(set(ids)) == 5
    assert [await tenants.add_client_key(key) for key in keys] == ids
    assert {row["kind"] for row in await tenants.keys()} == {"signing"}


async def test_a_signing_key_that_was_revoked_or_is_another_users_is_not_taken_again(tenants: Tenants) -> None:
    pem, other = public(ec.generate_private_key(ec.SECP256R1())), await tenants.add_user()
    key_id = await tenants.add_client_key(pem)
    with pytest.raises(SettingsError, match="another user's"):
        await tenants.add_client_key(pem, user_id=other.user_id)
    await tenants.revoke("keys", key_id)
    with pytest.raises(SettingsError, match="revoked"):
        await tenants.add_client_key(pem)
    with pytest.raises(SettingsError, match="Only an API key"):
        await tenants.rotate(key_id, timedelta(hours=1))
