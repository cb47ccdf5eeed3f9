"""The desk's tables. The keys of an organisation's tables begin with the organisation, so that a query that forgets it
finds nothing useful by accident."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import JSON
from uuid_utils import uuid4

from calltriage.leaves.instants import utc_now, written
from calltriage.leaves.strict_json import JsonObject

metadata = MetaData()
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")
"""Text in the order of its code points on both stores."""
Whole = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both stores."""
Json = JSON(none_as_null=True)


def _owned(name: str, *columns: Column[Any] | UniqueConstraint | ForeignKeyConstraint | Index) -> Table:
    """A table whose rows belong to one organisation; `seq` keeps the order of arrival."""
    return Table(
        name,
        metadata,
        Column("seq", Whole, primary_key=True, autoincrement=True),
        Column("org_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        *columns,
        UniqueConstraint("org_id", "id"),
        sqlite_autoincrement=True,
    )


def _of_issue() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["org_id", "issue_id"], ["issues.org_id", "issues.id"], ondelete="CASCADE")


settings = Table("settings", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
"""Facts of the desk itself: schema version, signing secret, the organisation and user of its own key."""

API_KEY, SIGNING_KEY, WEBHOOK_KEY = "api", "signing", "webhook"
"""Kinds of keys: a secret that a client sends, a public key that checks a client's signatures, and the secret that the
triage vendor signs its webhooks with. The last is stored as it is, as checking a signature needs it."""


def _ending() -> tuple[Column[Any], Column[Any]]:
    """Columns for when something expires, and for when the operator revoked it; NULL: never."""
    return Column("expires_at", Text), Column("revoked_at", Text)


organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("last_number", Whole, nullable=False),
    Column("created_at", Text, nullable=False),
    *_ending(),
)

users = Table(
    "users",
    metadata,
    Column("org_id", Text),
    Column("id", Text),
    Column("name", Text),
    Column("created_at", Text),
    *_ending(),
    PrimaryKeyConstraint("org_id", "id"),
)
"""The members of organisations. `created_at` is NULL for those from before version 5."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("material", Text, nullable=False),
    Column("name", Text),
    Column("created_at", Text),
    *_ending(),
    UniqueConstraint("kind", "material"),
    Index("keys_of_user", "org_id", "user_id"),
)
"""Keys that stand for a user. `material`: the SHA-256 of an API key, which itself is not stored; a public key in PEM; or
a webhook's secret. A signing key's `id` is the `kid` in the header of an assertion."""

used_assertions = Table(
    "used_assertions",
    metadata,
    Column("key_id", Text),
    Column("digest", Text),
    Column("expires_at", Whole, nullable=False),
    PrimaryKeyConstraint("key_id", "digest"),
    Index("used_assertions_by_end", "expires_at"),
)
"""Assertions that bought a token: the SHA-256 of the `jti`, for each key, until the assertion ends (Unix seconds)."""

issues = _owned(
    "issues",
    Column("number", Whole, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_rank", Whole, nullable=False),
    Column("severity", Text, nullable=False),
    Column("severity_rank", Whole, nullable=False),
    Column("source", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("category_folded", Text, nullable=False),
    Column("owner_id", Text),
    Column("assignee_id", Text),
    Column("author_id", Text, nullable=False),
    Column("agent_id", Text),
    Column("agent_version_id", Text),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("last_activity_at", Text, nullable=False),
    Column("words", Text, nullable=False),
    UniqueConstraint("org_id", "number"),
    Index("issues_by_activity", "org_id", "last_activity_at", "id"),
    Index("issues_by_creation", "org_id", "created_at", "id"),
    Index("issues_by_severity", "org_id", "severity_rank", "id"),
    Index("issues_by_status", "org_id", "status_rank", "id"),
    Index("issues_of_status", "org_id", "status", "last_activity_at", "id"),
    Index("issues_of_severity", "org_id", "severity", "last_activity_at", "id"),
    Index("issues_of_category", "org_id", "category_folded", "last_activity_at", "id"),
    Index("issues_of_owner", "org_id", "owner_id", "last_activity_at", "id"),
    Index("issues_of_assignee", "org_id", "assignee_id", "last_activity_at", "id"),
)
"""`words` is title and description as search compares them."""

views = Table(
    "views",
    metadata,
    Column("org_id", Text),
    Column("issue_id", Text),
    Column("user_id", Text),
    Column("viewed_at", Text, nullable=False),
    PrimaryKeyConstraint("org_id", "issue_id", "user_id"),
    _of_issue(),
)

links = _owned(
    "resource_links",
    Column("issue_id", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("metadata", Json),
    Column("attached_by_id", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "issue_id", "resource_type", "resource_id"),
    Index("links_of_issue", "org_id", "issue_id", "seq"),
    Index("links_of_type", "org_id", "resource_type", "issue_id"),
    _of_issue(),
)

flags = _owned(
    "flags",
    Column("issue_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("node_id", Text),
    Column("node_name", Text),
    Column("message_index", Whole),
    Column("message_text", Text),
    Column("author_id", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("flags_of_issue", "org_id", "issue_id", "seq"),
    Index("flags_by_type", "org_id", "type", "seq"),
    _of_issue(),
)

relations = _owned(
    "relations",
    Column("issue_id", Text, nullable=False),
    Column("related_issue_id", Text, nullable=False),
    Column("relation_type", Text, nullable=False),
    Column("created_by_id", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "issue_id", "related_issue_id", "relation_type"),
    Index("relations_of_target", "org_id", "related_issue_id", "seq"),
    _of_issue(),
    ForeignKeyConstraint(["org_id", "related_issue_id"], ["issues.org_id", "issues.id"], ondelete="CASCADE"),
)

sessions = _owned(
    "agent_sessions",
    Column("issue_id", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("sessions_of_issue", "org_id", "issue_id", "seq"),
    _of_issue(),
)

runs = _owned(
    "agent_runs",
    Column("issue_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("intent", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text, nullable=False),
    Index("runs_of_issue", "org_id", "issue_id", "seq"),
    Index("runs_of_session", "org_id", "session_id", "seq"),
    _of_issue(),
)
"""Runs of the embedded agent. What a run does is known when it starts, so all of it is stored then, with times in the
future. A run is in flight until `finished_at`."""

activity = _owned(
    "activity",
    Column("issue_id", Text, nullable=False),
    Column("session_id", Text),
    Column("type", Text, nullable=False),
    Column("actor_id", Text),
    Column("detail", Text, nullable=False),
    Column("from_status", Text),
    Column("to_status", Text),
    Column("metadata", Json),
    Column("resources", Json, nullable=False),
    Column("referenced_issues", Json, nullable=False),
    Column("artifact", Json),
    Column("created_at", Text, nullable=False),
    Index("activity_of_issue", "org_id", "issue_id", "created_at", "seq"),
    _of_issue(),
)
"""The feed. Entries with a `session_id` are the agent's. An entry with a time in the future belongs to a run in flight
and is not shown yet."""

categories = _owned(
    "categories",
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "folded"),
)
"""Created categories and names first used on an issue; the built-in ones are not stored."""

calls = _owned(
    "calls",
    Column("summary", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("record", Json, nullable=False),
    Column("events", Json, nullable=False),
    Column("corrected", Json),
    Column("digest", Text, nullable=False),
    Column("from_number", Text),
    Column("to_number", Text),
    Column("answered_by", Text),
    Column("batch_id", Text),
    Column("completed", Boolean),
    Column("inbound", Boolean),
    Column("call_length", Double),
    Index("calls_by_creation", "org_id", "created_at", "id"),
    Index("calls_by_update", "org_id", "updated_at", "id"),
    Index("calls_from", "org_id", "from_number", "created_at", "id"),
    Index("calls_to", "org_id", "to_number", "created_at", "id"),
    Index("calls_of_batch", "org_id", "batch_id", "created_at", "id"),
    Index("calls_completed", "org_id", "completed", "created_at", "id"),
)
"""`record`: the call. `events`, `corrected`: the answers of its other routes. `digest`: an import with the same one
brings nothing new. The columns after it are copies of what lists filter by."""

call_words = Table(
    "call_words",
    metadata,
    Column("place", Whole, primary_key=True, autoincrement=False),
    Column("org_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("terms", Text, nullable=False),
    UniqueConstraint("org_id", "call_id"),
    Index("call_words_by_place", "org_id", "place"),
    ForeignKeyConstraint(["org_id", "call_id"], ["calls.org_id", "calls.id"], ondelete="CASCADE"),
)
"""The words said in calls, for search (desk/database/call_words.py). `place` grows with the time of a call."""

conversations = _owned(
    "conversations",
    Column("summary", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("record", Json, nullable=False),
    Column("digest", Text, nullable=False),
    Index("conversations_by_creation", "org_id", "created_at", "id"),
)

reservations = _owned(
    "reservations",
    Column("object_key", Text, nullable=False, unique=True),
    Column("allowed_types", Json, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Column("blob", Text),
    Column("size", Whole),
    Column("type", Text),
    Column("sha256", Text),
    Column("md5", Text),
    Column("consumed_by", Text),
    Index("reservations_by_end", "expires_at"),
    Index("reservations_by_blob", "blob"),
)
"""Upload reservations; `id` is the request_id, `expires_at` Unix seconds, `blob` the name of the bytes received last."""

attachments = _owned(
    "attachments",
    Column("object_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("size", Whole, nullable=False),
    Column("type", Text, nullable=False),
    Column("metadata", Json),
    Column("blob", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("md5", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "name"),
    Index("attachments_by_creation", "org_id", "created_at", "id"),
    Index("attachments_by_blob", "blob"),
)
"""Published files. `object_key` stands in their download links, `blob` is where their bytes are."""

attachment_labels = Table(
    "attachment_labels",
    metadata,
    Column("org_id", Text),
    Column("attachment_id", Text),
    Column("name", Text),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("org_id", "attachment_id", "name"),
    ForeignKeyConstraint(["org_id", "attachment_id"], ["attachments.org_id", "attachments.id"], ondelete="CASCADE"),
    Index("attachments_by_label", "org_id", "name", "value"),
)
"""The metadata again, for filters: one row per key, with its value as JSON text."""


class by_code_point(FunctionElement[str]):  # noqa: N801  used as SQL's own functions are
    """A computed text that sorts by code point, as the columns do."""

    type = String()
    inherit_cache = True


def _as_it_is(element: by_code_point, compiler: SQLCompiler, **options: object) -> str:
    return compiler.process(element.clauses, **options)


def _collated(element: by_code_point, compiler: SQLCompiler, **options: object) -> str:
    return f'({compiler.process(element.clauses, **options)}) COLLATE "C"'


compiles(by_code_point)(_as_it_is)
compiles(by_code_point, "postgresql")(_collated)


def new_organisation(org_id: str, name: str) -> JsonObject:
    """The row of an organisation without issues: its first ticket will be T-1001."""
    return {"id": org_id, "name": name, "last_number": 1000, "created_at": written(utc_now())}


def stands(table: Table, now: str) -> ColumnElement[bool]:
    """The condition that an organisation, user or key has neither expired nor been revoked."""
    return table.c.revoked_at.is_(None) & (table.c.expires_at.is_(None) | (table.c.expires_at > now))


def new_id() -> str:
    """A random UUID in its usual form."""
    return str(uuid4())
