"""Who may use a desk, as its operator decides: organisations, their users, and the keys that stand for a user.

Each of the three can have a name, expire and be revoked. A key works while it, its user and its organisation are valid.
Nothing is deleted here: what a revoked user wrote keeps the user's id.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Select, Table, insert, select, update

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import (
    API_KEY,
    SIGNING_KEY,
    WEBHOOK_KEY,
    keys,
    new_id,
    new_organisation,
    organisations,
    settings,
    users,
)
from calltriage.desk.database.transaction import AnyRow
from calltriage.desk.http.access import digest
from calltriage.desk.http.client_keys import UNUSABLE, public_key_of
from calltriage.errors import SettingsError, StoreError
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject

SHORTEST_SECRET = 16
"""Fewest characters of a secret that signs webhooks (our choice)."""
OWN_KEY = "desk"
"""Id of the desk's own key: the one in `desk.key` or CALLTRIAGE_DESK_API_KEY."""

What: TypeAlias = Literal["organisations", "users", "keys"]
TABLES: dict[What, Table] = {"organisations": organisations, "users": users, "keys": keys}
End: TypeAlias = datetime | Literal["never"] | None
"""When something expires. None: something new never expires, something that exists keeps its end."""


@dataclass(frozen=True)
class NewKey:
    """A new key, and whom it stands for. Of an API key only the digest is stored."""

    id: str
    org_id: str
    user_id: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Tenants:
    """Organisations, users and keys of one desk. `clock` is the desk's time.

    Every method raises StoreError for an id that the desk does not know.
    """

    store: Store
    clock: Callable[[], datetime]

    @property
    def _now(self) -> str:
        return written(self.clock())

    async def organisations(self) -> list[JsonObject]:
        """All organisations, oldest first, each with its `state`."""
        query = select(organisations).order_by(organisations.c.created_at, organisations.c.id)
        return [_listed(row, self._now) for row in await self._rows(query)]

    async def organisation(self, org_id: str | None) -> str:
        """The id given, or that of the desk's own organisation for None."""
        return await self.store.read(
            lambda connection: str(_found(connection, "organisations", org_id or _own(connection)["org_id"]).id)
        )

    async def users(self) -> list[JsonObject]:
        """All users, by organisation, oldest first, each with its `state`."""
        query = select(users).order_by(users.c.org_id, users.c.created_at.nulls_first(), users.c.id)
        return [{**_listed(row, self._now), "organisation": row.org_id} for row in await self._rows(query)]

    async def keys(self) -> list[JsonObject]:
        """All keys, by organisation and user, oldest first, each with its `state`. The key itself is not among the
        values."""
        order = (keys.c.org_id, keys.c.user_id, keys.c.created_at.nulls_first(), keys.c.id)
        rows, now = await self._rows(select(keys).order_by(*order)), self._now
        ended = {
            row["id"]: f"{what} {row['state']}"
            for what, found in (("user", await self.users()), ("organisation", await self.organisations()))
            for row in found
            if row["state"] != "valid"
        }
        listed = list[JsonObject]()
        for row in rows:
            whose = {"kind": row.kind, "organisation": row.org_id, "user": row.user_id}
            shown = {**_listed(row, now), **whose}
            if shown["state"] == "valid" and row.kind == SIGNING_KEY and public_key_of(row.material.encode()) is None:
                shown["state"] = "too weak"
            if shown["state"] == "valid":
                shown["state"] = ended.get(row.org_id) or ended.get(row.user_id) or "valid"
            listed.append(shown)
        return listed

    async def _rows(self, query: Select[*tuple[Any, ...]]) -> list[AnyRow]:
        return list(await self.store.read(lambda connection: connection.execute(query).all()))

    async def add_organisation(self, name: str, expires: End = None) -> NewKey:
        """Make an organisation with one user, and a key for the user."""
        org_id, now = new_id(), self._now

        def add(connection: Connection) -> NewKey:
            row = {**new_organisation(org_id, _name(name)), "created_at": now, "expires_at": _end(expires)}
            connection.execute(insert(organisations).values(**row))
            return _add_user(connection, org_id, now=now)

        return await self.store.write(add)

    async def add_user(self, org_id: str | None = None, name: str | None = None, expires: End = None) -> NewKey:
        """Make a user with a key, in the desk's own organisation unless one is named."""
        now = self._now

        def add(connection: Connection) -> NewKey:
            org = _found(connection, "organisations", org_id or _own(connection)["org_id"])
            return _add_user(connection, org.id, now=now, name=_any_name(name), expires=expires)

        return await self.store.write(add)

    async def admit(self, user_id: str) -> None:
        """Make this id a member of the desk's own organisation, without a key, unless it is one."""
        now = self._now

        def add(connection: Connection) -> None:
            row = {"org_id": _own(connection)["org_id"], "id": user_id}
            if connection.execute(select(users.c.id).filter_by(**row)).first() is None:
                connection.execute(insert(users).values(**row, created_at=now))

        await self.store.write(add)

    async def add_key(self, user_id: str | None = None, name: str | None = None, expires: End = None) -> NewKey:
        """Make another API key of a user, the desk's own unless one is named."""
        now = self._now

        def add(connection: Connection) -> NewKey:
            user = _found(connection, "users", user_id or _own(connection)["user_id"])
            return _add_api_key(connection, user.org_id, user.id, now=now, name=_any_name(name), expires=expires)

        return await self.store.write(add)

    async def add_webhook_key(
        self, secret: str | None = None, user_id: str | None = None, name: str | None = None, expires: End = None
    ) -> NewKey:
        """Accept the triage vendor's webhooks for a user's organisation, the desk's own unless one is named. `secret`
        signs them; None makes one. Raises SettingsError for a secret of a wrong length, or one that is there already."""
        made, now = secret or secrets.token_urlsafe(32), self._now
        if not SHORTEST_SECRET <= len(made) <= 512:
            raise SettingsError(f"A webhook's secret has {SHORTEST_SECRET} to 512 characters.")

        def add(connection: Connection) -> NewKey:
            user = _found(connection, "users", user_id or _own(connection)["user_id"])
            there = connection.execute(
                select(keys.c.id).where(keys.c.kind == WEBHOOK_KEY, keys.c.material == made)
            ).first()
            if there is not None:
                raise SettingsError(f"This secret is there already: it is the key {there.id}.")
            row = {"id": _short_id(), "kind": WEBHOOK_KEY, "material": made, "org_id": user.org_id, "user_id": user.id}
            row |= {"name": _any_name(name), "created_at": now, "expires_at": _end(expires)}
            connection.execute(insert(keys).values(**row))
            return NewKey(row["id"], user.org_id, user.id, made)

        return await self.store.write(add)

    async def add_client_key(
        self,
        public_key: bytes,
        *,
        user_id: str | None = None,
        name: str | None = None,
        expires: End = None,
    ) -> str:
        """Let a client sign with the private half of this key (PEM) in a user's name, the desk's own unless one is named.
        Returns the key's id (`kid` in assertions). A key that is there stays as it is.

        Raises SettingsError for a key that clients may not sign with, and for one that is another user's, revoked or
        expired.
        """
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        usable, now = public_key_of(public_key), self._now
        if usable is None:
            raise SettingsError(UNUSABLE)
        form = PublicFormat.SubjectPublicKeyInfo
        key_id = hashlib.sha256(usable.key.public_bytes(Encoding.DER, form)).hexdigest()[:32]
        material = usable.key.public_bytes(Encoding.PEM, form).decode()

        def add(connection: Connection) -> str:
            user = _found(connection, "users", user_id or _own(connection)["user_id"])
            there = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
            if there is None:
                row = {"id": key_id, "kind": SIGNING_KEY, "material": material, "org_id": user.org_id}
                row |= {"user_id": user.id, "name": _any_name(name), "created_at": now, "expires_at": _end(expires)}
                connection.execute(insert(keys).values(**row))
            elif there.user_id != user.id or _state(there, now) != "valid":
                raise SettingsError("This key is another user's, or was revoked, or has expired. Make another key.")
            return key_id

        return await self.store.write(add)

    async def has_own_key(self) -> bool:
        """Whether the desk has a key of its own on record, valid or not."""
        return bool(await self._rows(select(keys.c.id).where(keys.c.id == OWN_KEY)))

    async def has_good_own_key(self) -> bool:
        """Whether the desk has a key of its own that is valid now."""
        return any(
            _state(row, self._now) == "valid" for row in await self._rows(select(keys).where(keys.c.id == OWN_KEY))
        )

    async def keep_own_key(self, key: str) -> bool:
        """Make this the desk's own key, in place of the one before. False if it was revoked or has expired."""
        material, now = digest(key), self._now
        query = select(keys).where(keys.c.kind == API_KEY, keys.c.material == material)

        def keep(connection: Connection) -> AnyRow:
            there = connection.execute(query).one_or_none()
            if there is not None:
                return there
            own = _own(connection)
            _keep_ended(connection, now)
            row = {"org_id": own["org_id"], "user_id": own["user_id"], "kind": API_KEY, "name": "the desk's own key"}
            row |= {"material": material, "created_at": now, "expires_at": None, "revoked_at": None}
            if connection.execute(update(keys).where(keys.c.id == OWN_KEY).values(**row)).rowcount == 0:
                connection.execute(insert(keys).values(id=OWN_KEY, **row))
            return connection.execute(query).one()

        there = await self.store.read(lambda connection: connection.execute(query).one_or_none())
        return _state(there or await self.store.write(keep), now) == "valid"

    async def is_own_key(self, key: str) -> bool:
        """Whether this is the desk's own key now, valid or not."""
        return bool(await self._rows(select(keys.c.id).where(keys.c.id == OWN_KEY, keys.c.material == digest(key))))

    async def rotate(self, key_id: str, overlap: timedelta, expires: End = None, key: str | None = None) -> NewKey:
        """Replace an API key by a new one, or by `key`. The old one works for `overlap` longer. The desk's own key keeps its
        id.

        Raises SettingsError for a key that is no longer valid or is no API key, and for one that expires if `expires` is
        None.
        """
        made, now = key or secrets.token_urlsafe(32), self._now
        until = written(self.clock() + overlap)

        def turn(connection: Connection) -> NewKey:
            old = _found(connection, "keys", key_id)
            _check_rotates(old, now, expires)
            ends = {"expires_at": min(until, old.expires_at or until)}
            row = {"kind": API_KEY, "org_id": old.org_id, "user_id": old.user_id, "name": old.name}
            fresh = {
                "material": digest(made),
                "created_at": now,
                "expires_at": _end(expires),
            }
            if key_id == OWN_KEY:
                connection.execute(update(keys).where(keys.c.id == OWN_KEY).values(**fresh))
                before = {"id": _short_id(), "material": old.material, "created_at": old.created_at, **ends}
                connection.execute(insert(keys).values(**row | {"name": "the desk's own key before"}, **before))
                return NewKey(OWN_KEY, old.org_id, old.user_id, made)
            new_key_id = _short_id()
            connection.execute(insert(keys).values(id=new_key_id, **row, **fresh))
            connection.execute(update(keys).where(keys.c.id == key_id).values(**ends))
            return NewKey(new_key_id, old.org_id, old.user_id, made)

        return await self.store.write(turn)

    async def change(self, what: What, row_id: str, *, name: str | None = None, expires: End = None) -> None:
        """Give something another name or end. Raises SettingsError for an end of the desk's own organisation or user."""
        values: JsonObject = {} if name is None else {"name": _name(name)}
        if expires is not None:
            values["expires_at"] = _end(expires)

        def set_values(connection: Connection) -> None:
            _found(connection, what, row_id)
            if values.get("expires_at") is not None:
                _check_can_end(connection, what, row_id)
            if values:
                table = TABLES[what]
                connection.execute(update(table).where(table.c.id == row_id).values(**values))

        await self.store.write(set_values)

    async def revoke(self, what: What, row_id: str) -> bool:
        """End something for good, at once. False if it was revoked before. Raises SettingsError for the desk's own
        organisation or user."""
        table, now = TABLES[what], self._now

        def end(connection: Connection) -> bool:
            row = _found(connection, what, row_id)
            _check_can_end(connection, what, row_id)
            if row.revoked_at is not None:
                return False
            connection.execute(update(table).where(table.c.id == row_id).values(revoked_at=now))
            return True

        return await self.store.write(end)


def _add_user(connection: Connection, org_id: str, *, now: str, name: str | None = None, expires: End = None) -> NewKey:
    user_id = new_id()
    row = {"org_id": org_id, "id": user_id, "name": name, "created_at": now, "expires_at": _end(expires)}
    connection.execute(insert(users).values(**row))
    return _add_api_key(connection, org_id, user_id, now=now)


def _add_api_key(
    connection: Connection,
    org_id: str,
    user_id: str,
    *,
    now: str,
    name: str | None = None,
    expires: End = None,
) -> NewKey:
    made = NewKey(_short_id(), org_id, user_id, secrets.token_urlsafe(32))
    row = {"id": made.id, "org_id": org_id, "user_id": user_id, "kind": API_KEY, "material": digest(made.key)}
    connection.execute(insert(keys).values(**row, name=name, created_at=now, expires_at=_end(expires)))
    return made


def _keep_ended(connection: Connection, now: str) -> None:
    """Give the desk's own key another id if it is not valid any more, so that it stays on record beside the next one."""
    own = connection.execute(select(keys).where(keys.c.id == OWN_KEY)).one_or_none()
    if own is not None and _state(own, now) != "valid":
        connection.execute(update(keys).where(keys.c.id == OWN_KEY).values(id=_short_id()))


def _short_id() -> str:
    return secrets.token_hex(4)


def _own(connection: Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(select(settings))}


def _found(connection: Connection, what: What, row_id: str) -> AnyRow:
    table = TABLES[what]
    row = connection.execute(select(table).where(table.c.id == row_id)).one_or_none()
    if row is None:
        raise StoreError(
            f"The desk has no such {what.removesuffix('s')}. `calltriage desk {what} list` lists them with their ids."
        )
    return row


def _check_can_end(connection: Connection, what: What, row_id: str) -> None:
    if what != "keys" and row_id in _own(connection).values():
        raise SettingsError(
            f"This {what.removesuffix('s')} is the desk's own and stays. Its keys can be revoked, and others made."
        )


def _check_rotates(key: AnyRow, now: str, expires: End) -> None:
    if key.kind != API_KEY:
        raise SettingsError(
            "Only an API key is rotated by the desk. Add the new key beside this one, and revoke this one when the other "
            "side signs with the new one."
        )
    if _state(key, now) != "valid":
        raise SettingsError("This key was revoked or has expired. Add another key.")
    if key.expires_at is not None and expires is None:
        raise SettingsError(f"This key expires at {key.expires_at}. Say --expires for the new one, or --expires never.")


def _end(expires: End) -> str | None:
    return written(expires) if isinstance(expires, datetime) else None


def _name(name: str) -> str:
    if not 1 <= len(name.strip()) <= 128:
        raise SettingsError("A name has 1 to 128 characters.")
    return name.strip()


def _any_name(name: str | None) -> str | None:
    return None if name is None else _name(name)


def _state(row: AnyRow, now: str) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "valid" if row.expires_at is None or row.expires_at > now else "expired"


def _listed(row: AnyRow, now: str) -> JsonObject:
    shown = {name: getattr(row, name) for name in ("id", "name", "created_at", "expires_at")}
    return {**shown, "state": _state(row, now)}
