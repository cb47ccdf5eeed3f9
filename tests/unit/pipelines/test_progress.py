"""The figures of a run's progress: they begin where an earlier process ended, and end at all calls of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import load_lines
from ledgers import Url
from pipeline_lines import just_ended, silent_line
from pipeline_runs import on_record

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.pipelines.ledger import tables
from calltriage.pipelines.ledger.pace import open_ledger_of
from calltriage.pipelines.listing import is_sampled
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.windows import Window

SILENCE = 'name = "quiet"\n[[detect]]\nuse = "agent_silence"\nat_least = "8s"\n'
Figures = list[tuple[int, int | None]]


class Refusing(httpx2.AsyncBaseTransport):
    """A way to the desk on which one call cannot be read."""

    def __init__(self, desk: Desk) -> None:
        self.inner = httpx2.ASGITransport(desk, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/odd"):
            return httpx2.Response(400, json={"errors": [{"error": "ODD", "message": "odd"}]})
        return await self.inner.handle_async_request(request)


@pytest.fixture
async def filing(the_desk: Desk, tmp_path: Path, ledger_url: Url) -> AsyncIterator[Client]:
    """A client with a data folder, on a desk with seven calls; of two of them nothing is known but their turns."""
    await load_lines(the_desk, *(silent_line(f"silent-{number}", 9.5) for number in range(5)))
    async with on_record(Refusing(the_desk), tmp_path, ledger_url) as client:
        yield client


async def figures(client: Client, more: str = "", **asked: Any) -> Figures:
    seen: Figures = []
    await Pipeline(parse_spec(SILENCE + more)).run(
        client, progress=lambda done, total: seen.append((done, total)), **asked
    )
    return seen


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_limit_is_the_number_of_all_calls(filing: Client, *, dry_run: bool) -> None:
    seen = await figures(filing, limit=2, dry_run=dry_run)
    assert {total for _, total in seen} == {2}
    assert seen[-1] == (2, 2)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_limit_over_fewer_calls_ends_at_those_there_are(filing: Client, *, dry_run: bool) -> None:
    assert (await figures(filing, limit=20, dry_run=dry_run))[-1] == (7, 7)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_sample_ends_at_the_calls_that_are_in_it(filing: Client, the_desk: Desk, *, dry_run: bool) -> None:
    await load_lines(the_desk, *(silent_line(f"more-{number}", 1) for number in range(33)))
    seen = await figures(filing, "[calls]\nsample = 0.5\n", dry_run=dry_run)
    done, total = seen[-1]
    chosen = sum(is_sampled(f"silent-{n}", 0.5, "call:") for n in range(5))
    chosen += sum(is_sampled(f"more-{n}", 0.5, "call:") for n in range(33))
    assert done == total
    assert total is not None
    assert chosen <= total <= chosen + 2  # the two calls that are on each desk


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_a_run_that_goes_on_begins_where_it_was_cut_off(filing: Client) -> None:
    class CutOffError(Exception):
        pass

    def cut_off(done: int, _: int | None) -> None:
        if done == 5:
            raise CutOffError

    with pytest.raises(CutOffError):
        await Pipeline(parse_spec(SILENCE)).run(filing, limit=6, progress=cut_off)
    seen = await figures(filing, limit=6)
    assert seen[0][0] > 1
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


async def test_calls_that_a_run_leaves_out_are_neither_done_nor_of_the_run_when_it_goes_on(
    filing: Client, the_desk: Desk
) -> None:
    await load_lines(the_desk, *(just_ended(f"fresh-{number}", began_h=2 + number) for number in range(3)))
    settling = Pipeline(parse_spec(SILENCE + '[calls]\nsettle = "1h"\n'))
    first = await settling.run(filing)
    assert first.run is not None
    async with open_ledger_of(filing) as ledger:
        left = tables.runs.update().where(tables.runs.c.id == first.run.id).values(state="paused")
        await ledger.write(lambda connection: connection.execute(left) and None)
    seen = await figures(filing, '[calls]\nsettle = "1h"\n')
    assert first.unsettled == 3
    assert {done for done, _ in seen} == {7}
    assert seen[-1] == (7, 7)


async def test_a_call_that_the_api_refuses_is_done_with(filing: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, silent_line("odd", 9.5))
    assert (await figures(filing))[-1] == (8, 8)


def test_the_number_of_all_calls_is_an_estimate_until_they_are_listed() -> None:
    window, limited = Window(None, None, None, None, ""), Window(None, None, None, 10, "")
    assert window.expected(0.5, 40) == 20
    assert window.expected(0.5, 40, 23) == 23
    assert window.expected(0.5, 40, 18, is_listed=True) == 18
    assert (window.expected(0.5, None), window.expected(0.5, None, 3, is_listed=True)) == (None, 3)
    assert (limited.expected(1.0, 40), limited.expected(1.0, 4)) == (10, 4)
    assert Window(None, None, "a", None, "").expected(0.1, 1) == 1
