"""The last step of an item: verified findings become evidence of an issue, once.

One task over all processes settles an incident at a time. It decides by the ledger and the issue, and each write has a key.
So settling an incident again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from calltriage.errors import CallError, NotFound
from calltriage.filing.closing import CLOSED
from calltriage.filing.fingerprint_line import fingerprint_of, issue_of, line_of
from calltriage.filing.lookalikes import Draft, Likeness, similar_to
from calltriage.leaves.instants import instant, written
from calltriage.leaves.seals import Seals
from calltriage.operations.issues import CreateIssue, GetIssue, Issue, UpdateIssue
from calltriage.operations.relations import LinkIssue
from calltriage.pipelines import issue_texts
from calltriage.pipelines.cases import Case, is_enough, read_case
from calltriage.pipelines.coming_back import Closings, why_not
from calltriage.pipelines.counting import Counts
from calltriage.pipelines.eligibility import Eligibility
from calltriage.pipelines.evidence import Evidence
from calltriage.pipelines.hangs import COUNT_FOR
from calltriage.pipelines.issue_writes import IssueWrites, OverLimitError
from calltriage.pipelines.ledger import candidates, findings, incidents
from calltriage.pipelines.ledger.candidates import Candidate
from calltriage.pipelines.ledger.incidents import ALIKE, NO_ISSUE, was_split
from calltriage.pipelines.ledger.turns import alone
from calltriage.pipelines.new_issues import NewIssues
from calltriage.pipelines.patience import is_of_all
from calltriage.pipelines.rates import Spikes, tell_rates
from calltriage.pipelines.recalling import Recall

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.client.client import Client
    from calltriage.journal.journal import Journal
    from calltriage.pipelines.alerts import Hearer
    from calltriage.pipelines.calls import Call
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Spec

logger = logging.getLogger(__name__)


@dataclass
class Filer:
    """Files what a pipeline finds.

    Attributes:
        run_id: the run that found the findings; None if a person files one.
        seals: seals the fingerprint line in an issue's description.
        journal: the client's record of writes, if it has one.
        alerts: hears of what happens to incidents.
        is_watching: `limits.new_issues` counts the last 24 hours instead of the run.
    """

    client: Client
    ledger: Ledger
    spec: Spec
    run_id: str | None
    seals: Seals
    journal: Journal | None = None
    alerts: Hearer | None = None
    is_watching: bool = False
    waits: str | None = field(default=None, init=False)
    """What a person hears of a run that ended: how many incidents wait because of `limits.new_issues`. Set by `finish`."""
    _off: dict[str, datetime] = field(default_factory=dict[str, datetime], init=False)
    _touched: dict[str, None] = field(default_factory=dict[str, None], init=False)

    def __post_init__(self) -> None:
        self._eligibility = Eligibility(self.ledger, self.spec)
        self._writes = IssueWrites(self.client, self.ledger, self.run_id, self.journal)
        most, identities = self.spec.issues.max_evidence, {one.known_as: one.identity for one in self.spec.detect}
        self._evidence = Evidence(self.client, self.ledger, self._writes, most, identities)
        self._closings = Closings(self.client, self.ledger)
        self._recall = Recall(self.client, self.ledger, self._writes)
        self._counts = Counts(self.ledger, self._writes)
        self.spikes = Spikes(self.ledger, self.alerts)
        self._new_issues = NewIssues(self.ledger, self.spec, self.run_id, self.is_watching)

    async def tell_rates(self, *, is_last: bool = False) -> None:
        """Alert about detectors that exceed `alert.rate`, and about incidents whose look is due; see `Spikes`."""
        if self.alerts is not None:
            await tell_rates(self.ledger, self.spec, self.alerts)
            await self.spikes.tell(is_last=is_last)

    async def tell_off(self, what: Literal["detector", "redactor"], name: str) -> None:
        """Alert about what was switched off: once for this process in a day (then it is tried again), and once for each
        `alert.quiet`."""
        event, now = f"{what}_off {name}", self.ledger.clock()
        told = self._off.get(event)
        if self.alerts is not None and (told is None or now - told >= COUNT_FOR):
            self._off[event] = now
            await self.alerts.tell(f"{what}_off", event, {what: name})

    async def finish(self) -> None:
        """At the end of a run: file what is left, alert about rates, comment on issues with calls that are counted and not
        attached, and see what waits."""
        await self.file_left()
        await self.tell_rates(is_last=True)
        await self.tell_counts()
        await self.tell_left()
        self.waits = await self._what_waits()

    async def file_left(self) -> None:
        """File what no call brings up again: findings that were accepted while the API failed, and in a watch those that
        waited for room below `limits.new_issues`."""
        alone = await self._eligibility.alone() if self.is_watching else ()
        left = partial(candidates.left, ledger=self.ledger, pipeline=self.spec.name, alone=alone)
        for fingerprint in await self.waiting(await self.ledger.read(left)):
            try:
                await self.settle(fingerprint)
            except CallError as error:
                if is_of_all(error):
                    raise
                logger.warning("findings could not be filed: %s", error.code)

    async def tell_counts(self) -> None:
        """Comment on the issues that this filer filed on and that have calls that are counted and not attached."""
        await self._counts.tell_all(list(self._touched), is_last=True)
        self._touched.clear()

    async def tell_left(self) -> None:
        """Comment on issues of the pipeline with calls that were counted on earlier days and not told, by any process."""
        await self._counts.tell_left(self.spec.name)

    async def waiting(self, fingerprints: Sequence[str]) -> list[str]:
        """Those of some incidents with findings to file or to count, without those that wait because of
        `limits.new_issues`."""
        due = {
            name: case
            for name, case in (await self._cases(fingerprints)).items()
            if case.chosen or (case.incident["muted"] is not None and case.waiting)
        }
        held_back = await self._new_issues.held_back(due.values())
        waits = {case.fingerprint: case for case in held_back if case.created is None}  # else its issue may be there
        if waits:
            await self._tell("over_limit", f"over_limit {self.spec.name}", next(iter(waits.values())))
        return [name for name, case in due.items() if case.fingerprint not in waits]

    async def _what_waits(self) -> str | None:
        """A sentence about the incidents that wait because of `limits.new_issues`; None if there are none."""
        if not await self._new_issues.is_reached():
            return None
        alone = await self._eligibility.alone()
        left = partial(candidates.left, ledger=self.ledger, pipeline=self.spec.name, alone=alone)
        cases = {case.fingerprint: case for case in (await self._cases(await self.ledger.read(left))).values()}
        waits = await self._new_issues.held_back(cases.values())
        return self._new_issues.told(len(waits)) if waits else None

    async def settle(self, fingerprint: str, calls: Mapping[str, Call] | None = None) -> None:
        """File an incident's findings. A repeat changes nothing.

        `calls`: calls that were read from the API, by id; they are not read again. Raises CallError if the API fails, and
        StoreBusyError if another process holds the incident for too long. What was written until then stands.
        """
        async with alone(self.ledger, f"incident {fingerprint}"):
            case = await self._case(fingerprint)
            if case is not None and case.fingerprint == fingerprint:
                await self._settle_in_turn(case, calls or {})
                return
        if case is not None:  # the one that this one was merged into has a turn of its own
            await self.settle(case.fingerprint, calls)

    async def _settle_in_turn(self, case: Case, calls: Mapping[str, Call]) -> None:
        if await self._is_muted(case) or not case.chosen:
            return
        try:
            await self._settle(case, calls)
        except OverLimitError:
            await self._tell("over_limit", f"over_limit {self.spec.name}", case)

    async def _case(self, fingerprint: str) -> Case | None:
        return (await self._cases([fingerprint])).get(fingerprint)

    async def _cases(self, fingerprints: Sequence[str]) -> dict[str, Case]:
        """The cases of known fingerprints; that of the incident that one was merged into."""
        alone = await self._eligibility.found_alone()
        read = await self.ledger.read(lambda it: {one: read_case(it, self.ledger, one, alone) for one in fingerprints})
        cases = {name: case for name, case in read.items() if case is not None}
        for case in cases.values():
            case.chosen = await self._eligibility.chosen(case.waiting)
        return cases

    async def _is_muted(self, case: Case) -> bool:
        """Whether an incident's findings are only counted. Unmutes one that is muted until it escalates, and does."""
        how = case.incident["muted"]
        if how is None:
            return False

        def change(connection: Connection) -> bool:
            if how == "until_escalating" and incidents.is_escalating(connection, self.ledger, case.family):
                incidents.unmute(connection, self.ledger, case.fingerprint)
                incidents.give_back(connection, self.ledger, case.family)
                return False
            self._count_new(connection, case)
            return not case.chosen

        is_muted = await self.ledger.write(change)
        if not is_muted and not case.has_accepted:
            await self._tell("escalating", f"escalating {case.fingerprint}", case)
            fresh = await self._case(case.fingerprint)
            case.chosen = [] if fresh is None else fresh.chosen
        return is_muted

    async def _settle(self, case: Case, calls: Mapping[str, Call]) -> None:
        try:
            issue = await self._issue(case)
        except NotFound:
            await self._deleted(case)
            if not case.chosen:
                return
            issue = None
        issue = issue or await self._beginning(case, calls)
        if issue is not None and issue.status in CLOSED:
            issue = await self._reopened(case, issue, calls)
        if issue is None:
            return
        if case.incident["state"] == "resolved":  # a process opened it again that ended then, or a person
            await self._change(case, state="regressed", resolved_at=None, evidence=0)
            await self._tell("reopened", f"reopened {issue.id}", case)
        elif case.incident["state"] != "filed":
            await self._change(case, state="filed", resolved_at=None)
        await self._evidence.add(issue, case.incident, case.chosen, calls)
        self._touched[case.fingerprint] = None
        await self._counts.tell(case.incident, is_last=False)

    async def _beginning(self, case: Case, calls: Mapping[str, Call]) -> Issue | None:
        """The first issue of an incident; None if its findings are too few, or if none of their calls exists. Raises
        OverLimitError before anything is asked if the run may file no more issues."""
        if not is_enough(case.chosen, self.spec.issues.file_after):
            await self._change(case, state="waiting")
            return None
        async with self._new_issues.place(case) as has_place:
            if not has_place:
                raise OverLimitError
            case.chosen = await self._evidence.there(case.chosen, calls)
            return await self._first_issue(case) if case.chosen else None

    async def _issue(self, case: Case) -> Issue | None:
        """The incident's issue, or one that a process created that ended before the incident had it. None if there is none.
        Raises NotFound if a person deleted the incident's issue."""
        if case.incident["issue_id"] is not None:
            return await self.client.send(GetIssue(issue_id=case.incident["issue_id"]))
        if case.created is None:
            return None
        try:
            issue = await self.client.send(GetIssue(issue_id=case.created))
        except NotFound:
            return None
        await self._tell("filed", f"filed {issue.id}", case)
        return await self._owned(case, issue, case.incident["joined_because"])

    async def _deleted(self, case: Case) -> None:
        """Mute an incident whose issue a person deleted, until a person unmutes it. Accepted findings get a new issue."""
        because = case.incident["joined_because"] if was_split(case.incident) else None
        lost = NO_ISSUE | {"joined_because": because}

        def change(connection: Connection) -> None:
            incidents.mute(connection, self.ledger, case.fingerprint, "always", "its issue was deleted")
            incidents.change(connection, self.ledger, case.fingerprint, **lost)
            self._count_new(connection, case)
            case.read_created(connection, self.ledger)

        await self.ledger.write(change)
        case.incident |= lost

    async def _first_issue(self, case: Case, follows: Issue | None = None, history: str | None = None) -> Issue:
        """The issue for an incident without one: an earlier one with its fingerprint, a very similar open one, or a new one.

        `follows`: the closed issue that a new one continues. `history`: what the new one's description says of that. Raises
        OverLimitError if the run may file no more issues.
        """
        key = case.creation if follows is None else await self._writes.creation_after(case.fingerprint, follows.id)
        line = line_of(case.fingerprint, self.seals)
        title = issue_texts.title_of(case.incident)
        description = issue_texts.description_of(case.incident, self.spec.name, line, history)
        category = issue_texts.category_of(case.incident["detector"])
        alike = list[Likeness]()
        if follows is None and case.creating != "begun":  # else the same request is completed
            there = None if case.created else await issue_of(case.fingerprint, self.client, self.seals)
            if there is not None:
                await self._recall.found_again(there, case.fingerprint)
                return await self._owned(case, there, "its description names this incident")
            draft = Draft(title, "", category, frozenset(("call", one.call_id) for one in case.chosen))
            found = (await similar_to(draft, self.client)).likenesses
            alike = [one for one in found if fingerprint_of(one.issue, self.seals) is None]
            close = next((one for one in alike if one.is_close), None)
            if close is not None and not was_split(case.incident):
                return await self._joined(case, close, title)
        new = CreateIssue(
            title=title, description=description, category=category, severity=case.severity, source="automated"
        )  # fmt: skip
        issue = await self._writes.once(key, new, case.fingerprint, limit=self._new_issues.limit(case))
        await self._owned(case, issue, case.incident["joined_because"])
        for other in [one.issue for one in alike[:1]] if follows is None else [follows]:
            await self._relate(issue, other)
        await self._tell("filed", f"filed {issue.id}", case)
        return issue

    async def _owned(self, case: Case, issue: Issue, because: str | None) -> Issue:
        await self._change(
            case, issue_id=issue.id, ticket=issue.triage_id or None, state="filed", resolved_at=None, evidence=0,
            joined_because=because,
        )  # fmt: skip
        return issue

    async def _joined(self, case: Case, close: Likeness, title: str) -> Issue:
        words = ", ".join(word for found in close.words.values() for word in found)
        await self._recall.join(close.issue, case.fingerprint, title)
        return await self._owned(case, close.issue, f"{ALIKE}: {close.score} by {words}"[:500])

    async def _relate(self, issue: Issue, other: Issue) -> None:
        """Link a new issue to another one. A failure is logged. An existing link is no failure."""
        try:
            await self.client.send(LinkIssue(issue_id=issue.id, related_issue_id=other.id, relation_type="related_to"))
        except CallError as error:
            logger.warning("a new issue could not be linked: %s", error.code)

    # A closed issue

    async def _reopened(self, case: Case, issue: Issue, calls: Mapping[str, Call]) -> Issue | None:
        """The issue for findings whose issue is closed: the same one reopened, or a new one if it was closed longer ago than
        `issues.reopen_within`. None if the findings do not show that the fault came back."""
        closed = await self._closings.of(case, issue)
        grace, version = self.spec.issues.reopen_grace, case.incident["newest_version"]
        reasons = {one: why_not(one, closed, grace, version) for one in case.chosen}
        case.chosen = [one for one, reason in reasons.items() if reason is None]
        earlier = {one: reason for one, reason in reasons.items() if reason is not None}
        await self._leave_closed(case, issue, earlier, calls)
        if await self._was_expected(case, issue):
            return None
        if not is_enough(case.chosen, self.spec.issues.file_after):
            return None
        began, moment = min(one.at for one in case.chosen), written(closed)
        if (instant(began) or self.ledger.clock()) - closed > self.spec.issues.reopen_within:
            history = issue_texts.follows(issue.triage_id or issue.id, began, moment)
            return await self._first_issue(case, issue, history)
        told = issue_texts.regressed(len({one.call_id for one in case.chosen}), began, moment)
        key = f"{case.fingerprint}:reopen:{issue.id}:{moment}"
        # The comment comes first: after the update no repeat comes here.
        await self._writes.comment(f"{key}:comment", issue.id, told, case.fingerprint)
        return await self._writes.once(key, UpdateIssue(issue_id=issue.id, status="todo"), case.fingerprint)

    async def _leave_closed(
        self, case: Case, issue: Issue, earlier: Mapping[Candidate, str], calls: Mapping[str, Call]
    ) -> None:
        """Settle findings that do not show that the fault came back: accepted ones become evidence of the issue, which stays
        closed, and the others are counted with their reasons."""
        counted = {one.id: why for one, why in earlier.items() if one.state != "accepted"}
        for why in dict.fromkeys(counted.values()):
            ids = [one for one, reason in counted.items() if reason == why]
            await self.ledger.write(partial(findings.set_state, ledger=self.ledger, ids=ids, state="counted", why=why))
        accepted = [one for one in earlier if one.state == "accepted"]
        if accepted:
            await self._evidence.add(issue, case.incident, accepted, calls)

    async def _was_expected(self, case: Case, issue: Issue) -> bool:
        """Whether a person closed the issue and dismissed a finding as expected. Mutes the incident then, and leaves those
        findings that a person accepted."""

        def change(connection: Connection) -> bool:
            if issue.status != "closed" or not incidents.was_expected(connection, self.ledger, case.family):
                return False
            incidents.mute(connection, self.ledger, case.fingerprint, "always", "closed by a person as expected")
            self._count_new(connection, case)
            return not case.chosen

        return await self.ledger.write(change)

    def _count_new(self, connection: Connection, case: Case) -> None:
        """Count a muted incident's new findings. Accepted ones are filed although it is muted."""
        incidents.count_new(connection, self.ledger, case.family)
        case.chosen = [one for one in case.chosen if one.state == "accepted"]

    # What is told

    async def _tell(self, what: str, event: str, case: Case) -> None:
        if self.alerts is not None:
            await self.alerts.tell(what, event, case.incident)

    async def _change(self, case: Case, **values: object) -> None:
        case.incident |= values
        change = partial(incidents.change, ledger=self.ledger, fingerprint=case.fingerprint, **values)
        await self.ledger.write(change)
