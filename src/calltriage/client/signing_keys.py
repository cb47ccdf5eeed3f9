"""A client that signs: `private_key_jwt` as Talkdesk's marketplace apps must use it (talkdesk-attachments, section 3.1)."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass, field
from typing import Any

from uuid_utils import uuid4

from calltriage.errors import SettingsError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 300
RSA_BITS = 2048
"""The shortest RSA key that is taken (RFC 7518, section 3.3)."""
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
"""Algorithm by curve (RFC 7518, section 3.4)."""


@dataclass(frozen=True)
class SigningKey:
    """A private key and the id under which the vendor knows its public half."""

    key_id: str
    algorithm: str
    key: Any = field(repr=False)

    def assertion(self, client_id: str, token_url: str) -> str:
        """A signed statement of who asks, good for five minutes and for this token URL alone."""
        import jwt  # noqa: PLC0415  not needed by a client with a secret

        now = int(time.time())
        claims = {
            "iss": client_id, "sub": client_id, "aud": token_url, "jti": str(uuid4()), "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }  # fmt: skip
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": self.key_id})


def read_signing_key(key_id: str, text: str) -> SigningKey:
    """The key from PEM, or from Base64 of PKCS#8 without PEM's lines, as the vendor gives it.

    Raises SettingsError, which holds nothing of the key.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key  # noqa: PLC0415

    try:
        if "-----BEGIN" in text:
            key = load_pem_private_key(text.replace("\\n", "\n").encode(), None)
        else:
            key = load_der_private_key(base64.b64decode("".join(text.split()), validate=True), None)
    except (ValueError, TypeError, binascii.Error):
        raise SettingsError(
            "The private key is not one. Give it unencrypted, in PEM or as Base64 of PKCS#8, the way the vendor showed it."
        ) from None
    match key:
        case RSAPrivateKey():
            algorithm = "RS256" if key.key_size >= RSA_BITS else None
        case EllipticCurvePrivateKey():
            algorithm = CURVES.get(key.curve.name)
        case Ed25519PrivateKey():
            algorithm = "EdDSA"
        case _:
            algorithm = None
    if algorithm is None:
        raise SettingsError(
            f"The private key is too short or of a kind that is not supported. Use an RSA key of at least {RSA_BITS} bits, "
            "an Ed25519 key, or a key on one of the curves P-256, P-384 and P-521."
        )
    return SigningKey(key_id, algorithm, key)
