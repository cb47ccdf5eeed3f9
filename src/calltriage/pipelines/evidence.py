"""Adds findings to an issue as evidence: attaches the call, and flags the moment with the transcript's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, NotFound
from calltriage.leaves.gate import storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import GetCall
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import Issue
from calltriage.operations.resource_links import AttachResource
from calltriage.pipelines import issue_texts
from calltriage.pipelines.calls import view_of
from calltriage.pipelines.findings import id_of
from calltriage.pipelines.issue_writes import Ended, IssueWrites, Write, is_verdict
from calltriage.pipelines.ledger import effects, findings, incidents
from calltriage.pipelines.ledger.candidates import Candidate
from calltriage.pipelines.ledger.incidents import BEYOND
from calltriage.pipelines.own_words import own_words
from calltriage.pipelines.redaction import known_values

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.client.client import Client
    from calltriage.pipelines.calls import Call
    from calltriage.pipelines.ledger.ledger import Ledger

LONGEST_TEXT = 10_000
"""Most characters of a flag's `message_text` in the contract."""
TOGETHER = 20
"""Findings of one issue that are filed side by side."""


@dataclass(frozen=True)
class Evidence:
    """Adds findings to issues.

    Attributes:
        most: calls that an issue may hold as evidence of one incident.
        identities: detectors' first names, by their present ones.
    """

    client: Client
    ledger: Ledger
    writes: IssueWrites
    most: int
    identities: Mapping[str, str] = field(default_factory=dict[str, str])

    async def add(
        self, issue: Issue, incident: JsonObject, found: Sequence[Candidate], calls: Mapping[str, Call]
    ) -> None:
        """Add findings to the incident's issue as evidence, up to `most` calls. The rest are counted.

        `calls`: calls already read from the API, by id. Raises CallError for what may succeed later.
        """
        keys = {effects.flag_of(one.id, issue.id): one for one in found}

        def known(connection: Connection) -> tuple[set[str], dict[str, str]]:
            calls_there = findings.calls_filed(connection, self.ledger, issue.id)
            return calls_there, effects.states(connection, self.ledger, list(keys))

        attached, states = await self.ledger.read(known)
        may_be_there = {key for key, state in states.items() if state != "refused"}
        chosen = list[tuple[Candidate, bool]]()
        beyond, room = list[str](), self.most - incident["evidence"]
        for key, one in sorted(keys.items(), key=lambda item: item[0] not in may_be_there):
            is_further = one.call_id not in attached
            if is_further and room <= 0 and key not in may_be_there:
                beyond.append(one.id)
                continue
            chosen.append((one, is_further))
            attached.add(one.call_id)
            room -= is_further
        for first in range(0, len(chosen), TOGETHER):
            await self._add(issue, incident, chosen[first : first + TOGETHER], calls)
        if beyond:
            await self._place(beyond, "counted", BEYOND, issue.id)

    async def there(self, found: Sequence[Candidate], calls: Mapping[str, Call]) -> list[Candidate]:
        """Drop findings from the front until one whose call exists on the API; the dropped ones are counted.

        So no issue is filed without evidence. `calls`: calls that are known to exist, by id.
        """
        for number, one in enumerate(found):
            try:
                if one.call_id not in calls:
                    await self.client.send(GetCall(call_id=one.call_id))
            except NotFound:
                await self._place([one.id], "counted", findings.NO_CALL)
            else:
                return list(found[number:])
        return []

    async def _add(
        self, issue: Issue, incident: JsonObject, some: Sequence[tuple[Candidate, bool]], calls: Mapping[str, Call]
    ) -> None:
        """Attach the calls and flag the moments. A finding that the API refuses for good is counted, with the reason.

        `some`: each finding, and whether its call is new on the issue.
        """
        refused, ready = dict[str, str](), dict[str, tuple[Candidate, bool]]()
        writes = list[Write]()

        async def prepare(one: Candidate) -> AddFlag | None:
            try:
                await self._attach(issue, one)
                fault = issue_texts.fault_of(one.detector, one.kind)
                moment = await self._moment(one, calls)
                return AddFlag(issue_id=issue.id, call_id=one.call_id, type=fault, **moment)
            except CallError as error:
                if not is_verdict(error):
                    raise
                refused[one.id] = findings.NO_CALL if isinstance(error, NotFound) else f"refused: {error.code}"
                return None

        flags = await at_once(*(prepare(one) for one, _ in some))
        for (one, is_further), flag in zip(some, flags, strict=True):
            if flag is not None:
                key = effects.flag_of(one.id, issue.id)
                ready[key] = one, is_further
                writes.append(Write(key, flag, incident["fingerprint"], one.id))

        def ended(connection: Connection, came: dict[str, Ended]) -> None:
            self._filed(connection, issue, incident, {ready[key]: one for key, one in came.items()}, refused)

        came = await self.writes.each_once(writes, ended)
        incident["evidence"] = self._evidence(incident, {ready[key]: one for key, one in came.items()})

    def _filed(
        self,
        connection: Connection,
        issue: Issue,
        incident: JsonObject,
        came: Mapping[tuple[Candidate, bool], Ended],
        refused: dict[str, str],
    ) -> None:
        """Record what became of findings, in the caller's transaction, which may run twice."""
        whys, filed = dict(refused), dict[str | None, list[str]]()
        for (one, _), end in came.items():
            if end.state == "refused":
                whys[one.id] = f"refused: {end.error.code if end.error else 'refused'}"
            else:
                filed.setdefault("accepted" if one.state == "accepted" else None, []).append(one.id)
        for why, ids in filed.items():
            findings.set_state(connection, self.ledger, ids, "filed", why, issue_id=issue.id)
        for finding_id, why in whys.items():
            findings.set_state(connection, self.ledger, [finding_id], "counted", why)
        evidence = self._evidence(incident, came)
        incidents.change(connection, self.ledger, incident["fingerprint"], evidence=evidence)

    def _evidence(self, incident: JsonObject, came: Mapping[tuple[Candidate, bool], Ended]) -> int:
        """The incident's `evidence` after these findings: calls attached to the issue."""
        before: int = incident["evidence"]
        return before + sum(is_further for (_, is_further), end in came.items() if end.state == "done")

    async def _attach(self, issue: Issue, one: Candidate) -> None:
        attach = AttachResource(issue_id=issue.id, resource_type="call", resource_id=one.call_id)
        await self.client.send(attach)  # a repeat returns the first link

    async def _moment(self, one: Candidate, calls: Mapping[str, Call]) -> JsonObject:
        """The flag's `note`, `message_index` and `message_text`. A finding about the call's record has the note alone.

        The text is the finding's words without masks, and nothing else of the turn. A flag of words that are not found has
        the index alone.
        """
        note: JsonObject = {"note": issue_texts.note_of(one.note, one.id)}
        if one.turn is None:
            return note
        call = calls.get(one.call_id) or view_of(await self.client.send(GetCall(call_id=one.call_id)))
        words = self._own_words(one, call, one.turn) if one.turn < len(call.turns) else one.quote
        return {**note, "message_index": one.turn, "message_text": storable(words or "")[:LONGEST_TEXT] or None}

    def _own_words(self, one: Candidate, call: Call, turn: int) -> str | None:
        """The words of a finding as they were said; None if they are not found in its turn."""
        name = self.identities.get(one.detector, one.detector)
        return own_words(
            call.turns[turn].text, one.quote, known_values(call),
            lambda words: id_of(one.call_id, name, one.kind, turn, words) == one.id,
        )  # fmt: skip

    async def _place(self, ids: Sequence[str], state: findings.State, why: str, issue_id: str | None = None) -> None:
        place = partial(findings.set_state, ledger=self.ledger, ids=ids, state=state, why=why, issue_id=issue_id)
        await self.ledger.write(place)
