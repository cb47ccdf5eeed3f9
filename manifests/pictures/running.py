"""A calltriage server that runs while a picture of it is made."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(*arguments: str, env: dict[str, str], folder: Path | None = None) -> Generator[str]:
    """The address that `calltriage ARGUMENTS` prints on stderr when it serves. It ends with the block. Exits where none is
    printed."""
    command = [sys.executable, "-m", "calltriage", *arguments]
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            said = process.stderr.readline() if process.stderr else ""
            found = re.search(r"http://\S+", said)
            if found is None:
                sys.exit(f"calltriage {arguments[0]} did not start: {said}")
            yield found[0]
        finally:
            process.terminate()
