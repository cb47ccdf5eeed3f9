"""The first requests of a host, answered from what the server answered to the same ones before.

Most of a start is the import of what calls need. A host asks first who the server is and for the list of tools, always in
the same words but for its own name and version, and the answer follows from these words, the installed code and the
settings. So it is kept in the data folder, sent at once, and the server reads the same requests as soon as it is there; its
own answers to them replace what is kept. What was not asked before is answered from what comes with the code, where that
has it, and waits for the server otherwise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import anyio

from calltriage.errors import StoreError
from calltriage.first_answers import FirstAnswers, versions
from calltriage.leaves.lines import MAX_FRAME, Lines
from calltriage.leaves.strict_json import JsonObject, is_object, read_json
from calltriage.storage.kept_files import KeptFiles

logger = logging.getLogger(__name__)

ASKED_FIRST = ("initialize", "server/discover", "tools/list")
"""Requests whose answers follow from the code, the settings and what the host has said so far."""
CLIENT_INFO = ("clientInfo", "io.modelcontextprotocol/clientInfo")
"""What a host calls itself, in the params of `initialize` or in the `_meta` of later protocols."""
MEMBERS = {"jsonrpc", "id", "method", "params"}
"""Those of a request. A message with others may be none."""
LAST = "tools/list"
"""After it a host has what it needs, and the server is loaded."""
FOLDER = "openings"
"""Name of the folder in the data folder."""
KEPT_FOR = timedelta(days=90)
MOST_BYTES = 2 * 2**20
"""Bytes that all answers may take: several hosts, each with its own words."""
PATIENCE_S = 0.1
"""Seconds for which a host's next line is waited for before the server is loaded."""
LONGEST = MAX_FRAME + 1
"""Bytes of a line that are read at once: of one that is longer, its start."""
MOST_ASKED = 64 * 1024
"""Bytes of a line that is answered ahead at most."""
PACKAGE = Path(__file__).parent


@cache
def code_mark() -> str:
    """What changes with the code that answers: versions, and the package's own files, which a checkout changes in place."""
    found = [*versions().values()]
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            with suppress(FileNotFoundError):  # an editor's lock, or a file that is replaced at this moment
                about = Path(folder, name).stat()
                found.append(f"{name} {about.st_mtime_ns} {about.st_size}")
    return _digest(*sorted(found))


@dataclass(eq=False)
class _Line:
    """A line that was read ahead.

    Attributes:
        request_id: the id of the request in it that was answered, as JSON.
        answer: what it was answered.
        is_read: whether the server has read it as a request, which it answers.
        answered: set when the server has answered it, too.
    """

    text: bytes
    request_id: str | None = None
    answer: str | None = None
    is_read: bool = False
    answered: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class Opening:
    """The lines of one host, and the answers that it may have before the server is there.

    Attributes:
        lines: what the host writes.
        kept: answers to earlier hosts.
        mark: what the kept ones follow from besides the host's words.
        came: when the line that was read last came at the earliest, if it may have waited for the server; None if the server
            waited for it.
    """

    lines: Lines
    kept: KeptFiles
    mark: str
    came: datetime | None = field(default=None, init=False)
    _ahead: deque[_Line] = field(default_factory=deque["_Line"], init=False)
    """What was read, and the server has not read."""
    _again: _Line | None = field(default=None, init=False)
    """What the server works on although its answer has gone out."""
    _greeted: str | None = field(default="", init=False)
    """Names of what the server was asked; None once the last was."""
    _asked: dict[str, str] = field(default_factory=dict[str, str], init=False)
    """Names of the answers to requests that the server works on."""

    # Before the server is there

    def answer_ahead(self, first: FirstAnswers, send: Callable[[bytes], object]) -> None:
        """Answer the host's first requests, as far as their answers are kept or among the first ones, and return as soon as
        one is not, or the host says nothing."""
        self.came, greeted = datetime.now(UTC), ""
        while self.lines.has_line(PATIENCE_S, LONGEST):
            line = _Line(self.lines.read(LONGEST))
            self._ahead.append(line)
            message = _message(line.text) if len(line.text) <= MOST_ASKED else {}
            if message.get("method") == "notifications/initialized":
                continue
            name = _name(self.mark, greeted, message)
            answer = None if name is None else self._known_answer(first, name, message)
            if answer is None:
                return
            greeted += name or ""
            line.request_id, line.answer = _id(message["id"]), answer
            send(f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"result":{answer}}}\n'.encode())
            if message["method"] == LAST:
                return

    def _known_answer(self, first: FirstAnswers, name: str, request: JsonObject) -> str | None:
        """What was answered last, else what comes with the code."""
        first.hear(request)
        try:
            data = self.kept.read(name)
            answer = None if data is None else read_json(data)
        except (OSError, ValueError):  # cut off by a crash, or none of ours
            answer = None
        answer = answer if is_object(answer) else first.answer()
        return None if answer is None else _compact(answer)

    # For the server

    async def read(self) -> bytes:
        """The host's next line, as `Lines.read` with `LONGEST`. Those that were answered ahead come again, each once the
        server has answered the one before, too: a host may use the id of an answered request again."""
        if self._again is not None and self._again.is_read:
            await self._again.answered.wait()
        self._again = None
        if not self._ahead:
            if self.came is not None and not self.lines.has_line(0.0, LONGEST):
                self.came = None
            return await self.lines.next(LONGEST)
        line = self._ahead.popleft()
        self._again = None if line.answer is None else line
        return line.text

    def is_answered(self) -> bool:
        """Whether the line that was read last was answered ahead, and no request was found in it."""
        return self._again is not None and not self._again.is_read

    def asked(self, request: JsonObject) -> None:
        """Hear of a request that the server begins to work on: its `id`, `method` and `params`."""
        if self._again is not None:
            self._again.is_read = self._again.request_id == _id(request["id"])
        name = None if self._greeted is None else _name(self.mark, self._greeted, request)
        if self._greeted is not None and name is not None:
            self._greeted = None if request["method"] == LAST else self._greeted + name
            self._asked[_id(request["id"])] = name

    def goes_out(self, request_id: object, result: JsonObject | None) -> bool:
        """Whether the server's answer to a request goes to the host; it does not where an answer went ahead. None stands
        for an error."""
        known = _id(request_id)
        again = self._again if self._again is not None and self._again.request_id == known else None
        sent, name = None if again is None else again.answer, self._asked.pop(known, None)
        if name is not None and result is not None and (answer := _compact(result)) != sent:
            self._keep(name, answer)
        if again is not None:
            again.answered.set()
        return again is None

    def _keep(self, name: str, answer: str) -> None:
        try:
            self.kept.keep(name, answer.encode())
        except (OSError, StoreError, ValueError) as error:
            logger.info("the first answers cannot be kept (%s); the next start is slower", type(error).__name__)


def opening_of(lines: Lines, data_dir: Path, settings: JsonObject) -> Opening:
    """The opening of a server with these settings, in which no secret is told."""
    kept = KeptFiles(data_dir / FOLDER, KEPT_FOR, MOST_BYTES)
    return Opening(lines, kept, _digest(code_mark(), json.dumps(settings)))


def _message(line: bytes) -> JsonObject:
    """The message of a line; empty for what is none."""
    try:
        found = read_json(line)
    except ValueError:
        return {}
    return found if is_object(found) else {}


def _name(mark: str, greeted: str, request: JsonObject) -> str | None:
    """What the answer to a request is kept as; None for a request that is never answered ahead."""
    request_id, method = request.get("id"), request.get("method")
    is_named = (isinstance(request_id, int) and not isinstance(request_id, bool)) or (
        isinstance(request_id, str) and request_id.isprintable()
    )
    if request.get("jsonrpc") != "2.0" or not is_named or method not in ASKED_FIRST or request.keys() - MEMBERS:
        return None
    return _digest(mark, greeted, str(method), json.dumps(_anonymous(request.get("params")), sort_keys=True))


def _anonymous(params: object) -> object:
    """The params without the host's name and version: no first answer depends on them, and hosts are updated often. What is
    no name or no version stays, for the server to refuse."""
    if not is_object(params):
        return params
    if isinstance(params.get("name"), str) and isinstance(params.get("version"), str):
        return params | {"name": "", "version": ""}
    return params | {name: _anonymous(params[name]) for name in (*CLIENT_INFO, "_meta") if name in params}


def _id(request_id: object) -> str:
    return json.dumps(request_id)


def _compact(answer: JsonObject) -> str:
    return json.dumps(answer, separators=(",", ":"))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
