"""Norm on the desk: no model, but a deterministic run that reads the evidence and says so (bland-triage, section 9).

What a run does is known when it starts. All its entries are stored then, with times in the future. Readers see an entry once
its time has come. The run is in flight until its last entry.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from pydantic import JsonValue
from sqlalchemy import func, insert, select

from calltriage.desk.database.tables import links, new_id, runs, sessions
from calltriage.desk.database.transaction import AnyRow, ContractError, Reply, Transaction, handled, not_found
from calltriage.desk.handlers.activity_writing import TALK, entry, record
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import NO_SESSION
from calltriage.operations.norm import CreateAgentSession, Intent, ListTriageAgents, PromptNorm, intent_of

NAME = "Norm"
PROFILE_NAMESPACE = uuid.UUID("9c2f5ef2-3f0a-5a52-9b8e-0d6f2f2f7b11")
STEP = timedelta(milliseconds=200)
"""Time between two entries of a run."""
MAX_ACTIONS = 20
"""Most pieces of evidence that one run names."""
MADE = {
    "status": ("snippet", "What the evidence is", "markdown", "ready"),
    "verify": ("verification_report", "What was read", "json", "ready"),
    "fix": ("draft_pathway_version", "No draft", "json", "error"),
}
"""Type, title, renderer and status of the artifact that a run of each intent makes. The contract names the three kinds of
artifacts, not their types."""


def _profile_id(tx: Transaction) -> str:
    """The id of the organisation's profile. It never changes."""
    return str(uuid.uuid5(PROFILE_NAMESPACE, tx.who.org_id))


def list_triage_agents(tx: Transaction, call: ListTriageAgents) -> Reply:
    if call.cursor is not None:
        tx.open_cursor(call.cursor, "agents")  # there is one page, so no cursor was ever given out
    profile = {
        "id": _profile_id(tx),
        "provider_type": "embedded",
        "display_name": NAME,
        "description": "Reads the evidence of an issue and lists it. It changes nothing.",
        "is_active": True,
    }
    return Reply(200, {"items": [profile], "next_cursor": None})


def create_agent_session(tx: Transaction, call: CreateAgentSession) -> Reply:
    tx.issue(call.issue_id)
    return Reply(201, session_summary(tx, open_session(tx, call.issue_id)))


def open_session(tx: Transaction, issue_id: str) -> str:
    session_id = new_id()
    row = {"org_id": tx.who.org_id, "id": session_id, "issue_id": issue_id, "created_at": tx.instant}
    tx.connection.execute(insert(sessions).values(**row))
    started = entry(tx, issue_id, "session_started", detail="Norm session started.", session_id=session_id)
    record(tx, [started], TALK)
    return session_id


def prompt_norm(tx: Transaction, call: PromptNorm) -> Reply:
    tx.issue(call.issue_id)
    session = tx.find(sessions, call.session_id)
    if session is None or session.issue_id != call.issue_id:
        raise not_found(NO_SESSION)
    if run_in_flight(tx, call.issue_id) is not None:
        raise ContractError(409, "session_busy", "A run is already in progress")
    return Reply(202, start_run(tx, call.issue_id, call.session_id, call.detail))


def dispatch(tx: Transaction, issue_id: str, detail: str) -> None:
    """Start a run for `@norm` in a comment, in the newest session or a new one. While a run is in flight, start none."""
    latest = latest_session(tx, issue_id)
    session_id = open_session(tx, issue_id) if latest is None else latest
    if run_in_flight(tx, issue_id) is None:
        start_run(tx, issue_id, session_id, detail)


def start_run(tx: Transaction, issue_id: str, session_id: str, detail: str) -> JsonObject:
    """Store a run with all its entries. Returns what the prompt route answers."""
    intent, text = intent_of(detail)
    run_id = new_id()
    evidence = tx.connection.execute(
        select(links.c.resource_type, links.c.resource_id)
        .where(tx.mine(links, links.c.issue_id == issue_id))
        .order_by(links.c.seq)
        .limit(MAX_ACTIONS)
    ).all()
    artifact = _artifact(intent, [f"{link.resource_type} {link.resource_id}" for link in evidence])
    steps = [("prompt", text)]
    steps += [("action", f"Read {link.resource_type} {link.resource_id}.") for link in evidence]
    steps.append(("artifact", f"{artifact['title']}."))
    steps.append(("response", f"Read {len(evidence)} pieces of evidence. No change was made and none is proposed."))
    entries = [
        entry(
            tx, issue_id, kind, detail=said, session_id=session_id, metadata={"run_id": run_id, "intent": intent},
            artifact=artifact if kind == "artifact" else None, created_at=written(tx.now + STEP * number),
        )
        for number, (kind, said) in enumerate(steps)
    ]  # fmt: skip
    record(tx, entries, TALK)
    tx.connection.execute(
        insert(runs).values(
            org_id=tx.who.org_id,
            id=run_id,
            issue_id=issue_id,
            session_id=session_id,
            intent=intent,
            started_at=tx.instant,
            finished_at=written(tx.now + STEP * (len(steps) - 1)),
        )
    )
    return {"session_id": session_id, "run_id": run_id, "intent": intent}


def _artifact(intent: Intent, read: list[str]) -> JsonObject:
    """The artifact of a run that read this evidence. It is never a draft: a desk has no pathways."""
    kind, title, renderer, status = MADE[intent]
    payloads: dict[str, JsonValue] = {
        "snippet": "\n".join(f"- {name}" for name in read) or "There is no evidence.",
        "verification_report": {"read": [*read], "changed": []},
        "draft_pathway_version": {"read": [*read], "error": "There is no pathway to draft a version of."},
    }
    return {
        "id": new_id(), "type": kind, "title": title, "renderer": renderer, "status": status,
        "payload": payloads[kind], "external_urls": None,
    }  # fmt: skip


def latest_session(tx: Transaction, issue_id: str) -> str | None:
    """Id of the newest session of an issue."""
    query = select(sessions.c.id).where(tx.mine(sessions, sessions.c.issue_id == issue_id))
    return tx.connection.execute(query.order_by(sessions.c.seq.desc()).limit(1)).scalar_one_or_none()


def run_in_flight(tx: Transaction, issue_id: str) -> str | None:
    """Id of the run that has not finished yet."""
    query = select(runs.c.id).where(tx.mine(runs, runs.c.issue_id == issue_id, runs.c.finished_at > tx.instant))
    return tx.connection.execute(query.limit(1)).scalar_one_or_none()


def runs_in_flight(tx: Transaction, issue_ids: list[str]) -> set[str]:
    """Which of the issues have a run that has not finished yet."""
    if not issue_ids:
        return set()
    query = select(runs.c.issue_id).where(
        tx.mine(runs, runs.c.issue_id.in_(issue_ids), runs.c.finished_at > tx.instant)
    )
    return set(tx.connection.execute(query).scalars())


def session_summary(tx: Transaction, session_id: str) -> JsonObject:
    """A session as feed entries and the create route show it: `active`, or `awaiting_input` once a run has ended."""
    return session_summaries(tx, [session_id])[session_id]


def session_summaries(tx: Transaction, session_ids: list[str]) -> dict[str, JsonObject]:
    newest = _newest_runs(tx, session_ids)
    return {session_id: _summary(tx, session_id, newest.get(session_id)) for session_id in session_ids}


def _summary(tx: Transaction, session_id: str, run: AnyRow | None) -> JsonObject:
    is_waiting = run is not None and run.finished_at <= tx.instant
    return {
        "id": session_id,
        "agent_profile_id": _profile_id(tx),
        "agent_name": NAME,
        "status": "awaiting_input" if is_waiting else "active",
    }


def _newest_runs(tx: Transaction, session_ids: list[str]) -> dict[str, AnyRow]:
    """The newest run of each session that has one."""
    if not session_ids:
        return {}
    newest = select(func.max(runs.c.seq)).where(tx.mine(runs, runs.c.session_id.in_(session_ids)))
    rows = tx.connection.execute(select(runs).where(runs.c.seq.in_(newest.group_by(runs.c.session_id))))
    return {row.session_id: row for row in rows}


def latest_agent_sessions(tx: Transaction, issue_ids: list[str]) -> dict[str, JsonObject]:
    """The newest session of each issue that has one, with its newest run, as an issue shows it."""
    if not issue_ids:
        return {}
    newest = select(func.max(sessions.c.seq)).where(tx.mine(sessions, sessions.c.issue_id.in_(issue_ids)))
    query = select(sessions.c.id, sessions.c.issue_id).where(sessions.c.seq.in_(newest.group_by(sessions.c.issue_id)))
    latest = {row.issue_id: row.id for row in tx.connection.execute(query)}
    ran = _newest_runs(tx, list(latest.values()))
    return {
        issue_id: {
            **_summary(tx, session_id, ran.get(session_id)),
            "run": _shown_run(tx, ran[session_id]) if session_id in ran else None,
            "draft_pathway_version": None,
        }
        for issue_id, session_id in latest.items()
    }


def _shown_run(tx: Transaction, run: AnyRow) -> JsonObject:
    done = run.finished_at <= tx.instant
    return {
        "run_id": run.id,
        "intent": run.intent,
        "state": "succeeded" if done else "running",
        "started_at": run.started_at,
        "finished_at": run.finished_at if done else None,
    }


HANDLERS = (
    handled(ListTriageAgents, by=list_triage_agents),
    handled(CreateAgentSession, by=create_agent_session),
    handled(PromptNorm, by=prompt_norm),
)
