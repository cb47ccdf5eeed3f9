"""Keys of clients that sign: in the vendor's form and in PEM, and never shown."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import jwt
import pytest
from conftest import DESK_URL, endpoints_to
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from faults import Scripted

from calltriage.client.client import open_client
from calltriage.client.credentials import ClientCredentials, Endpoint
from calltriage.client.signing_keys import read_signing_key
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError, Unauthenticated
from calltriage.operations.attachments import ListAttachments
from calltriage.operations.base import Api

P256, P384, P521 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
PKCS8, NONE = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
TOKEN_URL = "https://account.talkdeskid.eu/oauth/token"


def in_pem(key: Any, encryption: Any = NONE) -> str:
    return key.private_bytes(serialization.Encoding.PEM, PKCS8, encryption).decode()


def in_base64(key: Any) -> str:
    return base64.b64encode(key.private_bytes(serialization.Encoding.DER, PKCS8, NONE)).decode()


def wrapped(text: str) -> str:
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64)) + "\n"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(P256, "ES256"), (P384, "ES384"), (P521, "ES512"), (RSA, "RS256"), (ED, "EdDSA")],
    ids=lambda v: str(v)[:5],
)
def test_a_key_is_read_in_every_form_and_signs_with_its_algorithm(key: Any, algorithm: str) -> None:
    texts = (in_pem(key), in_pem(key).replace("\n", "\\n"), in_base64(key), wrapped(in_base64(key)))
    for text in texts:
        signing = read_signing_key("kid-1", text)
        assertion = signing.assertion("client-1", TOKEN_URL)
        assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "kid": "kid-1", "typ": "JWT"}
        claims = jwt.decode(assertion, key.public_key(), [algorithm], audience=TOKEN_URL)
        assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == ("client-1", "client-1", 300)
        assert text.strip()[30:60] not in repr(signing)


def test_each_assertion_has_an_id_of_its_own() -> None:
    signing = read_signing_key("kid-1", in_base64(P256))
    ids = {
        jwt.decode(signing.assertion("c", TOKEN_URL), P256.public_key(), ["ES256"], audience=TOKEN_URL)["jti"]
        for _ in range(5)
    }
    assert len(ids) == 5


@pytest.mark.parametrize(
    "text",
    [
        "", "canary", "Y2FuYXJ5", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----", "canary\x00é",
        in_pem(P256, serialization.BestAvailableEncryption(b"canary")), in_base64(ed448.Ed448PrivateKey.generate()),
        in_base64(rsa.generate_private_key(65537, 1024)), in_pem(rsa.generate_private_key(65537, 2047)),
        in_base64(ec.generate_private_key(ec.SECP256K1())),
    ],
    ids=["empty", "none", "base64 of none", "PEM of none", "binary", "encrypted", "Ed448", "1024", "2047", "secp256k1"],
)  # fmt: skip
def test_what_is_no_usable_key_is_the_operator_s_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_signing_key("kid-1", text)
    assert "canary" not in str(caught.value)
    assert text == "" or text not in str(caught.value)


@pytest.mark.parametrize("key", [P256, RSA, ED], ids=["ES256", "RS256", "EdDSA"])
async def test_a_signing_client_works_on_the_desk(the_desk: Desk, key: Any) -> None:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key_id = await the_desk.tenants.add_client_key(public)
    the_desk.clock = the_desk.files.clock = _wall_clock
    network = Scripted(inner=httpx2.ASGITransport(the_desk), only=lambda request: request.url.path == "/oauth/token")

    def as_client(named: str) -> dict[Api, Endpoint]:
        credentials = ClientCredentials(
            f"{DESK_URL}/oauth/token", "desk", read_signing_key(named, in_base64(key)), ("attachments:read",)
        )
        return {**endpoints_to(network), Api.ATTACHMENTS: Endpoint(DESK_URL, credentials, network)}

    async with open_client(as_client(key_id)) as client:
        assert (await client.send(ListAttachments())).items == []
    [request] = network.requests
    assert "authorization" not in request.headers
    async with open_client(as_client("unknown")) as client:
        with pytest.raises(Unauthenticated):
            await client.send(ListAttachments())


def _wall_clock() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
