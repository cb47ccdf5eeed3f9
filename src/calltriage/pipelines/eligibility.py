"""Which findings may become evidence, and which of them without a person.

A detector files alone only while the lower 95 % bound of its precision on people's verdicts reaches the bar in the
pipeline's file. Verdicts count for the version of the detector that finds the moment now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from calltriage.pipelines.ledger import findings, reviews
from calltriage.pipelines.ledger.incidents import Candidate
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.reviews import Tally
from calltriage.pipelines.spec import Detect, Spec
from calltriage.pipelines.statistics import wilson

SAMPLED = "sampled for review"
"""Why a finding that could be filed without a person waits for one."""
KNOWN_FOR_S = 5.0
"""Seconds for which verdicts are taken as read."""


@dataclass
class Eligibility:
    """Tells which findings of a pipeline may be filed."""

    ledger: Ledger
    spec: Spec
    _tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict[tuple[str, str], Tally], init=False)
    _read_at: float = field(default=float("-inf"), init=False)

    async def chosen(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Those of the findings that may be filed now. A share of those that need no person is held back for one."""
        accepted = [one for one in found if one.state == "accepted"]
        alone = [one for one in found if one.state == "new" and one.why is None and await self._files_alone(one)]
        held = [one.id for one in alone if is_sampled(one.id, self.spec.issues.review_share)]
        if held:
            hold = partial(findings.set_state, ledger=self.ledger, ids=held, state="new", why=SAMPLED)
            await self.ledger.write(hold)
        return accepted + [one for one in alone if one.id not in held]

    async def _files_alone(self, one: Candidate) -> bool:
        detect = self.detect(one.detector)
        if detect is None or detect.file != "auto":
            return False
        return await self.bound(one.detector, one.version_hash) >= detect.min_precision

    def detect(self, detector: str) -> Detect | None:
        """What the pipeline's file says of a detector; None for one that is not in it."""
        return next((one for one in self.spec.detect if one.known_as == detector), None)

    async def bound(self, detector: str, version_hash: str) -> float:
        """The lower 95 % bound of a detector's precision; 0 without a verdict."""
        if anyio.current_time() - self._read_at > KNOWN_FOR_S:
            read = partial(reviews.tallies, ledger=self.ledger, with_agents=self.spec.issues.agent_verdicts)
            self._tallies, self._read_at = await self.ledger.read(read), anyio.current_time()
        tally = self._tallies.get((detector, version_hash), Tally())
        return wilson(tally.right, tally.total)[0] if tally.total else 0.0


def is_sampled(finding_id: str, share: float) -> bool:
    """Whether a finding is among the share that people see all the same: decided by its id, equal at each run."""
    return int(finding_id[:8], 16) < share * 16**8
