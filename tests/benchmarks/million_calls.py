"""Print how long a desk with very many calls takes to find words that were said in them.

uv run --group dev python tests/benchmarks/million_calls.py [--calls 1000000] [--rounds 15] [--folder FOLDER] [--postgres]

With --folder the desk is kept there and used again. Figures are medians in milliseconds: the search inside the store's
transaction, and the same through the desk's HTTP in this process.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_calls import filled, measured
from postgres import PostgresServer


async def main(count: int, rounds: int, folder: Path, url: SecretStr | None) -> None:
    desk = await filled(folder, url, count)
    print(f"{'search':<26}{'store':>8}{'HTTP':>8}  found, examined")
    for name, (inside, outside, body) in (await measured(desk, rounds)).items():
        print(f"{name:<26}{inside:8.2f}{outside:8.2f}  {len(body['calls'])}, {body['examined']}")
    await desk.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        where = given.folder or Path(stack.enter_context(TemporaryDirectory()))
        at = (
            SecretStr(stack.enter_context(stack.enter_context(PostgresServer()).database())) if given.postgres else None
        )
        anyio.run(main, given.calls, given.rounds, where, at)
