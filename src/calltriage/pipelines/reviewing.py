"""What people and agents say of findings, and what follows from it: an accepted finding is filed, a dismissed one is not.

An agent's verdict is put on record and changes no state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from calltriage.errors import Conflict, NotFound, Rejected
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import quoted
from calltriage.operations.calls import GetCall, Turn
from calltriage.pipelines.catalogue import BUILT_INS
from calltriage.pipelines.ledger import effects, findings, incidents, reviews, tables
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.reviews import Reason, Review, Role
from calltriage.pipelines.parts import Parts
from calltriage.pipelines.spec import Spec, SpecError, parse_spec

if TYPE_CHECKING:
    from calltriage.client.client import Client


@dataclass(frozen=True)
class Reviewer:
    """Who says something of findings."""

    by: str
    role: Role = "human"


async def found(ledger: Ledger, name: str) -> JsonObject:
    """The finding that an id names, or its beginning. Raises NotFound or Conflict."""
    rows = await ledger.read(partial(findings.by_id, ledger=ledger, name=name.strip().lower()))
    if not rows:
        raise NotFound(
            f"No finding has this id (letters a to f and digits, {findings.SHORTEST_ID} at least). List them with: "
            "calltriage pipeline findings"
        )
    if len(rows) > 1:
        raise Conflict("Several findings begin so. Give more of the id.")
    return rows[0]


async def review(
    ledger: Ledger, finding: JsonObject, reviewer: Reviewer, verdict: reviews.Verdict, reason: str | None = None
) -> JsonObject:
    """Put a verdict on record. A person's decides what becomes of the finding. Returns the finding as it is then. Raises
    Conflict for one whose words were not said in the call."""
    if finding["state"] == "unverified" and verdict != "wrong":
        raise Conflict(
            "No turn of the call has the words of this finding, so that it can be nobody's evidence. If the fault is real, "
            "report it with words that were said: calltriage pipeline missed CALL DETECTOR QUOTE"
        )
    said = Review(
        finding["call_id"], finding["detector"], verdict, reviewer.by, reviewer.role, reason, finding["id"],
        finding["kind"], finding["turn"],
    )  # fmt: skip

    def change(connection: Connection) -> JsonObject:
        reviews.add(connection, ledger, said)
        if reviewer.role == "human":
            _decide(connection, ledger, finding, verdict)
        return findings.by_id(connection, ledger, finding["id"])[0]

    return await ledger.write(change)


def _decide(connection: Connection, ledger: Ledger, finding: JsonObject, verdict: reviews.Verdict) -> None:
    if verdict in reviews.REASONS:
        findings.set_state(connection, ledger, [finding["id"]], "dismissed", verdict)
    elif finding["state"] != "filed":
        findings.set_state(connection, ledger, [finding["id"]], "accepted", None)


async def file_accepted(parts: Parts, finding: JsonObject) -> JsonObject:
    """File a finding that a person accepted, by the rules of the pipeline that found it. Returns it as it is then. Raises
    CallError where the API could not be asked; a later run files it then."""
    spec = await spec_of(parts.ledger, finding)
    await parts.filer(spec).settle(finding["fingerprint"])
    return await found(parts.ledger, finding["id"])


async def issue_name(ledger: Ledger, finding: JsonObject) -> str:
    """The ticket of the issue that a filed finding is on; its id where the issue has no ticket."""
    incident = await ledger.read(partial(incidents.by_fingerprint, ledger=ledger, fingerprint=finding["fingerprint"]))
    is_of_incident = incident is not None and incident["issue_id"] == finding["issue_id"]
    return (incident["ticket"] if incident and is_of_incident else None) or finding["issue_id"]


async def spec_of(ledger: Ledger, finding: JsonObject) -> Spec:
    """The pipeline's file as it was when a finding was found; its defaults where that is not known any more."""
    runs = tables.runs
    query = select(runs.c.spec).where(runs.c.account == ledger.account, runs.c.id == finding["run_id"])
    text = await ledger.read(lambda connection: connection.execute(query).scalar_one_or_none())
    try:
        return parse_spec(text or "")
    except SpecError:
        return parse_spec('name = "pipeline"\n[[detect]]\nuse = "agent_silence"\n')


async def undoing(ledger: Ledger, finding: JsonObject) -> list[str]:
    """What a person can undo of a finding that was filed and is dismissed: removing stays with people."""
    made = await ledger.read(partial(effects.done, ledger=ledger, finding_id=finding["id"]))
    flags = [one for one in made if one["kind"] == "add_flag"]
    names = [await issue_name(ledger, {**finding, "issue_id": one["issue_id"]}) for one in flags]
    return [
        f"Its flag {_made(one)} stays on {name} until a person removes it."
        for one, name in zip(flags, names, strict=True)
    ]


def _made(effect: JsonObject) -> str:
    """The id of what an effect made."""
    result: JsonObject = effect["result"] or {}
    return str(result.get("id"))


async def missed(
    parts: Parts, call_id: str, detector: str, quote: str, *, reviewer: Reviewer, note: str | None = None
) -> JsonObject:
    """Put on record that a detector did not find a moment. Raises NotFound or Rejected where no single turn has the words,
    or no detector has the name."""
    name = await known_detector(parts.ledger, detector)
    turns = await _turns(parts.client, call_id)
    hits = quoted(turns, quote)
    if len(hits) != 1:
        what = "no turn has these words" if not hits else f"{len(hits)} turns have these words"
        raise Rejected(f"In this call {what}. Quote words of the one turn that you mean.", field="quote")
    turn = hits[0]
    said = Review(
        call_id, name, "missed", reviewer.by, reviewer.role, note, turn=turn, quote=quote[:2000]
    )  # the words as they were typed: the turn has its own
    review_id = await parts.ledger.write(partial(reviews.add, ledger=parts.ledger, review=said))
    return {"id": review_id, "call_id": call_id, "detector": name, "turn": turn}


async def nothing(parts: Parts, call_id: str, detector: str, reviewer: Reviewer) -> JsonObject:
    """Put on record that a call has no such moment. Raises NotFound for a call or a detector that is not there."""
    name = await known_detector(parts.ledger, detector)
    await _turns(parts.client, call_id)
    said = Review(call_id, name, "nothing", reviewer.by, reviewer.role)
    review_id = await parts.ledger.write(partial(reviews.add, ledger=parts.ledger, review=said))
    return {"id": review_id, "call_id": call_id, "detector": name}


async def _turns(client: Client, call_id: str) -> list[Turn]:
    return (await client.send(GetCall(call_id=call_id))).transcripts or []


async def known_detector(ledger: Ledger, name: str) -> str:
    """A detector's name as runs know it, or a built-in's. Raises NotFound with the nearest one."""
    results = tables.results
    query = select(results.c.detector).where(results.c.account == ledger.account).distinct()
    known = {*await ledger.read(lambda connection: list(connection.execute(query).scalars())), *BUILT_INS}
    if name in known:
        return name
    close = get_close_matches(name[:64], sorted(known), 1, 0.5)
    raise NotFound(
        f"No detector has this name. {f'Did you mean {close[0]}?' if close else ''}".strip(), field="detector"
    )


async def unflagged(ledger: Ledger, most: int) -> list[str]:
    """Examined calls without a finding, chosen by a hash of their ids: the same ones until they are labelled."""

    def read(connection: Connection) -> list[str]:
        results, of_findings, of_reviews = tables.results, tables.findings, tables.reviews
        here = results.c.account == ledger.account
        has_finding = select(of_findings.c.id).where(
            of_findings.c.account == results.c.account, of_findings.c.call_id == results.c.call_id
        )
        is_labelled = select(of_reviews.c.id).where(
            of_reviews.c.account == results.c.account,
            of_reviews.c.call_id == results.c.call_id,
            of_reviews.c.verdict.in_(("missed", "nothing")),
        )
        query = select(results.c.call_id).where(here, ~has_finding.exists(), ~is_labelled.exists()).distinct()
        ids: Iterator[str] = connection.execute(query, execution_options={"yield_per": 1000}).scalars()
        return heapq.nsmallest(most, ids, key=_order)

    return await ledger.read(read)


def _order(call_id: str) -> bytes:
    return blake2b(call_id.encode("utf-8", "backslashreplace"), digest_size=16).digest()


async def counts(ledger: Ledger) -> dict[str, int]:
    """How many findings there are in each state."""
    of_findings: Any = tables.findings
    query = (
        select(of_findings.c.state, func.count())
        .where(of_findings.c.account == ledger.account)
        .group_by(of_findings.c.state)
    )
    rows = await ledger.read(lambda connection: connection.execute(query).all())
    return {row[0]: row[1] for row in rows}


DISMISS_REASONS: tuple[Reason, ...] = reviews.REASONS
