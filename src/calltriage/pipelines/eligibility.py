"""Which findings may be filed, and which of them without a person.

A detector with `file = "auto"` files alone while the lower 95 % bound of its precision reaches `min_precision`. The
precision is the share of findings that people called right, for the detector's present version, under all of its names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from calltriage.pipelines.ledger import findings, reviews
from calltriage.pipelines.ledger.candidates import Alone, Candidate, Versions
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.reviews import Tally
from calltriage.pipelines.spec import Detect, Spec
from calltriage.pipelines.statistics import wilson

SAMPLED = "sampled for review"
"""Reason of a finding that is held back for a person's review, though its detector files alone."""
KNOWN_FOR_S = 5.0
"""Seconds before verdicts are read from the ledger again."""


@dataclass
class Eligibility:
    """Tells which findings of a pipeline may be filed."""

    ledger: Ledger
    spec: Spec
    _tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict[tuple[str, str], Tally], init=False)
    _alone: tuple[Versions, ...] | None = field(default=None, init=False)
    _read_at: float = field(default=float("-inf"), init=False)

    async def chosen(self, found: Sequence[Candidate]) -> list[Candidate]:
        """The findings that may be filed now. A share, `issues.review_share`, of those that need no person is held back."""
        accepted = [one for one in found if one.state == "accepted"]
        alone = [one for one in found if one.state == "new" and one.why is None and await self._files_alone(one)]
        held = [one.id for one in alone if is_sampled(one.id, self.spec.issues.review_share)]
        if held:
            hold = partial(findings.set_state, ledger=self.ledger, ids=held, state="new", why=SAMPLED)
            await self.ledger.write(hold)
        return accepted + [one for one in alone if one.id not in held]

    async def _files_alone(self, one: Candidate) -> bool:
        """Whether a finding needs no person: by the file of the pipeline that found it, which may be another one."""
        detect = self.detect(one.detector)
        if one.pipeline != self.spec.name or detect is None or detect.file != "auto":
            return False
        return await self.bound(detect, one.version_hash) >= detect.min_precision

    async def alone(self) -> tuple[Versions, ...]:
        """The detectors whose findings need no person."""
        known = await self._known()
        if self._alone is None:
            asked = (one for one in self.spec.detect if one.file == "auto")
            self._alone = tuple(each for one in asked for each in self._versions(one, known))
        return self._alone

    async def found_alone(self) -> Alone:
        """The findings that need no person."""
        versions = await self.alone()
        names = {name for one in self.spec.detect for name in one.names}
        return Alone(self.spec.name, versions, frozenset(names.difference(one.detector for one in versions)))

    def _versions(self, one: Detect, known: Mapping[tuple[str, str], Tally]) -> list[Versions]:
        """The versions of a detector that reach the bar, for each of its names. None if none does."""
        of_it = sorted({version for name, version in known if name in one.names})
        reach = tuple(each for each in of_it if _bound(known, one, each) >= one.min_precision)
        if one.min_precision == 0:
            return [Versions(name, None, one.identity) for name in one.names]
        return [Versions(name, reach, one.identity) for name in one.names if reach]

    def detect(self, detector: str) -> Detect | None:
        """What the pipeline's file says of a detector, by its name or an earlier one; None for one that is not in it."""
        return next((one for one in self.spec.detect if detector in one.names), None)

    async def bound(self, detect: Detect, version_hash: str) -> float:
        """The lower 95 % bound of a detector's precision; 0 without a verdict."""
        return _bound(await self._known(), detect, version_hash)

    async def _known(self) -> Mapping[tuple[str, str], Tally]:
        if anyio.current_time() - self._read_at > KNOWN_FOR_S:
            read = partial(reviews.tallies, ledger=self.ledger, with_agents=self.spec.issues.agent_verdicts)
            self._tallies, self._read_at = await self.ledger.read(read), anyio.current_time()
            self._alone = None
        return self._tallies


def _bound(known: Mapping[tuple[str, str], Tally], detect: Detect, version_hash: str) -> float:
    tally = reviews.tally_of(known, detect.names, version_hash)
    return wilson(tally.right, tally.total)[0] if tally.total else 0.0


def is_sampled(finding_id: str, share: float) -> bool:
    """Whether a finding is held back for review. Its id decides, so the answer is the same in each run."""
    return int(finding_id[:8], 16) < share * 16**8
