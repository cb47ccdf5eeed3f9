"""Version 5: keys of all kinds in one table, users in one of their own, ends for both and for organisations, and the
assertions that were used.

File bytes need no step: their names stand in their rows, and names of older versions stay valid.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic.operations import Operations

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Whole = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    for name in ("expires_at", "revoked_at"):
        op.add_column("organisations", sa.Column(name, Text))
    users = op.create_table(
        "users",
        *(sa.Column(name, Text) for name in ("org_id", "id", "name", "created_at", "expires_at", "revoked_at")),
        sa.PrimaryKeyConstraint("org_id", "id"),
    )
    keys = op.create_table(
        "keys",
        sa.Column("id", Text, primary_key=True),
        *(sa.Column(name, Text, nullable=False) for name in ("org_id", "user_id", "kind", "material")),
        *(sa.Column(name, Text) for name in ("name", "created_at", "expires_at", "revoked_at")),
        sa.UniqueConstraint("kind", "material"),
    )
    op.create_index("keys_of_user", "keys", ["org_id", "user_id"])
    op.create_table(
        "used_assertions",
        sa.Column("key_id", Text),
        sa.Column("digest", Text),
        sa.Column("expires_at", Whole, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "digest"),
    )
    op.create_index("used_assertions_by_end", "used_assertions", ["expires_at"])
    _fill(op.get_bind(), users, keys)
    op.drop_table("api_keys")
    op.drop_table("client_keys")


def _fill(connection: sa.Connection, users: sa.Table, keys: sa.Table) -> None:
    """Copy keys and users from the older tables, which do not say when they were made."""
    own = {row.name: row.value for row in connection.execute(sa.text("SELECT name, value FROM settings"))}
    names: dict[tuple[str, str], str | None] = {(own["org_id"], own["user_id"]): None}
    for row in connection.execute(sa.text("SELECT digest, org_id, user_id, name FROM api_keys")).all():
        names[row.org_id, row.user_id] = row.name
        found = {"id": secrets.token_hex(4), "kind": "api", "material": row.digest}
        connection.execute(sa.insert(keys).values(**found, org_id=row.org_id, user_id=row.user_id))
    for row in connection.execute(sa.text("SELECT id, org_id, user_id, public_key FROM client_keys")).all():
        names.setdefault((row.org_id, row.user_id), None)
        found = {"id": row.id, "kind": "signing", "material": row.public_key}
        connection.execute(sa.insert(keys).values(**found, org_id=row.org_id, user_id=row.user_id))
    rows = [{"org_id": org_id, "id": user_id, "name": name} for (org_id, user_id), name in names.items()]
    connection.execute(sa.insert(users), rows)
