"""One holder of a turn at a time, on both stores, also over ledgers that know nothing of each other."""

from __future__ import annotations

from pathlib import Path

import anyio
from ledgers import Url, opened_ledger

from calltriage.pipelines.ledger import Ledger
from calltriage.pipelines.ledger.turns import alone


async def test_of_many_that_want_a_turn_one_has_it_at_a_time(tmp_path: Path, ledger_url: Url) -> None:
    inside, most, held = 0, 0, 0

    async def hold(ledger: Ledger) -> None:
        nonlocal inside, most, held
        async with alone(ledger, "an incident"):
            inside += 1
            held += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            await ledger.read(lambda connection: None)
            inside -= 1

    async with (
        opened_ledger(tmp_path, ledger_url) as one,
        opened_ledger(tmp_path, ledger_url) as other,
        anyio.create_task_group() as group,
    ):
        for ledger in (one, other, one, other, one):
            group.start_soon(hold, ledger)
    assert (most, held) == (1, 5)


async def test_a_turn_that_ends_with_an_error_is_free(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url) as other:
        try:
            async with alone(one, "an incident"):
                raise LookupError
        except LookupError:
            pass
        async with alone(other, "an incident"):
            pass
