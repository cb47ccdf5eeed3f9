"""How often versions of users' detectors took too long, counted over all processes and machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import case, select

from calltriage.leaves.instants import written
from calltriage.pipelines.hangs import COUNT_FOR, MOST_HANGS
from calltriage.pipelines.ledger.rows import insert_into
from calltriage.pipelines.ledger.tables import detectors

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from calltriage.pipelines.ledger.ledger import Ledger

LOOK_EVERY_S = 5.0
"""Seconds for which a count is taken as it was read: what other processes count meanwhile is seen after that."""


@dataclass(frozen=True)
class LedgerHangs:
    """Those of a pipeline's detectors, in the table `pipeline_detectors`. See `hangs.Hangs`."""

    ledger: Ledger
    pipeline: str
    _known: dict[tuple[str, str], tuple[float, int]] = field(
        default_factory=dict[tuple[str, str], tuple[float, int]], init=False, repr=False
    )
    """Counts, each with the time (loop's clock) at which it was read."""

    async def count(self, detector: str, version: str) -> int:
        at, known = self._known.get((detector, version), (float("-inf"), 0))
        if anyio.current_time() - at < LOOK_EVERY_S:
            return known
        query = select(detectors.c.hangs).where(
            detectors.c.account == self.ledger.account, detectors.c.pipeline == self.pipeline,
            detectors.c.detector == detector, detectors.c.version_hash == version, _counts(self.ledger),
        )  # fmt: skip
        found = await self.ledger.read(lambda connection: connection.execute(query).scalar_one_or_none()) or 0
        return self._keep(detector, version, found)

    async def add(self, detector: str, version: str, why: str) -> int:
        one = {"account": self.ledger.account, "pipeline": self.pipeline, "detector": detector}
        row = {**one, "version_hash": version, "hangs": 1, "updated_at": self.ledger.now()}
        more = case((_counts(self.ledger), detectors.c.hangs + 1), else_=1)
        values = {
            "hangs": more, "off_because": case((more >= MOST_HANGS, why), else_=None), "updated_at": row["updated_at"],
        }  # fmt: skip

        def change(connection: Connection) -> int:
            added = insert_into(connection.dialect.name, detectors).values(row)
            counted = added.on_conflict_do_update(index_elements=list(detectors.primary_key), set_=values)
            return connection.execute(counted.returning(detectors.c.hangs)).scalar_one()

        return self._keep(detector, version, await self.ledger.write(change))

    def _keep(self, detector: str, version: str, count: int) -> int:
        self._known[detector, version] = anyio.current_time(), count
        return count


def _counts(ledger: Ledger) -> ColumnElement[bool]:
    """Whether the last hang of a version is so recent that its hangs count."""
    return detectors.c.updated_at > written(ledger.clock() - COUNT_FOR)


async def switched_off(ledger: Ledger, pipeline: str) -> dict[tuple[str, str], str]:
    """Why versions of a pipeline's detectors are switched off, by name and what `hangs.tried` says of a version."""
    off = (
        detectors.c.account == ledger.account,
        detectors.c.pipeline == pipeline,
        detectors.c.off_because.is_not(None),
        _counts(ledger),
    )
    query = select(detectors.c.detector, detectors.c.version_hash, detectors.c.off_because).where(*off)
    return await ledger.read(lambda connection: {(row[0], row[1]): row[2] for row in connection.execute(query)})
