"""Reading standard input, which a Ctrl-C ends at any moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, threading, time
from calltriage.cli.standard_input import standard_input

def send():
    ready.wait()
    os.kill(os.getpid(), signal.SIGUSR1)
    other.wait()
    time.sleep(0.3)  # it waits again
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGUSR1, lambda *_: other.set())
ready, other = threading.Event(), threading.Event()
threading.Thread(target=send).start()
# The other thread takes both, so that no read here is cut short.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
read, write = os.pipe()
os.write(write, bytes(50_000))
os.dup2(read, 0)
try:
    with standard_input() as stream:
        assert stream.read(50_000) == bytes(50_000)
        ready.set()
        stream.read()
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no masks of signals")
def test_an_interrupt_that_cuts_no_read_short_is_heard() -> None:
    """As one is that comes just before a read begins to wait; another signal came before it."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("heard\n", "")


READ = """
import os, signal, sys
from calltriage.cli.standard_input import standard_input

signal.signal(signal.SIGUSR1, lambda *_: None)
with standard_input() as stream:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert len(stream.read(10)) == 10
    sys.stdout.write(str(10 + len(stream.read())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
@pytest.mark.parametrize("size", [10, 2_000_000])
def test_all_is_read_although_another_signal_comes(size: int) -> None:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, input=bytes(size), check=False, timeout=60)
    assert (done.stdout.decode(), done.stderr.decode()) == (str(size), "")
