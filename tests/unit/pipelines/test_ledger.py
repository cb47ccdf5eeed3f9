"""The pipelines' database, on both stores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import Clock
from ledgers import Url, opened_ledger
from sqlalchemy import Connection, insert, inspect, select, update

from calltriage.errors import StoreError
from calltriage.pipelines.ledger import results
from calltriage.pipelines.ledger.checking import refuse_unsound
from calltriage.pipelines.ledger.hangs import LedgerHangs, switched_off
from calltriage.pipelines.ledger.ledger import FILE, SCHEMA_VERSION
from calltriage.pipelines.ledger.results import Known, Made, Result
from calltriage.pipelines.ledger.tables import effects, facts, items, measures, metadata


def _effect(key: str, account: str) -> dict[str, str]:
    return {
        "account": account, "key": key, "kind": "issue", "fingerprint": "v1:a", "state": "done", "begun_at": "2026-05-01",
    }  # fmt: skip


async def test_a_new_ledger_has_every_table_and_its_version(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        names = await ledger.read(lambda connection: set(inspect(connection).get_table_names()))
        assert names >= set(metadata.tables)
        version = await ledger.read(lambda connection: connection.execute(select(facts.c.value)).scalar_one())
        assert version == str(SCHEMA_VERSION)


async def test_what_was_written_is_there_when_the_ledger_is_opened_again(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await ledger.write(lambda connection: connection.execute(insert(effects).values(_effect("a", "desk"))) and None)
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        kept = await ledger.read(lambda connection: connection.execute(select(effects.c.key)).scalars().all())
        assert kept == ["a"]


async def test_two_accounts_may_have_rows_with_one_key(tmp_path: Path, ledger_url: Url) -> None:
    def both(connection: Connection) -> None:
        connection.execute(insert(effects), [_effect("a", "desk"), _effect("a", "vendor")])

    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await ledger.write(both)
        kept = await ledger.read(lambda connection: connection.execute(select(effects.c.account)).scalars().all())
        assert sorted(kept) == ["desk", "vendor"]


@pytest.mark.parametrize("version", [str(SCHEMA_VERSION + 1), "x", "0"])
async def test_a_ledger_of_an_unknown_version_is_refused_with_advice(
    tmp_path: Path, ledger_url: Url, version: str
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await ledger.write(lambda connection: connection.execute(update(facts).values(value=version)) and None)
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        with pytest.raises(StoreError, match=f"schema version {version}.*Install the calltriage that wrote it"):
            await ledger.read(lambda connection: None)


async def test_a_ledger_of_version_1_keeps_what_it_has_and_gets_what_later_ones_have(
    tmp_path: Path, ledger_url: Url
) -> None:
    def made_older(connection: Connection) -> None:
        measures.drop(connection)
        connection.execute(update(facts).values(value="1"))
        item = {"account": "desk", "run_id": "run", "state": "skipped", "updated_at": "2026-05-01"}
        whys = {"early": "not settled", "deleted": "gone", "forgotten": None}
        connection.execute(insert(items), [{**item, "call_id": one, "error": why} for one, why in whys.items()])

    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await ledger.write(lambda connection: connection.execute(insert(effects).values(_effect("a", "desk"))) and None)
        await ledger.write(made_older)
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        assert await ledger.read(lambda connection: connection.execute(select(effects.c.key)).scalars().all()) == ["a"]
        assert await ledger.read(lambda connection: connection.execute(select(facts.c.value)).scalar_one()) == str(
            SCHEMA_VERSION
        )
        query = select(items.c.call_id).where(items.c.state == "unsettled", items.c.error.is_(None))
        assert await ledger.read(lambda connection: connection.execute(query).scalars().all()) == ["early"]
        assert await ledger.read(_differences) == []
    if ledger_url is None:
        refuse_unsound(tmp_path / FILE)  # as new, so that its backup is restored


def _differences(connection: Connection) -> list[Any]:
    """How the ledger's tables differ from the declared ones."""
    of_ours = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
    return compare_metadata(MigrationContext.configure(connection, opts=of_ours), metadata)


async def test_a_result_is_known_with_the_number_of_its_verified_findings(tmp_path: Path, ledger_url: Url) -> None:
    made = [
        Result("invents", "v1", "found"),
        Result("finds", "v1", "found", findings=2),
        Result("finds", "v2", "failed"),
    ]
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await ledger.write(partial(results.store, ledger=ledger, made=[Made("call-1", "as it was", made)]))
        known = await results.of_call(ledger, "call-1", "as it was")
        of_others = await results.of_call(ledger, "call-1", "as it is")

    assert known == {
        ("invents", "v1"): Known("found", 0), ("finds", "v1"): Known("found", 2), ("finds", "v2"): Known("failed"),
    }  # fmt: skip
    assert [name for name, one in known.items() if one.has_verified] == [("finds", "v1")]
    assert of_others == {}


async def test_hangs_of_a_version_are_counted_over_all_processes_and_a_new_version_begins_anew(
    tmp_path: Path, ledger_url: Url
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger, opened_ledger(tmp_path, ledger_url) as of_another:
        one, other = LedgerHangs(ledger, "p"), LedgerHangs(of_another, "p")
        counts = [await one.add("slow", "v1", "too slow"), await other.add("slow", "v1", "too slow")]
        before = await switched_off(ledger, "p")
        counts += [await one.add("slow", "v1", "too slow"), await other.count("slow", "v2")]
        after = await switched_off(of_another, "p")
        fresh = await LedgerHangs(of_another, "p").count("slow", "v1")

    assert (counts, fresh) == ([1, 2, 3, 0], 3)
    assert (before, after) == ({}, {("slow", "v1"): "too slow"})


async def test_a_version_that_hung_three_times_is_tried_again_a_day_later_and_counted_anew(
    tmp_path: Path, ledger_url: Url, clock: Clock
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        ledger.clock = clock
        counts = [await LedgerHangs(ledger, "p").add("slow", "v1", "too slow") for _ in range(3)]
        clock.advance(hours=23)
        counts.append(await LedgerHangs(ledger, "p").count("slow", "v1"))
        off = await switched_off(ledger, "p")
        clock.advance(hours=2)
        counts.append(await LedgerHangs(ledger, "p").count("slow", "v1"))
        on = await switched_off(ledger, "p")
        counts.append(await LedgerHangs(ledger, "p").add("slow", "v1", "too slow"))
        once = await switched_off(ledger, "p")

    assert counts == [1, 2, 3, 3, 0, 1]
    assert (off, on, once) == ({("slow", "v1"): "too slow"}, {}, {})
