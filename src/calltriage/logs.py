"""What the process logs: one JSON object a line on stderr, with what came from outside cut short and escaped."""

from __future__ import annotations

import copy
import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from calltriage.errors import CalltriageError
from calltriage.leaves.gate import one_line

LONGEST_ARGUMENT = 200
"""Characters that are kept of each value in a message, and of each line of a traceback."""
LONGEST_MESSAGE = 1000


class ShortFormatter(JsonFormatter):
    """Non-ASCII and control characters as JSON escapes; long values cut, so that no caller can flood or forge a log."""

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        if isinstance(record.args, tuple):
            record.args = tuple(_short(value) for value in record.args)
        elif record.args:
            record.args = {name: _short(value) for name, value in record.args.items()}
        # A library may have put what it got into the message itself.
        is_built = not record.args and record.name.partition(".")[0] != "calltriage"
        record.msg, record.args = _cut(record.getMessage(), LONGEST_ARGUMENT if is_built else LONGEST_MESSAGE), None
        return one_line(super().format(record))  # JSON leaves a DEL as it is

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's own name
        text = logging.Formatter.formatException(self, ei)
        return "\n".join(_cut(line, LONGEST_ARGUMENT) for line in text.splitlines())


def _short(value: object) -> object:
    """Numbers keep their type for the message's format; our own errors are our own words, which are never long."""
    if value is None or isinstance(value, int | float | CalltriageError):
        return value
    return _cut(str(value), LONGEST_ARGUMENT)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def configure_logging(level: str, *, of_pipelines: str | None = None) -> None:
    """Log to stderr, for standard output belongs to the protocol. `of_pipelines`: another level for what pipelines do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ShortFormatter(
            "{asctime}{levelname}{name}{message}", style="{", json_ensure_ascii=True,
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )  # fmt: skip
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2"):  # a line per request at INFO, with its URL: a signed URL is a secret
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("calltriage.pipelines").setLevel(of_pipelines or logging.NOTSET)
    logging.captureWarnings(capture=True)
