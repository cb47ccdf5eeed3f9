"""Measures: figures of calls, and their distribution over the calls of a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, func, select

from calltriage.pipelines.ledger.results import of_versions
from calltriage.pipelines.ledger.tables import measures, results

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

MOST_MEASURES = 20
"""Measures of a detector that a report or a run tells."""


@dataclass(frozen=True)
class Distribution:
    """How a measure of one version of a detector is distributed over examinations. A call whose transcript changed counts
    once more.

    Attributes:
        examinations: number of values.
        median, percentile_95: by nearest rank, so that each is a value of some call.
        greatest: the greatest value.
    """

    detector: str
    name: str
    unit: str
    examinations: int
    median: float
    percentile_95: float
    greatest: float


def distributions(
    connection: Connection, looked: ColumnElement[bool], versions: Mapping[str, str]
) -> list[Distribution]:
    """How the measures of results that fulfil `looked` are distributed, MOST_MEASURES of each detector: the most
    frequent ones. `versions`: version hashes by detector."""
    if not versions:
        return []
    by = (measures.c.detector, measures.c.name, measures.c.unit)
    ordered = (
        select(
            *by,
            measures.c.value,
            func.row_number().over(partition_by=by, order_by=measures.c.value).label("rank"),
            func.count().over(partition_by=by).label("of"),
        )
        .select_from(
            measures.join(results, and_(*(measures.c[column.name] == column for column in results.primary_key)))
        )
        .where(looked, of_versions(versions))
        .subquery()
    )
    one = ordered.c
    ranks = {"median": (one.of + 1) // 2, "percentile_95": (19 * one.of + 19) // 20, "greatest": one.of}
    of_ranks = (func.max(case((one.rank == rank, one.value))).label(name) for name, rank in ranks.items())
    by = (one.detector, one.name, one.unit)
    query = select(*by, func.count(), *of_ranks).group_by(*by).order_by(one.detector, func.count().desc(), *by[1:])
    found = (Distribution(*row) for row in connection.execute(query))
    return [one for _, of_one in groupby(found, lambda one: one.detector) for one in islice(of_one, MOST_MEASURES)]
