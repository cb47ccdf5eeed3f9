"""Findings as an issue's evidence: the call attached, the moment flagged with the transcript's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from calltriage.errors import CallError
from calltriage.leaves.gate import storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import GetCall
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import Issue
from calltriage.operations.resource_links import AttachResource
from calltriage.pipelines import issue_texts
from calltriage.pipelines.calls import view_of
from calltriage.pipelines.issue_writes import IssueWrites, is_verdict
from calltriage.pipelines.ledger import findings, incidents
from calltriage.pipelines.ledger.incidents import Candidate

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.client.client import Client
    from calltriage.pipelines.calls import Call
    from calltriage.pipelines.ledger.ledger import Ledger

LONGEST_TEXT = 10_000
"""Characters of a flag's words that the contract takes."""
BEYOND = "its issue has as many calls as it may hold"
"""Why a finding only counts."""


@dataclass
class Evidence:
    """Adds findings to issues.

    Attributes:
        most: calls that an issue may hold as evidence of one incident.
    """

    client: Client
    ledger: Ledger
    writes: IssueWrites
    most: int
    _calls: dict[str, Call] = field(default_factory=dict[str, "Call"], init=False)

    async def add(self, issue: Issue, incident: JsonObject, found: Sequence[Candidate], call: Call | None) -> None:
        """Add findings to the incident's issue: as evidence while there is room, else to its counts."""
        self._calls = {} if call is None else {call.call_id: call}
        for one in found:
            if one.call_id in await self._attached(issue):
                await self._add(issue, incident, one, adds_call=False)
            elif incident["evidence"] < self.most:
                await self._add(issue, incident, one, adds_call=True)
            else:
                await self._place(one, "counted", BEYOND)

    async def _attached(self, issue: Issue) -> set[str]:
        return await self.ledger.read(lambda connection: findings.calls_filed(connection, self.ledger, issue.id))

    async def _add(self, issue: Issue, incident: JsonObject, one: Candidate, *, adds_call: bool) -> None:
        """Attach a finding's call and flag its moment. What the API refuses for good is counted, with the reason."""
        try:
            await self._attach(issue, one)
            fault = issue_texts.fault_of(one.detector, one.kind)
            flag = AddFlag(issue_id=issue.id, call_id=one.call_id, type=fault, **await self._moment(one))
            made = await self.writes.once(f"{one.id}:flag:{issue.id}", flag, incident["fingerprint"], finding_id=one.id)
        except CallError as error:
            if not is_verdict(error):
                raise
            await self._place(one, "counted", f"refused: {error.code}")
            return

        def change(connection: Connection) -> None:
            why = "accepted" if one.state == "accepted" else None
            findings.set_state(connection, self.ledger, [one.id], "filed", why, issue_id=issue.id)
            if adds_call:
                evidence = incident["evidence"] + 1
                incidents.change(connection, self.ledger, incident["fingerprint"], evidence=evidence)

        await self.ledger.write(change)
        incident["evidence"] += adds_call
        incident["last_flag"] = made.id

    async def _attach(self, issue: Issue, one: Candidate) -> None:
        attach = AttachResource(issue_id=issue.id, resource_type="call", resource_id=one.call_id)
        await self.client.send(attach)  # a repeat returns the first link

    async def _moment(self, one: Candidate) -> JsonObject:
        """What a flag says of a finding's moment. A fact of the record has no turn."""
        note: JsonObject = {"note": issue_texts.note_of(one.note, one.id)}
        if one.turn is None:
            return note
        turns = (await self._call(one.call_id)).turns
        said = turns[one.turn].text if one.turn < len(turns) else one.quote
        words = one.quote if one.quote and one.quote in said else said  # a redacted quote is not what was said
        return {**note, "message_index": one.turn, "message_text": storable(words)[:LONGEST_TEXT] or None}

    async def _call(self, call_id: str) -> Call:
        if call_id not in self._calls:
            self._calls[call_id] = view_of(await self.client.send(GetCall(call_id=call_id)))
        return self._calls[call_id]

    async def _place(self, one: Candidate, state: findings.State, why: str) -> None:
        await self.ledger.write(partial(findings.set_state, ledger=self.ledger, ids=[one.id], state=state, why=why))
