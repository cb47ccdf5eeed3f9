"""Print where the CPU time of an operation goes, by layer. A sampler looks at the threads that run, from outside.

uv run --group dev --with py-spy python tests/benchmarks/layers.py [attach] [--width 64] [--operations 6000]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from rates import opened

RATE = 400
"""Samples a second."""
LAYERS = (
    ("SQLite, its commits and the disk", r"\b(do_execute|do_executemany|do_commit|do_begin|do_rollback)\b"),
    ("SQLAlchemy", r"sqlalchemy/"),
    ("pydantic", r"pydantic"),
    ("event loop and threads", r"asyncio/|anyio/|selectors|threading|concurrent/|queue\.py"),
    ("calltriage: client", r"calltriage/(client|operations|journal)/"),
    ("calltriage: desk", r"calltriage/desk/"),
    ("calltriage: the rest", r"calltriage/"),
)
"""Of a sample, the first layer that the innermost frame is of; of the standard library and others, that of the caller."""
WAITS = re.compile(r"\b(wait \(threading|_do_waitpid|select \(selectors)")
"""Innermost frames of threads that only wait; the sampler takes some of them for running."""


def layer_of(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for name, pattern in LAYERS:
            if re.search(pattern, frame):
                return name
    return "the rest"


def shares(raw: str) -> dict[str, float]:
    """The share of each layer in the samples, which are lines of a stack and a count; the largest first."""
    found = Counter[str]()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if not WAITS.search(stack.rpartition(";")[2]):
            found[layer_of(stack)] += int(count)
    return {name: count / found.total() for name, count in found.most_common()}


async def main(given: argparse.Namespace) -> None:
    sampler = shutil.which("py-spy")
    if sampler is None:
        raise SystemExit("There is no py-spy here. Run it as the first lines of this file say.")
    with TemporaryDirectory() as made:
        async with opened(Path(made) / "desk", given.operations) as bench:
            make = bench.operations(given.operations)[given.operation]
            raw = Path(made) / "raw"
            arguments = ["--pid", str(os.getpid()), "--rate", str(RATE), "--format", "raw", "--output", str(raw)]
            async with await anyio.open_process([sampler, "record", *arguments], stderr=None) as process:
                assert process.stdout is not None
                await process.stdout.receive()  # it samples from now on
                rate, cpu = await bench.rate(make, given.operations, given.width)
                process.send_signal(signal.SIGINT)
                await process.wait()
        print(f"{given.operation}, {given.width} under way: {rate:.0f} a second, {cpu:.2f} ms of CPU each, sampled")
        for name, share in shares(raw.read_text()).items():
            print(f"{share:6.1%}  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", nargs="?", default="attach")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--operations", type=int, default=6000)
    anyio.run(main, parser.parse_args())
