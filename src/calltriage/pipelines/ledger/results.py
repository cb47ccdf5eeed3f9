"""What detectors made of calls: one row for each version of a detector and each text of a call, so that nothing is examined
twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import add_new
from calltriage.pipelines.ledger.tables import results

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Result:
    """How one examination ended; `tables.results` says what its fields mean."""

    detector: str
    version_hash: str
    verdict: str
    findings: int = 0
    tokens: int = 0
    usd: float = 0.0
    ms: float = 0.0
    error: str | None = None


async def of_call(ledger: Ledger, call_id: str, content_hash: str) -> dict[tuple[str, str], str]:
    """Verdicts on one text of a call, by detector and version."""
    query = select(results.c.detector, results.c.version_hash, results.c.verdict).where(
        results.c.account == ledger.account, results.c.call_id == call_id, results.c.content_hash == content_hash
    )
    return await ledger.read(
        lambda connection: {(row.detector, row.version_hash): row.verdict for row in connection.execute(query)}
    )


def stored(ledger: Ledger, call_id: str, content_hash: str, made: Sequence[Result]) -> Callable[[Connection], None]:
    """A change: results are kept; a failure makes room for what came of the next try."""
    key = {"account": ledger.account, "call_id": call_id, "content_hash": content_hash, "at": ledger.now()}
    rows = [{**key, **asdict(one)} for one in made]
    return lambda connection: add_new(connection, results, rows, replacing=results.c.verdict == "failed")
