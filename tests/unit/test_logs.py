"""What a log line may hold of what came from outside."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from calltriage.errors import StoreError
from calltriage.logs import LONGEST_ARGUMENT, LONGEST_MESSAGE, configure_logging


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


def logged(capfd: pytest.CaptureFixture[str]) -> dict[str, str]:
    (line,) = capfd.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()
    return json.loads(line)


LONG = "x" * 5000


def test_a_value_from_outside_is_cut_and_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    logging.getLogger("a").warning("refused %s after %d tries", "\x1b[31m\nFAKE\u202e" + LONG, 3)
    message = logged(capfd)["message"]
    assert message.startswith("refused \x1b[31m\nFAKE\u202e")
    assert message.endswith("x… after 3 tries")
    assert len(message) < LONGEST_ARGUMENT + 30


def test_values_by_name_and_whole_messages_are_cut_too(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    logging.getLogger("a").warning("%(what)s", {"what": LONG})
    assert len(logged(capfd)["message"]) == LONGEST_ARGUMENT + 1
    logging.getLogger("a").warning(LONG)
    assert len(logged(capfd)["message"]) == LONGEST_ARGUMENT + 1, "a library's own sentence may hold anything"
    logging.getLogger("calltriage.a").warning(LONG)
    assert len(logged(capfd)["message"]) == LONGEST_MESSAGE + 1
    logging.getLogger("a").warning("%s " * 10, *[LONG] * 10)
    assert len(logged(capfd)["message"]) == LONGEST_MESSAGE + 1


def test_a_traceback_keeps_its_lines_but_not_all_of_a_message(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    try:
        raise ValueError(LONG)
    except ValueError:
        logging.getLogger("a").exception("it broke")
    trace = logged(capfd)["exc_info"]
    assert "test_logs.py" in trace
    assert max(map(len, trace.splitlines())) == LONGEST_ARGUMENT + 1


def test_our_own_words_are_said_whole(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    advice = f"The folder {'y' * 300} cannot be used. Do this."
    logging.getLogger("a").warning("%s", StoreError(advice))
    assert logged(capfd)["message"] == advice
