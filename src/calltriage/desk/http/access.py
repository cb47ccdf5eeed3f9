"""Who is asking: API keys on the triage side, OAuth tokens on the attachments side, one principal behind both."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt
from pydantic import SecretStr
from sqlalchemy import Connection, delete, insert, select

from calltriage.desk import CLIENT_ID
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import api_keys, client_keys, new_id, new_organisation, organisations, settings
from calltriage.desk.database.transaction import Principal
from calltriage.errors import SettingsError, StoreError
from calltriage.operations import SCOPES

TOKEN_SECONDS = 599
ASSERTION_SECONDS = 300
"""Life of a signed assertion at most (talkdesk-attachments, section 3.1)."""
CLOCK_SKEW = 60
"""Seconds that a client's clock may be ahead."""
SIGNATURES = ["ES256", "ES384", "ES512", "RS256"]
"""Algorithms of assertions; the key's own kind decides which of them can verify."""
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Those that the first three are for."""


def digest(key: str) -> str:
    """What is kept of a key. Keys are 256 random bits or the operator's own, never a person's password."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class NewKey:
    """A key just made, and whom it stands for. The key is nowhere else: only its digest is kept."""

    org_id: str
    user_id: str
    key: str = field(repr=False)


class Access:
    """Turns what a request carries into a principal. `key` is the one of the desk's first organisation."""

    def __init__(self, store: Store, key: SecretStr) -> None:
        self._store = store
        self._key_digest = digest(key.get_secret_value())
        self._facts: dict[str, str] | None = None
        self._used = dict[str, float]()
        """Assertions that bought a token, by digest, until they end."""
        self._next_look = 0.0

    async def facts(self) -> dict[str, str]:
        """The desk's own settings rows, read once: organisation, user and signing secret."""
        if self._facts is None:
            rows = await self._store.read(lambda connection: connection.execute(select(settings)).all())
            self._facts = {row.name: row.value for row in rows}
        return self._facts

    async def secret(self) -> bytes:
        return bytes.fromhex((await self.facts())["secret"])

    async def by_key(self, key: str) -> Principal | None:
        """The principal of an API key."""
        facts, found = await self.facts(), digest(key)
        if hmac.compare_digest(found, self._key_digest):
            return Principal(facts["org_id"], facts["user_id"])
        query = select(api_keys.c.org_id, api_keys.c.user_id).where(api_keys.c.digest == found)
        row = await self._store.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else Principal(row.org_id, row.user_id)

    async def by_api_header(self, header: str | None) -> Principal | None:
        """The bare key, or `Bearer <key>` (both are accepted: bland-triage, section 2)."""
        return await self.by_key(re.sub("(?i)^bearer ", "", header).strip()) if header else None

    async def by_basic(self, header: str | None) -> Principal | None:
        """The principal of a client that sends its id and secret; the secret is an API key."""
        scheme, _, pair = (header or "").partition(" ")
        try:
            client_id, _, key = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return None
        return await self.by_key(key) if (scheme.lower(), client_id) == ("basic", CLIENT_ID) else None

    async def by_assertion(self, assertion: str, token_url: str, now: datetime) -> Principal | None:
        """The principal of a client that signs with a key of ours to know: RFC 7523, with the vendor's claims."""
        try:
            key_id = jwt.get_unverified_header(assertion).get("kid")
            query = select(client_keys).where(client_keys.c.id == str(key_id))
            row = await self._store.read(lambda connection: connection.execute(query).one_or_none())
            if row is None:
                return None
            claims = jwt.decode(
                assertion,
                row.public_key,
                algorithms=SIGNATURES,
                audience=token_url,
                issuer=CLIENT_ID,
                options={
                    "require": ["iss", "sub", "aud", "jti", "iat", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            began, ends = float(claims["iat"]), float(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError):  # an algorithm that is not the key's is no bad token to it
            return None
        seconds = now.timestamp()
        in_time = began - CLOCK_SKEW <= seconds < ends <= began + ASSERTION_SECONDS
        if not in_time or claims["sub"] != CLIENT_ID or not self._is_first(f"{row.id} {claims['jti']}", ends, seconds):
            return None
        return Principal(row.org_id, row.user_id)

    def _is_first(self, assertion: str, ends: float, now: float) -> bool:
        """Whether an assertion was not used before (RFC 7523, section 3: its `jti`). This process alone remembers."""
        if now >= self._next_look:
            self._used = {used: until for used, until in self._used.items() if until > now}
            self._next_look = now + CLOCK_SKEW
        named = digest(assertion)
        if named in self._used:
            return False
        self._used[named] = ends
        return True

    async def add_client_key(self, public_key: bytes) -> str:
        """Let a client of the desk's first organisation sign with the private half of this key, given in PEM. Returns the
        id that its assertions name. Raises SettingsError for what is no such key."""
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            Encoding,
            PublicFormat,
            load_pem_public_key,
        )

        try:
            key = load_pem_public_key(public_key)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        is_good = isinstance(key, RSAPublicKey) or (
            isinstance(key, EllipticCurvePublicKey) and key.curve.name in CURVES
        )
        if key is None or not is_good:
            raise SettingsError(
                "No client can sign with this key. Give the public half of an RSA key, or of one on the curve P-256, P-384 "
                "or P-521, in PEM."
            )
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        key_id, facts = hashlib.sha256(der).hexdigest()[:32], await self.facts()
        row = {"id": key_id, "org_id": facts["org_id"], "user_id": facts["user_id"], "public_key": pem}

        def add(connection: Any) -> None:
            connection.execute(delete(client_keys).where(client_keys.c.id == key_id))
            connection.execute(insert(client_keys).values(**row))

        await self._store.write(add)
        return key_id

    async def issue_token(self, who: Principal, scope: str | None, now: datetime) -> dict[str, Any] | None:
        """An access token with the scopes asked for, or all; None when one of them is not to be had."""
        wanted = scope.split() if scope else list(SCOPES)
        if not set(wanted) <= set(SCOPES):
            return None
        claims = {
            "sub": who.user_id,
            "org": who.org_id,
            "scope": " ".join(wanted),
            "exp": int(now.timestamp()) + TOKEN_SECONDS,
            "jti": uuid.uuid4().hex,
        }
        token = jwt.encode(claims, await self.secret(), algorithm="HS256")
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": claims["scope"]}

    async def by_token(self, header: str | None, now: datetime) -> tuple[Principal, set[str]] | None:
        """Principal and scopes of a bearer token; None when it is missing, foreign, altered or expired."""
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = jwt.decode(
                token,
                await self.secret(),
                algorithms=["HS256"],
                options={"require": ["exp", "sub", "org", "scope"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims["exp"] <= now.timestamp():
            return None
        return Principal(claims["org"], claims["sub"]), set(claims["scope"].split())

    async def add_organisation(self, name: str) -> NewKey:
        """Make another organisation with one user."""
        made = NewKey(new_id(), new_id(), secrets.token_urlsafe(32))

        def add(connection: Connection) -> None:
            connection.execute(insert(organisations).values(**new_organisation(made.org_id, name)))
            _keep(connection, made)

        await self._store.write(add)
        return made

    async def add_user(self, org_id: str | None = None, name: str | None = None) -> NewKey:
        """Make another user, of the desk's own organisation unless one is named. Raises StoreError for an unknown one."""
        org = org_id or (await self.facts())["org_id"]
        made = NewKey(org, new_id(), secrets.token_urlsafe(32))

        def add(connection: Connection) -> None:
            if connection.execute(select(organisations.c.id).where(organisations.c.id == org)).first() is None:
                raise unknown_organisation()
            _keep(connection, made, name)

        await self._store.write(add)
        return made

    async def organisations(self) -> list[tuple[str, str]]:
        """Ids and names, oldest first."""
        query = select(organisations.c.id, organisations.c.name).order_by(
            organisations.c.created_at, organisations.c.id
        )
        rows = await self._store.read(lambda connection: connection.execute(query).all())
        return [(row.id, row.name) for row in rows]


def _keep(connection: Connection, made: NewKey, name: str | None = None) -> None:
    row = {"digest": digest(made.key), "org_id": made.org_id, "user_id": made.user_id, "name": name}
    connection.execute(insert(api_keys).values(**row))


def unknown_organisation() -> StoreError:
    return StoreError("The desk has no such organisation. `calltriage desk organisations` lists them.")
