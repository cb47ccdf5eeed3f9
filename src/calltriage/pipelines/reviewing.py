"""Reviews of findings by people and agents.

A person's verdict changes a finding's state: an accepted finding is filed, a dismissed one is not. An agent's verdict is
recorded and changes no state.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from calltriage.errors import CallError, Conflict, NotFound, Rejected, SettingsError, StoreError, TryNext
from calltriage.leaves.nearest import nearest
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import place, quoted
from calltriage.operations.calls import GetCall
from calltriage.pipelines.calls import view_of
from calltriage.pipelines.catalogue import BUILT_INS
from calltriage.pipelines.ledger import blind, effects, findings, incidents, reviews, runs, tables
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.reviews import Reason, Review, Role
from calltriage.pipelines.ledger.runs import Origin
from calltriage.pipelines.parts import Parts
from calltriage.pipelines.redaction import Masked, RedactionError, known_values
from calltriage.pipelines.spec import Spec, SpecError, stored_spec
from calltriage.pipelines.users_redactor import opened_redactor

if TYPE_CHECKING:
    from calltriage.client.client import Client

logger = logging.getLogger(__name__)

MOST_FOUND, MOST_NAMED = 1000, 3
"""Most findings of a call that are looked through, and that an error names."""
MOST_RUNS = 50
"""Most runs whose files are looked through for a detector."""


@dataclass(frozen=True)
class Reviewer:
    """Who gives a verdict. `by`: the name that is recorded."""

    by: str
    role: Role = "human"


async def found(ledger: Ledger, name: str) -> JsonObject:
    """The finding with an id, or with the beginning of one. Raises NotFound if there is none, Conflict if there are
    several."""
    name = name.strip().lower()
    if len(name) < findings.SHORTEST_ID:
        raise NotFound(f"This id is too short: give {findings.SHORTEST_ID} characters of it at least.")
    rows = await ledger.read(partial(findings.by_id, ledger=ledger, name=name))
    if not rows:
        raise NotFound(
            f"No finding has this id (letters a to f and digits, {findings.SHORTEST_ID} at least). List them with: "
            "calltriage pipeline findings"
        )
    if len(rows) > 1:
        raise Conflict("Several findings begin so. Give more of the id.")
    return rows[0]


async def review(
    ledger: Ledger,
    finding: JsonObject,
    reviewer: Reviewer,
    verdict: reviews.Verdict,
    reason: str | None = None,
    *,
    client: Client | None = None,
) -> JsonObject:
    """Record a verdict. A person's changes the finding's state. Returns the finding afterwards; its `replayed` is true if
    the same reviewer had just said the same, which is not recorded twice.

    The reason is masked as the file of the finding's run says. `client` reads the call, whose record names what is masked
    besides numbers and addresses; a call that cannot be read names nothing. Raises Conflict for an unverified finding,
    unless the verdict is `wrong`, and Rejected if the file's redactor fails.
    """
    if finding["state"] == "unverified" and verdict != "wrong":
        raise Conflict(
            "No turn of the call has the words of this finding, so that it can be nobody's evidence. If the fault is real, "
            "report it with words that were said (report_missed, or calltriage pipeline missed CALL DETECTOR QUOTE)."
        )
    if reason is not None:
        spec = await spec_of(ledger, finding)
        known = () if spec.redact is None else await _known(client, finding["call_id"])
        reason = (await _masked(spec, [reason], known))[0].text
    said = Review(
        finding["call_id"], finding["detector"], verdict, reviewer.by, reviewer.role, reason, finding["id"],
        finding["kind"], finding["turn"],
    )  # fmt: skip

    def change(connection: Connection) -> JsonObject:
        is_said = reviews.is_said(reviews.of_finding(connection, ledger, finding["id"]), said)
        if not is_said:
            reviews.add(connection, ledger, said)
        if reviewer.role == "human":
            _decide(connection, ledger, finding, verdict)
        return findings.by_id(connection, ledger, finding["id"])[0] | ({"replayed": True} if is_said else {})

    return await ledger.write(change)


def _decide(connection: Connection, ledger: Ledger, finding: JsonObject, verdict: reviews.Verdict) -> None:
    if verdict in reviews.REASONS:
        findings.set_state(connection, ledger, [finding["id"]], "dismissed", verdict)
    elif finding["state"] != "filed":
        findings.set_state(connection, ledger, [finding["id"]], "accepted", None)


async def file_accepted(parts: Parts, finding: JsonObject) -> JsonObject:
    """File a finding that a person accepted, by the rules of its pipeline's file. Returns the finding afterwards.

    Raises CallError if the API fails, and StoreError if others keep the incident or the ledger busy; a later run files the
    finding then.
    """
    filer = parts.filer(await spec_of(parts.ledger, finding))
    await filer.settle(finding["fingerprint"])
    try:
        await filer.tell_counts()
    except (CallError, StoreError) as error:
        told = getattr(error, "code", None) or type(error).__name__
        logger.warning("no comment was made on further calls; a later run makes it: %s", told)
    return await found(parts.ledger, finding["id"])


async def issue_name(ledger: Ledger, finding: JsonObject) -> str:
    """The ticket of a filed finding's issue; the issue's id if the ticket is not known."""
    incident = await ledger.read(partial(incidents.by_fingerprint, ledger=ledger, fingerprint=finding["fingerprint"]))
    is_of_incident = incident is not None and incident["issue_id"] == finding["issue_id"]
    return (incident["ticket"] if incident and is_of_incident else None) or finding["issue_id"]


async def spec_of(ledger: Ledger, finding: JsonObject) -> Spec:
    """The pipeline's file of the run that found a finding; a file with default settings if that is not known."""
    table = tables.runs
    query = select(table.c.spec, table.c.window).where(
        table.c.account == ledger.account, table.c.id == finding["run_id"]
    )
    row = await ledger.read(lambda connection: connection.execute(query).one_or_none())
    if row is not None:
        with suppress(SpecError):
            return _as_it_ran(row.spec, row.window)
    return stored_spec('name = "pipeline"\n[[detect]]\nuse = "agent_silence"\n')


def _as_it_ran(text: str, window: JsonObject) -> Spec:
    """A run's file, in the folder from which it ran; in the present one where that is not known. Raises SpecError."""
    file = Origin.of(window).file
    return stored_spec(text, folder=None if file is None else Path(file).parent)


async def undoing(ledger: Ledger, finding: JsonObject) -> list[str]:
    """Sentences about the flags of a dismissed finding, which only a person may remove."""
    made = await ledger.read(partial(effects.done, ledger=ledger, finding_id=finding["id"]))
    flags = [one for one in made if one["kind"] == "add_flag"]
    names = [await issue_name(ledger, {**finding, "issue_id": one["issue_id"]}) for one in flags]
    return [
        f"Its flag {_made(one)} stays on {name} until a person removes it."
        for one, name in zip(flags, names, strict=True)
    ]


def _made(effect: JsonObject) -> str:
    """The id of what a write created."""
    result: JsonObject = effect["result"] or {}
    return str(result.get("id"))


async def missed(
    parts: Parts, call_id: str, detector: str, quote: str, *, reviewer: Reviewer, note: str | None = None
) -> JsonObject:
    """Record that a detector missed a moment. Returns the review's id, call, detector and turn.

    Quote and note are masked as the file of the detector's newest run says; if no run had the detector, they are kept as
    they were typed. Raises Rejected unless exactly one turn has the quote, and if the file's redactor fails; NotFound for an
    unknown call or detector; Conflict if the detector has a finding on this turn.
    """
    name = await known_detector(parts.ledger, detector)
    call = await parts.client.send(GetCall(call_id=call_id))
    turns = call.transcripts or []
    hits = quoted(turns, quote)
    if len(hits) != 1:
        what = "no turn has these words" if not hits else f"{len(hits)} turns have these words"
        raise Rejected(f"In this call {what}. Quote words of the one turn that you mean.", field="quote")
    turn = hits[0]
    spec = await _spec_about(parts.ledger, call_id, name)
    _refuse([one for one in await _standing(parts.ledger, call_id, name, spec) if one["turn"] == turn])
    if spec is not None and spec.redact is not None:  # alone the quote may hold a part of a number
        said_there, known = turns[turn].text or "", known_values(view_of(call))
        hidden, reason = await _masked(spec, [said_there, note or ""], known)
        quote = hidden.part(*(place([turns[turn]], 0, quote) or (0, len(said_there))))
        note = reason.text or None
    said = Review(
        call_id, name, "missed", reviewer.by, reviewer.role, note, turn=turn, quote=quote[:2000]
    )  # without a redactor the words as they were typed: the turn has its own
    review_id = await parts.ledger.write(partial(reviews.add, ledger=parts.ledger, review=said))
    return {"id": review_id, "call_id": call_id, "detector": name, "turn": turn}


async def nothing(parts: Parts, call_id: str, detector: str, reviewer: Reviewer, note: str | None = None) -> JsonObject:
    """Record that a call has nothing that a detector should find. The note is masked as for `missed`. Raises NotFound for an
    unknown call or detector, Rejected, and Conflict if the detector has a finding in the call that is not dismissed as
    wrong."""
    name = await known_detector(parts.ledger, detector)
    call = await parts.client.send(GetCall(call_id=call_id))
    spec = await _spec_about(parts.ledger, call_id, name)
    standing = await _standing(parts.ledger, call_id, name, spec)
    _refuse([one for one in standing if (one["state"], one["why"]) != ("dismissed", "wrong")])
    if note is not None and spec is not None:
        note = (await _masked(spec, [note], known_values(view_of(call))))[0].text
    said = Review(call_id, name, "nothing", reviewer.by, reviewer.role, note)
    review_id = await parts.ledger.write(partial(reviews.add, ledger=parts.ledger, review=said))
    return {"id": review_id, "call_id": call_id, "detector": name}


async def _standing(ledger: Ledger, call_id: str, detector: str, spec: Spec | None) -> list[JsonObject]:
    """Findings of a detector in a call, under all the names that it has in the file, that its present version finds in what
    was said."""
    named = () if spec is None else spec.detect
    names = {detector, *(name for one in named if detector in one.names for name in one.names)}
    wanted = findings.Wanted(call_id=call_id, limit=MOST_FOUND)
    rows = await ledger.read(partial(findings.listed, ledger=ledger, wanted=wanted))
    return [one for one in rows if one["detector"] in names and one["state"] not in blind.SILENT]


def _refuse(found: Sequence[JsonObject]) -> None:
    """Raise Conflict for a report that findings contradict."""
    if found:
        raise Conflict(
            "The detector did find something there, so that nothing is recorded. Give a verdict on its finding instead: "
            f"{', '.join(one['id'] for one in found[:MOST_NAMED])}.",
            code="found_already",
            outcome="not_committed",
            try_next=TryNext(tool="get_finding", arguments={"finding_id": found[0]["id"]}),
        )


async def _spec_about(ledger: Ledger, call_id: str, detector: str) -> Spec | None:
    """The file of the newest run of a detector: of those that examined the call, else of the last MOST_RUNS. None if
    there is none."""
    table, items = tables.runs, tables.items
    query = (
        select(table.c.spec, table.c.window)
        .where(table.c.account == ledger.account)
        .order_by(table.c.created_at.desc())
        .limit(MOST_RUNS)
    )
    of_call = select(items.c.run_id).where(items.c.account == ledger.account, items.c.call_id == call_id)
    found = await ledger.read(
        lambda it: [row for one in (query.where(table.c.id.in_(of_call)), query) for row in it.execute(one)]
    )
    for row in found:
        with suppress(SpecError):
            spec = _as_it_ran(row.spec, row.window)
            if any(detector in one.names for one in spec.detect):
                return spec
    return None


async def _known(client: Client | None, call_id: str) -> Sequence[str]:
    """Personal values of a call's record; none if it cannot be read."""
    if client is None:
        return ()
    try:
        return known_values(view_of(await client.send(GetCall(call_id=call_id))))
    except CallError:
        return ()


async def _masked(spec: Spec, texts: list[str], known: Sequence[str] = ()) -> list[Masked]:
    """Texts as the file's `redact` masks them. Raises Rejected if a user's redactor fails or is not here: nothing is
    recorded then."""
    try:
        async with opened_redactor(spec.redact, spec.folder, spec.limits.seconds_per_call.total_seconds()) as redactor:
            return [Masked(text) for text in texts] if redactor is None else await redactor.mask(texts, known)
    except (SettingsError, RedactionError) as error:
        raise Rejected(
            f"Nothing was recorded, since its words cannot be masked with redact = {spec.redact!r}. {error} Repeat it "
            "where the pipeline's file and its function are, or without words of your own."
        ) from error


async def ran(ledger: Ledger) -> list[str]:
    """Names of the detectors that ran."""
    results = tables.results
    query = (
        select(results.c.detector).where(results.c.account == ledger.account).distinct().order_by(results.c.detector)
    )
    return await ledger.read(lambda connection: list(connection.execute(query).scalars()))


async def known_detector(ledger: Ledger, name: str) -> str:
    """A name of a detector that ran, or of a built-in one. Raises NotFound with the nearest name."""
    return _of_known(name, {*await ran(ledger), *BUILT_INS}, "detector")


async def check_names(ledger: Ledger, pipeline: str | None, detector: str | None = None) -> None:
    """Refuse names to narrow by that no pipeline or detector has: raises NotFound with the nearest name."""
    if pipeline is not None:
        _of_known(pipeline, await runs.pipelines(ledger), "pipeline")
    if detector is not None:
        await known_detector(ledger, detector)


def _of_known(name: str, known: Collection[str], what: str) -> str:
    if name in known:
        return name
    raise NotFound(f"No {what} has this name. {nearest(name, known)}", field=what)


async def unflagged(ledger: Ledger, most: int, detector: str | None = None) -> list[str]:
    """Ids of calls to label blind, remembered as named; see `blind.sample`. Raises NotFound for an unknown detector."""
    name = None if detector is None else await known_detector(ledger, detector)
    named = await ledger.read(partial(blind.sample, ledger=ledger, most=most, detector=name))
    await ledger.write(partial(blind.remember, ledger=ledger, call_ids=named, detector=name))
    return named


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
