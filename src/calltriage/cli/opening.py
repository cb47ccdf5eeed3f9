"""A host at standard input, before the server is loaded."""

from __future__ import annotations

import os
import sys

from calltriage.cli.terminal import say
from calltriage.first_answers import FirstAnswers
from calltriage.leaves.header_text import is_header_text
from calltriage.leaves.lines import Lines
from calltriage.opening import Opening, opening_of
from calltriage.settings import Settings

MAY_END_A_START = {"bland_base_url", "talkdesk_base_url", "talkdesk_token_url", "talkdesk_private_key", "blobs_url"}
"""Settings that are looked into once more of the program is loaded."""


def opened(settings: Settings) -> Opening:
    """The host's lines. Its first requests are answered now, where their answers are known."""
    told = settings.model_dump(mode="json")
    opening = opening_of(Lines(sys.stdin.fileno()), settings.data_dir, told)
    if sys.stdin.isatty():
        say("MCP on standard input and output: a host starts this for its agent. Ctrl-D ends it.", err=True)
    elif os.name != "nt":  # Windows cannot wait for a pipe
        opening.answer_ahead(FirstAnswers(told if _is_sure(settings) else None), _write_out)
    return opening


def _is_sure(settings: Settings) -> bool:
    """Whether nothing of the settings can end the start: a server that does not come up must greet nobody."""
    key = settings.bland_api_key
    is_key = key is None or is_header_text(key.get_secret_value())
    return is_key and not settings.model_fields_set & MAY_END_A_START


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
