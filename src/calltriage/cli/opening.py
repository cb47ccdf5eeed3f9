"""A host at standard input, before the server is loaded."""

from __future__ import annotations

import os
import sys

from calltriage.cli.terminal import say
from calltriage.leaves.lines import Lines
from calltriage.opening import Opening, opening_of
from calltriage.settings import Settings


def opened(settings: Settings) -> Opening:
    """The host's lines. Its first requests are answered now, where they were answered before."""
    opening = opening_of(Lines(sys.stdin.fileno()), settings.data_dir, settings.model_dump(mode="json"))
    if sys.stdin.isatty():
        say("MCP on standard input and output: a host starts this for its agent. Ctrl-D ends it.", err=True)
    elif os.name != "nt":  # Windows cannot wait for a pipe
        opening.answer_ahead(_write_out)
    return opening


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
