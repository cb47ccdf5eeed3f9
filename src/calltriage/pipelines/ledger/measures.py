"""Measures: figures of calls, and their distribution over the calls of a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from calltriage.pipelines.ledger.tables import measures, results

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

OF_RESULT = and_(
    *(
        measures.c[name] == results.c[name]
        for name in ("account", "call_id", "content_hash", "detector", "version_hash")
    )
)
"""The condition that a measure is of a result."""


@dataclass(frozen=True)
class Distribution:
    """How a measure of one version of a detector is distributed. Each examination of a call counts.

    Attributes:
        calls: number of values.
        median, percentile_95: by nearest rank, so that each is a value of some call.
        greatest: the greatest value.
    """

    detector: str
    name: str
    unit: str
    calls: int
    median: float
    percentile_95: float
    greatest: float


def distributions(
    connection: Connection, looked: ColumnElement[bool], versions: Mapping[str, str]
) -> list[Distribution]:
    """The distributions of the measures of results that fulfil `looked`. `versions`: version hashes by detector."""
    if not versions:
        return []
    present = or_(
        *(and_(results.c.detector == one, results.c.version_hash == version) for one, version in versions.items())
    )
    values = select(measures.c.value).select_from(measures.join(results, OF_RESULT)).where(looked, present)
    by = (measures.c.detector, measures.c.name, measures.c.unit)
    groups = values.with_only_columns(*by, func.count(), func.max(measures.c.value)).group_by(*by).order_by(*by)
    found = list[Distribution]()
    for detector, name, unit, count, greatest in connection.execute(groups).all():
        of_group = (measures.c.detector == detector) & (measures.c.name == name) & (measures.c.unit == unit)
        ordered = values.where(of_group).order_by(measures.c.value)
        median, high = (
            connection.execute(ordered.limit(1).offset(math.ceil(share * count) - 1)).scalar_one()
            for share in (0.5, 0.95)
        )
        found.append(Distribution(detector, name, unit, count, median, high, greatest))
    return found
