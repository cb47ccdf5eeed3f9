"""A pipeline of one rule on the desk, up to its issues: what tests of filing, of people's commands and of tools share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from conftest import Clock, call_line, load_lines

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import ListActivity
from calltriage.operations.calls import GetCall
from calltriage.operations.flags import Flag, ListFlags
from calltriage.operations.issues import Issue, ListIssues
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.alerts import Hearer
from calltriage.pipelines.calls import Call, view_of
from calltriage.pipelines.detecting import Detector
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.findings import Verified, verified
from calltriage.pipelines.ledger import Ledger, findings, reviews
from calltriage.pipelines.ledger.reviews import Review
from calltriage.pipelines.redaction import Redactor, redacted
from calltriage.pipelines.spec import Spec, parse_spec

SECRET = Seals(lambda: b"a secret of the tests, long enough")


@detector(version=1, kind="wrong_hours")
def wrong_hours(call: Call) -> Iterator[Finding]:
    """The agent says that the branch opens at nine thirty."""
    for turn in call.turns:
        if "nine thirty" in turn.text:
            yield Finding(turn, "nine thirty", "It opens at ten.", key=str(call.metadata.get("branch") or "") or None)


def spec_of(detect: str = 'file = "auto"', more: str = "") -> Spec:
    """The file of a pipeline with the rule."""
    return parse_spec(f'name = "hours"\n[[detect]]\nuse = "wrong_hours"\n{detect}\n{more}\n')


ALONE = "review_share = 0"
"""Nothing is held back for review."""


async def settle(filer: Filer, call: Call, found: Sequence[Verified]) -> None:
    """Bring what was found in a call to its issues."""
    for fingerprint in dict.fromkeys(one.fingerprint for one in found):
        await filer.settle(fingerprint, {call.call_id: call})


@dataclass
class Bench:
    """Calls with the fault, and what a pipeline makes of them."""

    desk: Desk
    client: Client
    ledger: Ledger
    clock: Clock
    spec: Spec
    run_id: str | None = "run-1"
    journal: Journal | None = None
    seals: Seals = SECRET
    alerts: Hearer | None = None
    rule: Detector = field(default_factory=wrong_hours.configured)
    redactor: Redactor | None = None

    async def say(
        self, call_id: str, text: str = "we open at nine thirty", began: str | None = None, **more: Any
    ) -> None:
        """A call in which an agent says this; it begins now unless `began` says when."""
        at = began or self.clock().isoformat().replace("+00:00", "Z")
        await load_lines(self.desk, call_line(call_id, "hello", "when do you open", text, created_at=at, **more))

    async def examine(self, call_id: str) -> tuple[Call, list[Verified]]:
        """What the rule finds in a call, recorded."""
        call = view_of(await self.client.send(GetCall(call_id=call_id)))
        detect = self.spec.detect[0]
        made = replace(self.rule, severity=detect.severity, group_by=detect.group_by, was=detect.was)
        looked_up = [verified(call, made, one) for one in (await made.examine(call)).findings]
        found = [await redacted(one, self.redactor, call) for one in looked_up]
        record = partial(
            findings.record, ledger=self.ledger, run_id=self.run_id or "run-1", pipeline=self.spec.name,
            calls=[findings.Recorded(call, [findings.place(one, detect) for one in found], [made.name])],
        )  # fmt: skip
        await self.ledger.write(record)
        return call, found

    @property
    def filer(self) -> Filer:
        return Filer(
            self.client, self.ledger, self.spec, self.run_id, self.seals, journal=self.journal, alerts=self.alerts
        )

    async def run(self, *call_ids: str) -> None:
        """Examine calls and file what is found."""
        for call_id in call_ids:
            call, found = await self.examine(call_id)
            await settle(self.filer, call, found)

    async def trust(self, right: int = 18, wrong: int = 0) -> None:
        """People's verdicts on other findings of the rule, in calls of their own."""
        about = {"created_at": "2026-04-01T00:00:00Z", "metadata": {"branch": "of the labels"}}
        lines = [call_line(f"labelled-{number}", "nine thirty", **about) for number in range(right + wrong)]
        await load_lines(self.desk, *lines)
        for number in range(right + wrong):
            _, [found] = await self.examine(f"labelled-{number}")
            verdict = "right" if number < right else "wrong"
            said = Review(found.call_id, found.detector, verdict, "a person", "human", finding_id=found.finding_id)
            await self.ledger.write(partial(reviews.add, ledger=self.ledger, review=said))
        of_labels = [row["id"] for row in await self.rows() if row["call_id"].startswith("labelled-")]
        done = partial(findings.set_state, ledger=self.ledger, ids=of_labels, state="dismissed", why="labelled")
        await self.ledger.write(done)

    async def rows(self) -> list[JsonObject]:
        """The findings."""
        return await self.ledger.read(lambda it: findings.listed(it, self.ledger, findings.Wanted(limit=1000)))

    async def issues(self) -> list[Issue]:
        """The issues, first filed first."""
        return (await self.client.send(ListIssues(sort="created_at", order="asc", limit=100))).items

    async def flags(self, issue: Issue) -> list[Flag]:
        return (await self.client.send(ListFlags(issue_id=issue.id, limit=100))).items

    async def comments(self, issue: Issue) -> list[str]:
        """The comments, oldest first."""
        entries = (await self.client.send(ListActivity(issue_id=issue.id, limit=100))).items
        return [entry.detail or "" for entry in entries if entry.type == "comment"][::-1]

    async def states(self) -> dict[str, str]:
        """The state of each finding that is no label, by its call."""
        return {row["call_id"]: row["state"] for row in await self.rows() if not row["call_id"].startswith("labelled-")}
