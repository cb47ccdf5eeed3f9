"""Signed assertions of clients: the keys that may sign them, and the checks of an assertion (RFC 7523, with the vendor's
claims: talkdesk-attachments, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from calltriage.desk import CLIENT_ID

ASSERTION_SECONDS = 300
"""Longest life of a signed assertion."""
CLOCK_SKEW = 60
"""Seconds that a client's clock may be ahead of the desk's."""
ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
"""Algorithm by curve (RFC 7518, section 3.4)."""
RSA_BITS = 2048
"""The shortest RSA key that is taken (RFC 7518, section 3.3)."""
UNUSABLE = (
    f"Clients may not sign with this key. Give the public half of an RSA key of at least {RSA_BITS} bits, of an Ed25519 key "
    "or of a key on the curve P-256, P-384 or P-521, in PEM."
)


@dataclass(frozen=True)
class PublicKey:
    """A key that clients may sign with, and the one algorithm that goes with it."""

    key: Any = field(repr=False)
    algorithm: str


@dataclass(frozen=True)
class Claims:
    """What a valid assertion says: its id, and its end in Unix seconds."""

    jti: str
    ends: float


def public_key_of(pem: bytes) -> PublicKey | None:
    """The key of a PEM text; None for a text that is no key, or a key that is too weak or of another kind."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    match key:
        case RSAPublicKey():
            algorithm = "RS256" if key.key_size >= RSA_BITS else None
        case EllipticCurvePublicKey():
            algorithm = ALGORITHMS.get(key.curve.name)
        case Ed25519PublicKey():
            algorithm = "EdDSA"
        case _:
            algorithm = None
    return None if algorithm is None else PublicKey(key, algorithm)


def key_id_of(assertion: str) -> str | None:
    """The key id that an assertion names (`kid`), not checked; None if it cannot be read."""
    import jwt  # noqa: PLC0415  not needed until a client signs

    try:
        return str(jwt.get_unverified_header(assertion).get("kid"))
    except jwt.PyJWTError:
        return None


def read_assertion(assertion: str, public_key: str, token_url: str, now: datetime) -> Claims | None:
    """What an assertion says; None unless it is signed with the key, made for this token URL and valid now."""
    import jwt  # noqa: PLC0415

    usable = public_key_of(public_key.encode())
    if usable is None:
        return None
    required = ["iss", "sub", "aud", "jti", "iat", "exp"]
    try:
        claims = jwt.decode(
            assertion,
            usable.key,
            algorithms=[usable.algorithm],
            audience=token_url,
            issuer=CLIENT_ID,
            options={"require": required, "verify_exp": False, "verify_iat": False},
        )
        began, ends = float(claims["iat"]), float(claims["exp"])
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        return None
    in_time = began - CLOCK_SKEW <= now.timestamp() < ends <= began + ASSERTION_SECONDS
    return Claims(str(claims["jti"]), ends) if in_time and claims["sub"] == CLIENT_ID else None
