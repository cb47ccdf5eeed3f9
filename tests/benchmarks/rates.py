"""Print how many operations a second go through the client, its journal and the embedded desk, each durable when it returns.

uv run --group dev python tests/benchmarks/rates.py [--operations 400] [--widths 1 16 64] [--folder /a/folder/on/the/disk]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import anyio

from calltriage.client.client import Client
from calltriage.desk.importing.sample import load_sample_if_empty
from calltriage.operations.activity import AddComment
from calltriage.operations.base import Operation
from calltriage.operations.calls import ListCalls
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import CreateIssue, GetIssue
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource
from calltriage.settings import Settings
from calltriage.wiring import open_wired_client


@dataclass(frozen=True)
class Bench:
    """A client on an embedded desk with calls and issues, so many of them that no operation is asked for twice."""

    client: Client
    calls: Sequence[str]
    issues: Sequence[str]

    def operations(self, count: int) -> dict[str, Callable[[int], Operation[Any]]]:
        calls, issues = self.calls, self.issues

        def pair(n: int) -> tuple[str, str]:
            return issues[n // len(calls)], calls[n % len(calls)]

        return {
            "read": lambda n: GetIssue(issue_id=issues[n % len(issues)]),
            "create": lambda n: CreateIssue(title=f"Issue {count} {n}", severity="low", category="Bug"),
            "attach": lambda n: AttachResource(issue_id=pair(n)[0], resource_type="call", resource_id=pair(n)[1]),
            "flag": lambda n: AddFlag(issue_id=pair(n)[0], call_id=pair(n)[1], type="tone", note=str(n)),
            "comment": lambda n: AddComment(issue_id=pair(n)[0], detail=f"Comment {n}"),
            "link": lambda n: LinkIssue(issue_id=issues[n], related_issue_id=issues[n + 1], relation_type="blocks"),
        }

    async def rate(self, make: Callable[[int], Operation[Any]], count: int, width: int) -> tuple[float, float]:
        """Operations a second with so many under way, and milliseconds of CPU that each takes."""
        waiting = iter([make(n) for n in range(count)])

        async def work() -> None:
            for operation in waiting:
                await self.client.send(operation)

        began, cpu = perf_counter(), process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(width):
                tasks.start_soon(work)
        return count / (perf_counter() - began), (process_time() - cpu) / count * 1000


@asynccontextmanager
async def opened(folder: Path, count: int) -> AsyncGenerator[Bench]:
    """A bench on a new desk in the folder, for so many of each operation."""
    async with open_wired_client(Settings(data_dir=folder)) as (client, desk, _):
        await desk.warm_up()
        await load_sample_if_empty(await desk.opened())
        calls = [call.call_id for call in (await client.send(ListCalls())).calls]
        made = [
            await client.send(CreateIssue(title=f"Issue {n}", severity="low", category="Bug")) for n in range(count + 1)
        ]
        yield Bench(client, calls, [issue.id for issue in made])


async def rates(folder: Path, count: int, width: int) -> dict[str, tuple[float, float]]:
    """Each operation's rate on a new desk in the folder, with so many under way, and its CPU."""
    async with opened(folder, count) as bench:
        return {name: await bench.rate(make, count, width) for name, make in bench.operations(count).items()}


async def measure(folder: Path, count: int, width: int) -> None:
    for name, (rate, cpu) in (await rates(folder, count, width)).items():
        print(f"{name:<8} {width:>3} under way {rate:7.0f} a second   {cpu:6.2f} ms of CPU each", flush=True)


def durable_write_ms(folder: Path) -> float:
    """Median milliseconds that the disk takes to keep a page for good: what no commit is faster than."""
    took = list[float]()
    with (folder / "page").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            began = perf_counter()
            os.fsync(file.fileno())
            took.append((perf_counter() - began) * 1000)
    return sorted(took)[50]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=400)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--folder", help="where the data is for the time of the run, on the disk to measure")
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}")
    for width in given.widths:
        with TemporaryDirectory(dir=given.folder) as folder:
            print(f"fsync of a page: {durable_write_ms(Path(folder)):.2f} ms")
            anyio.run(measure, Path(folder) / "desk", given.operations, width)


if __name__ == "__main__":
    main()
