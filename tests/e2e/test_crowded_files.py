"""Files and messages of many megabytes that hold nothing but brackets, at each door of the processes: they are refused in a
sentence, in memory of a few times their size."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from e2e.processes import PATIENCE, environment

pytestmark = pytest.mark.slow

SIZE = 60 * 2**20
SHAPES = {"lists in lists": b"[", "objects in objects": b'{"a":', "lists side by side": b"[],"}
ROOM = 768 * 2**20
"""Bytes of address space that a process may have. A program that reads these values takes a gigabyte and a half."""
BOUNDED = f"""
import sys
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))
from calltriage.cli.main import main
main()
"""


def crowd(shape: str) -> bytes:
    unit = SHAPES[shape]
    return (b"[" if shape == "lists side by side" else b"") + unit * (SIZE // len(unit))


DOORS = {
    "an import": ("desk", "import", "FILE"),
    "an import of what is packed": ("desk", "import", "PACKED"),
    "an import from standard input": ("desk", "import", "-"),
    "a plan": ("apply", "FILE"),
    "a plan from standard input": ("apply", "-"),
    "a backup": ("desk", "restore", "FILE"),
    "a settings file": ("--settings-file", "FILE", "serve"),
    "a host's file": ("install", "cursor", "--scope", "project"),
}


@pytest.mark.parametrize(
    ("door", "shape"),
    [(door, shape) for door in DOORS for shape in SHAPES if shape != "objects in objects" or door == "an import"],
)
async def test_a_file_of_brackets_is_refused_in_a_sentence(door: str, shape: str, tmp_path: Path) -> None:
    data = crowd(shape)
    names = {"FILE": tmp_path / "crowd", "PACKED": tmp_path / "crowd.gz"}
    await anyio.Path(names["FILE"]).write_bytes(data)
    if "PACKED" in DOORS[door]:
        await anyio.Path(names["PACKED"]).write_bytes(gzip.compress(data, 1))
    opened = names["FILE"]
    if door == "a host's file":
        (tmp_path / ".cursor").mkdir()
        opened = opened.rename(tmp_path / ".cursor" / "mcp.json")
    command = [sys.executable, "-c", BOUNDED, *(str(names.get(part, part)) for part in DOORS[door])]
    home = {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with anyio.fail_after(2 * PATIENCE), opened.open("rb") as stdin:
        done = await anyio.run_process(command, stdin=stdin, env=environment(**home), cwd=tmp_path, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in (1, 2), said[-2000:]
    assert "Traceback" not in said
    assert "MemoryError" not in said
    assert "internal" not in said.lower()
    assert 0 < len(said) < 16_000


async def test_a_message_of_brackets_over_stdio_is_answered_and_the_next_one_too(tmp_path: Path) -> None:
    command, data = [sys.executable, "-c", BOUNDED, "serve"], {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data")}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}

    def message(number: int, method: str, params: bytes = b"{}") -> bytes:
        return b'{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}\n' % (number, method.encode(), params)

    async with await anyio.open_process(command, env=environment(**data), cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = BufferedByteReceiveStream(process.stdout)

        async def answer() -> dict[str, object]:
            return json.loads(await answers.receive_until(b"\n", 2**20))

        with anyio.fail_after(2 * PATIENCE):
            await process.stdin.send(message(1, "initialize", json.dumps(hello).encode()))
            assert (await answer())["id"] == 1
            for number, shape in enumerate(SHAPES, 2):
                for size in (SIZE, 3 * 2**20):
                    await process.stdin.send(message(number, "tools/call", crowd(shape)[:size]))
                    refused = await answer()
                    assert refused["id"] in (number, None)
                    assert "error" in refused
                await process.stdin.send(message(100 + number, "ping"))
                assert await answer() == {"jsonrpc": "2.0", "id": 100 + number, "result": {}}
            await process.stdin.aclose()
            assert await process.wait() == 0
