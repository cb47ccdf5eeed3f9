"""What tests of whole processes share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where signals are ignored, as in a shell's background and under nohup, every child begins by ignoring them."""
    heard: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    if sys.platform != "win32":
        heard[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
