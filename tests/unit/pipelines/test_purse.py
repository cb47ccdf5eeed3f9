"""Money of a pipeline, counted over processes."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from conftest import Clock
from ledgers import opened_ledger
from pipeline_calls import call_of
from pydantic import SecretStr

from calltriage.errors import Deferred
from calltriage.pipelines.ledger.purse import LedgerPurse
from calltriage.pipelines.pipeline import opened_detectors
from calltriage.pipelines.spec import parse_spec
from calltriage.settings import Settings
from calltriage.wiring import open_client


async def test_a_days_cap_holds_over_all_who_spend_and_ends_with_the_day(
    tmp_path: Path, ledger_url: SecretStr | None, clock: Clock
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url) as other:
        one.clock = other.clock = clock
        first, second = LedgerPurse(one, "line", 1.0, 0), LedgerPurse(other, "line", 1.0, 0)
        taken = list[str]()

        async def take(purse: LedgerPurse) -> None:
            try:
                taken.append(await purse.reserve("local", 0.3))
            except Deferred:
                return

        async with anyio.create_task_group() as tasks:
            for purse in (first, second) * 4:
                tasks.start_soon(take, purse)
        assert len(taken) == 3

        await first.settle(taken[0], 0.1)
        await first.settle(taken[0], 99.0)  # settled already
        await second.reserve("local", 0.3)
        with pytest.raises(Deferred, match=r"1\.0000 of today's 1 USD are spent or taken"):
            await second.reserve("local", 0.3)
        await LedgerPurse(one, "another line", 1.0).reserve("local", 1.0)
        await LedgerPurse(one, "line", None).reserve("local", 50.0)

        clock.advance(days=1)
        await second.reserve("local", 1.0)


async def test_a_request_waits_while_only_reservations_under_way_stand_in_its_way(
    tmp_path: Path, ledger_url: SecretStr | None, clock: Clock
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url) as other:
        one.clock = other.clock = clock
        first, second, waiting = LedgerPurse(one, "line", 1.0), LedgerPurse(other, "line", 1.0), anyio.Event()
        taken = await first.reserve("local", 0.8)

        async def take() -> None:
            waiting.set()
            await second.reserve("local", 0.8)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take)
                await waiting.wait()
                await first.settle(taken, 0.1)
        with pytest.raises(Deferred, match=r"0\.9000 of today's 1 USD are spent or taken"):
            await LedgerPurse(one, "line", 1.0, 0).reserve("local", 0.3)

        clock.advance(minutes=12)  # whoever took the 0.8 is gone, and nobody waits for it
        with anyio.fail_after(60):
            with pytest.raises(Deferred, match="spent or taken"):
                await first.reserve("local", 0.3)


async def test_the_detectors_of_a_file_spend_from_the_ledger_of_their_client(tmp_path: Path) -> None:
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    text = """
        name = "line"
        [limits]
        usd_per_day = 0.0001
        [[detect]]
        use = "chat"
        name = "promise"
        endpoint = "local"
        prompt = "promise.md"
        [endpoint.local]
        base_url = "http://127.0.0.1:9/v1"
        model = "small"
        usd_per_mtok = [1, 1]
    """
    spec = parse_spec(text, folder=tmp_path)
    async with open_client(Settings(data_dir=tmp_path / "data")) as client, opened_detectors(client, spec) as (one,):
        with pytest.raises(Deferred, match=r"0\.0000 of today's 0\.0001 USD"):
            await one.detector.examine(call_of([("agent", "We will call you.")]))
