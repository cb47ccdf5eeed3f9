"""Who is asking: API keys on the triage side, OAuth tokens on the attachments side, one principal behind both."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import secrets
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select
from sqlalchemy.exc import IntegrityError
from uuid_utils import uuid4

from calltriage.desk import CLIENT_ID
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import (
    API_KEY,
    SIGNING_KEY,
    WEBHOOK_KEY,
    keys,
    organisations,
    settings,
    stands,
    used_assertions,
    users,
)
from calltriage.desk.database.transaction import Principal
from calltriage.desk.http.client_keys import CLOCK_SKEW, Claims, key_id_of, read_assertion
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import SCOPES

TOKEN_SECONDS = 599


def digest(key: str) -> str:
    """The SHA-256 of a key in hex, which is stored in its place. Keys are 256 random bits or the operator's own, never a
    person's password."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class Access:
    """Finds the principal of a request's credentials. `key` is the key of the desk's own user and is in no table."""

    def __init__(self, store: Store, key: SecretStr) -> None:
        self._store = store
        self._key_digest = digest(key.get_secret_value())
        self._facts: dict[str, str] | None = None

    async def facts(self) -> dict[str, str]:
        """The desk's own settings rows, read once: organisation, user and signing secret."""
        if self._facts is None:
            rows = await self._store.read(lambda connection: connection.execute(select(settings)).all())
            self._facts = {row.name: row.value for row in rows}
        return self._facts

    async def secret(self) -> bytes:
        return bytes.fromhex((await self.facts())["secret"])

    async def by_key(self, key: str, now: datetime) -> Principal | None:
        """The principal of an API key."""
        facts, found = await self.facts(), digest(key)
        if secrets.compare_digest(found, self._key_digest):
            return Principal(facts["org_id"], facts["user_id"])
        return await self._holder((keys.c.kind == API_KEY) & (keys.c.material == found), now)

    async def _holder(self, wanted: ColumnElement[bool], now: datetime) -> Principal | None:
        """The principal of the wanted key; None unless the key, its user and its organisation are valid."""
        query = _standing(now, wanted)
        row = await self._store.read(lambda connection: connection.execute(query).one_or_none(), is_brief=True)
        return None if row is None else Principal(row.org_id, row.user_id, row.id)

    async def webhook_secrets(self, org_id: str, now: datetime) -> list[str]:
        """The secrets that webhooks of an organisation may be signed with."""
        query = _standing(now, (keys.c.kind == WEBHOOK_KEY) & (keys.c.org_id == org_id))
        rows = await self._store.read(lambda connection: connection.execute(query).all())
        return [row.material for row in rows]

    async def by_api_header(self, header: str | None, now: datetime) -> Principal | None:
        """The principal of an Authorization header: the bare key, or `Bearer <key>` (bland-triage, section 2)."""
        return await self.by_key(re.sub("(?i)^bearer ", "", header).strip(), now) if header else None

    async def by_basic(self, header: str | None, now: datetime) -> Principal | None:
        """The principal of a client that sends its id and secret; the secret is an API key."""
        scheme, _, pair = (header or "").partition(" ")
        try:
            client_id, _, key = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return None
        return await self.by_key(key, now) if (scheme.lower(), client_id) == ("basic", CLIENT_ID) else None

    async def by_assertion(self, assertion: str, token_url: str, now: datetime) -> Principal | None:
        """The principal of a client that signs with a key that was added to the desk. An assertion works once."""
        named = (keys.c.kind == SIGNING_KEY) & (keys.c.id == key_id_of(assertion))
        who = await self._holder(named, now)
        if who is None:
            return None
        query = select(keys.c.material).where(keys.c.id == who.key_id)
        public_key = await self._store.read(lambda connection: connection.execute(query).scalar_one())
        claims = read_assertion(assertion, public_key, token_url, now)
        return who if claims is not None and await self._is_first(who.key_id, claims, now) else None

    async def _is_first(self, key_id: str, claims: Claims, now: datetime) -> bool:
        """Record that an assertion was used. False if it was used before (RFC 7523, section 3: `jti`).

        The records of expired assertions are deleted CLOCK_SKEW seconds later, as the clocks of several servers differ.
        """
        row = {"key_id": key_id, "digest": digest(claims.jti), "expires_at": math.ceil(claims.ends)}
        ended = used_assertions.c.expires_at < int(now.timestamp()) - CLOCK_SKEW

        def use(connection: Connection) -> None:
            connection.execute(delete(used_assertions).where(ended))
            connection.execute(insert(used_assertions).values(**row))

        try:
            await self._store.write(use, lane=key_id)
        except IntegrityError:
            return False
        return True

    async def issue_token(self, who: Principal, scope: str | None, now: datetime) -> JsonObject | None:
        """An access token with the scopes asked for, or with all; None if the desk does not have one of them."""
        import jwt  # noqa: PLC0415  4 MiB with its cryptography; a desk without attachments never issues a token

        wanted = scope.split() if scope else list(SCOPES)
        if not set(wanted) <= set(SCOPES):
            return None
        claims = {
            "sub": who.user_id,
            "org": who.org_id,
            "key": who.key_id,
            "scope": " ".join(wanted),
            "exp": int(now.timestamp()) + TOKEN_SECONDS,
            "jti": uuid4().hex,
        }
        token = jwt.encode(claims, await self.secret(), algorithm="HS256")
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": claims["scope"]}

    async def by_token(self, header: str | None, now: datetime) -> tuple[Principal, set[str]] | None:
        """Principal and scopes of a bearer token; None if it is missing, foreign, altered or expired, or if the key that
        bought it is no longer valid."""
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        import jwt  # noqa: PLC0415

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
        who, key_id = Principal(claims["org"], claims["sub"]), claims.get("key")
        if key_id:
            who = await self._holder(keys.c.id == key_id, now)
        return None if who is None else (who, set(claims["scope"].split()))


def _standing(now: datetime, wanted: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The query for the wanted keys that are valid, as are their users and organisations."""
    found = keys.join(users, (users.c.org_id == keys.c.org_id) & (users.c.id == keys.c.user_id))
    found = found.join(organisations, organisations.c.id == keys.c.org_id)
    good = (stands(table, written(now)) for table in (keys, users, organisations))
    columns = (keys.c.org_id, keys.c.user_id, keys.c.id, keys.c.material)
    return select(*columns).select_from(found).where(wanted, *good)
