"""The ledger's tables, on SQLite and PostgreSQL, with the prefix `pipeline_`.

Every key begins with the account: ids of calls and issues are unique within an account only. Instants are texts; see
`instants.written`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import JSON

metadata = MetaData()
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")
"""Text that both stores sort by code points."""
Whole = BigInteger().with_variant(Integer, "sqlite")
"""An integer of 64 bits on both stores."""
Json = JSON(none_as_null=True)


def _table(name: str, key: tuple[str, ...], *parts: SchemaItem) -> Table:
    return Table(
        f"pipeline_{name}",
        metadata,
        Column("account", Text, nullable=False),
        *parts,
        PrimaryKeyConstraint("account", *key),
    )


def _text(name: str, *, default: str | None = None) -> Column[Any]:
    return Column(name, Text, nullable=False, server_default=default)


def _maybe(name: str) -> Column[Any]:
    return Column(name, Text)


def _count(name: str) -> Column[Any]:
    return Column(name, Whole, nullable=False, server_default="0")


def _amount(name: str) -> Column[Any]:
    return Column(name, Double, nullable=False, server_default="0")


facts = Table("pipeline_facts", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
"""Facts of the ledger itself: `schema_version`, and for each account the mark of its sealing key (see `keys`)."""

runs = _table(
    "runs", ("id",),
    _text("id"), _text("pipeline"), _text("spec_hash"), _text("spec"),
    _text("mode"), Column("window", Json, nullable=False), _text("state"),
    _maybe("watermark"), Column("listed", Boolean, nullable=False), _count("found"), _count("requests"),
    _maybe("why"), _text("created_at"), _text("updated_at"), _maybe("ended_at"),
    Index("pipeline_runs_newest", "account", "pipeline", "created_at"),
)  # fmt: skip
"""One backfill or watch. `spec`: the file's text. `mode`: run, watch. `window`: see `windows.Window` and, for how it was
begun, `runs.Origin`. `state`: running, paused, cancelled, done, failed. `watermark`: all calls made before it are listed.
`listed`: all calls of the window are. `found`: calls in the window, 0 for unknown. `requests`: sent so far."""

items = _table(
    "items", ("run_id", "call_id"),
    _text("run_id"), _text("call_id"), _maybe("made_at"), _maybe("content_hash"), _text("state"), _count("attempt"),
    _maybe("error"), _maybe("due_at"), _text("updated_at"),
    Index("pipeline_items_open", "account", "run_id", "state", "due_at"),
    Index("pipeline_items_of_call", "account", "call_id"),
)  # fmt: skip
"""One call of a run. `state`: new, examined (its findings are stored, filing is due), done, skipped (it is gone), deferred,
failed, unsettled (see `items.UNSETTLED`). `due_at`: not before this instant."""

results = _table(
    "results", ("call_id", "content_hash", "detector", "version_hash"),
    _text("call_id"), _text("content_hash"), _text("detector"), _text("version_hash"), _text("verdict"),
    _count("findings"), _count("tokens"), _amount("usd"), _amount("ms"), _maybe("error"), _text("at"),
    Index("pipeline_results_by_time", "account", "at"),
)  # fmt: skip
"""What one version of a detector found in a call with this content. `verdict`: found, not_found, cannot_tell, not_offered,
sampled_out, failed. `findings`: number of the verified ones. `ms`: milliseconds. `error`: the reason of the verdict."""

measures = _table(
    "measures", ("call_id", "content_hash", "detector", "version_hash", "name"),
    _text("call_id"), _text("content_hash"), _text("detector"), _text("version_hash"), _text("name"), _text("unit"),
    _amount("value"), _text("at"),
    Index("pipeline_measures_by_time", "account", "at"),
)  # fmt: skip
"""Figures of a call that one version of a detector measured; see `findings.Measure`. `at`: of the examination."""

findings = _table(
    "findings", ("id",),
    _text("id"), _text("pipeline"), _text("call_id"), _text("content_hash"), _text("detector"), _text("kind"),
    _text("version_hash"), Column("turn", Whole), _text("quote"), _text("note", default=""),
    _maybe("key"), _maybe("severity"), _maybe("timing"), _text("verification"), _maybe("fingerprint"),
    Column("group", Json), _text("state"), _maybe("why"), _maybe("issue_id"), _maybe("run_id"), _maybe("call_began"),
    _maybe("call_version"), _text("created_at"), _text("updated_at"),
    Index("pipeline_findings_by_state", "account", "state", "created_at"),
    Index("pipeline_findings_of_call", "account", "call_id", "detector"),
    Index("pipeline_findings_of_incident", "account", "fingerprint", "state", "call_began"),
    Index("pipeline_findings_of_issue", "account", "issue_id"),
)  # fmt: skip
"""A moment that a detector found. `state`: new, accepted, filed, dismissed, unverified, stale, counted, suppressed. `why`:
the state's reason. `turn`: NULL for a finding about the call's record. `group`: values of the `group_by` fields.
`call_version`: the agent's version. Of a deleted call, ids, states and verdicts stay; words are removed, and
`group` is NULL."""

reviews = _table(
    "reviews", ("id",),
    _text("id"), _maybe("finding_id"), _text("call_id"), _text("detector"), _maybe("kind"),
    Column("turn", Whole), _maybe("quote"), _text("verdict"), _maybe("reason"), _text("by"), _text("role"), _text("at"),
    Index("pipeline_reviews_of_finding", "account", "finding_id"),
    Index("pipeline_reviews_of_detector", "account", "detector", "at"),
)  # fmt: skip
"""Verdicts, append-only. `verdict`: right, wrong, expected, minor, duplicate (on a finding); missed (a moment that was not
found); nothing (the call has no such moment). `role`: human or agent. `by`: the reviewer's name."""

incidents = _table(
    "incidents", ("fingerprint",),
    _text("fingerprint"), _text("pipeline"), _text("detector"), _text("kind"), Column("group", Json), _maybe("key"),
    _text("state"), _maybe("issue_id"), _maybe("ticket"), _maybe("joined_because"), _maybe("merged_into"),
    _count("findings"), _count("calls"), _count("evidence"), _maybe("first_call_at"), _maybe("last_call_at"),
    _maybe("newest_version"), _maybe("resolved_at"), _maybe("muted"), _maybe("muted_at"), _maybe("muted_why"),
    _maybe("commented_on"), _text("created_at"), _text("updated_at"),
    Index("pipeline_incidents_of_issue", "account", "issue_id"),
)  # fmt: skip
"""A fingerprint and the issue that its findings are filed on. `state`: open, waiting, filed, resolved, regressed. `muted`:
NULL, always, or until_escalating. `evidence`: calls attached since it was filed or reopened. `newest_version`: of the agent,
in calls that began before its issue was closed. `commented_on`: what comments told of the calls that are counted and not
attached, see `counting.Told`."""

labels = _table(
    "labels", ("call_id", "detector", "turn", "source"),
    _text("call_id"), _text("detector"), Column("turn", Whole, nullable=False), _text("verdict"), _text("source"),
    _maybe("split"), _text("at"),
)  # fmt: skip
"""Calls that were named to be labelled blind, see the module `blind`. `detector`: empty for all of them. `turn`: -1.
`verdict`: named. `source`: sample."""

spend = _table(
    "spend", ("id",),
    _text("id"), _text("pipeline"), _text("day"), _text("detector"), _maybe("call_id"), _text("state"),
    _amount("reserved_usd"), _amount("usd"), _count("tokens_in"), _count("tokens_out"), _text("at"),
    Index("pipeline_spend_by_day", "account", "pipeline", "day"),
)  # fmt: skip
"""Costs of requests to endpoints, in USD by day (UTC). `state`: reserved (`reserved_usd`, the most that it may cost, counts)
or settled (`usd` counts). `detector`: the endpoint's name."""

effects = _table(
    "effects", ("key",),
    _text("key"), _text("kind"), _text("fingerprint"), _maybe("finding_id"), _maybe("run_id"), _text("state"),
    Column("request", Json), Column("result", Json), _maybe("issue_id"), _text("begun_at"), _maybe("ended_at"),
    Index("pipeline_effects_of_finding", "account", "finding_id"),
    Index("pipeline_effects_of_incident", "account", "fingerprint", "begun_at"),
)  # fmt: skip
"""Writes on issues, kept for ever. `key`: what is written, such as `<finding id>:flag:<issue id>`. `request`: recorded
before it is sent. `state`: begun, done, refused. `result`: the API's answer, or the code of its refusal."""

alerts = _table(
    "alerts", ("event",),
    _text("event"), _maybe("sent_at"), _maybe("message_id"), _count("suppressed"), _text("updated_at"),
)  # fmt: skip
"""When each event was sent last (NULL: the last attempt failed), and how many equal ones were kept back since."""

detectors = _table(
    "detectors", ("pipeline", "detector", "version_hash"),
    _text("pipeline"), _text("detector"), _text("version_hash"), _count("hangs"), _maybe("off_because"),
    _text("updated_at"),
)  # fmt: skip
"""Versions of users' detectors that exceeded their time, on how many calls, and why one is switched off; see `hangs`.
`version_hash`: with the deadline, see `hangs.tried`. `updated_at`: of the last of these calls."""

paces = _table("paces", ("api",), _text("api"), _amount("next_at"))
"""When the next request to an API may be sent, in seconds since 1970 on the database's clock."""
