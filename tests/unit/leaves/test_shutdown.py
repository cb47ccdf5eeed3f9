"""The end of a server whose parts do not end."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from e2e.processes import PATIENCE, environment

PROGRAM = """
import sys, time
import anyio
from calltriage import serving
from calltriage.cli import servers

serving.GRACE_SECONDS = 0.5

async def app(scope, receive, send):
    pass

async def main():
    with serving.listen("127.0.0.1", 0) as listening:
        async with servers.ended_by_signals() as ending:
            try:
                await serving.serve_app(app, listening, lambda _: print("ready", flush=True), ending=ending)
            finally:
                with anyio.CancelScope(shield=True):
                    {stuck}

anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("stuck", ["await anyio.sleep(3600)", "time.sleep(3600)"], ids=["waiting", "blocking"])
async def test_a_clean_up_that_does_not_end_is_cut(tmp_path: Path, number: signal.Signals, stuck: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(stuck=stuck)]
    async with await anyio.open_process(program, env=environment(), cwd=tmp_path, stderr=None) as process:
        assert process.stdout is not None
        with anyio.fail_after(PATIENCE):
            assert await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100) == b"ready"
            process.send_signal(number)
            assert await process.wait() == 0
