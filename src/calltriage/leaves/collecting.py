"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Generator[None]:
    """Around imports: what they make stays for good, and looking through it for garbage again and again would cost a tenth
    of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
