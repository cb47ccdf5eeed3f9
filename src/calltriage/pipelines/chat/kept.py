"""Kept answers of models: a cache in the data folder, and cassettes, files that tests replay."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from calltriage.errors import DetectorError, DetectorFailed, StoreError
from calltriage.leaves import durable
from calltriage.leaves.folders import Folder
from calltriage.leaves.instants import utc_now
from calltriage.pipelines.chat.answers import Judgement
from calltriage.pipelines.detecting import Usage
from calltriage.storage.kept_files import KeptFiles

FOLDER = "pipeline-answers"
"""Name of the cache's folder in the data folder."""
KEPT = timedelta(days=90)
"""Longest age of a cached answer."""
MOST_BYTES = 256 * 2**20
"""Most bytes of the cache."""
TAG = 32
"""Characters at the beginning of a file's name that are a hash of the call's id, so that a call's answers can be deleted."""


@dataclass(frozen=True)
class Known:
    """An answer, and what it cost."""

    judgements: dict[str, Judgement]
    usage: Usage


_known = TypeAdapter(Known)


class Answers(Protocol):
    """Keeps answers by call and `question_key`. `get` returns None for an unknown one."""

    async def get(self, call_id: str, key: str) -> Known | None: ...
    async def keep(self, call_id: str, key: str, known: Known) -> None: ...


class NoAnswers:
    """Keeps nothing."""

    async def get(self, call_id: str, key: str) -> Known | None:
        del call_id, key
        return None

    async def keep(self, call_id: str, key: str, known: Known) -> None:
        del call_id, key, known


@dataclass
class Cache:
    """Answers of one endpoint in the data folder, for 90 days and within 256 MiB in all; several processes share them.

    Attributes:
        folder: holds a file for each answer.
        endpoint: what answers depend on besides the question; see endpoint.identity.
        keeps: longest age of an answer, if it is less than KEPT.
    """

    folder: Path
    endpoint: str
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)
    keeps: timedelta = KEPT
    _files: KeptFiles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._files = KeptFiles(self.folder, min(self.keeps, KEPT), MOST_BYTES, self.clock)

    async def get(self, call_id: str, key: str) -> Known | None:
        return await to_thread.run_sync(self._get, self._name(call_id, key))

    async def keep(self, call_id: str, key: str, known: Known) -> None:
        await to_thread.run_sync(self._keep, self._name(call_id, key), _known.dump_json(known))

    def _name(self, call_id: str, key: str) -> str:
        whole = hashlib.sha256(f"{self.endpoint}\n{key}".encode()).hexdigest()
        return f"{_tag(call_id)}-{whole}.json"

    def _get(self, name: str) -> Known | None:
        try:
            data = self._files.read(name)
            return None if data is None else _known.validate_json(data)
        except (OSError, ValidationError):  # truncated by a crash, or another program's file
            return None

    def _keep(self, name: str, data: bytes) -> None:
        try:
            self._files.keep(name, data)
        except (OSError, StoreError):  # the answer is used; it is only not cached
            return


def _tag(call_id: str) -> str:
    return hashlib.sha256(call_id.encode("utf-8", "backslashreplace")).hexdigest()[:TAG]


def forget(data_folder: Path, call_id: str) -> int:
    """Delete the cached answers about a call. Returns their number. Raises OSError if that fails."""
    try:
        with Folder(data_folder / FOLDER) as folder:
            names = [name for name in folder.names() if name.startswith(f"{_tag(call_id)}-")]
            for name in names:
                folder.remove(name)
    except FileNotFoundError:
        return 0
    return len(names)


@dataclass
class Cassette:
    """Answers in a file, by question: a JSON object for each line, with `key`, `at` and `answer`. Nothing is ever sent.

    `record` of an [endpoint.…] table writes one; `endpoint = "replay:FILE"` of a detector reads it. `get` raises
    DetectorFailed for an unknown question.
    """

    path: Path
    _known: dict[str, Known] = field(default_factory=dict[str, Known], init=False, repr=False)

    @classmethod
    def read(cls, path: Path) -> Cassette:
        """Read a file. Raises DetectorError if it is no cassette."""
        made = cls(path)
        try:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if line.strip():
                    made._add(number, line)
        except (OSError, UnicodeDecodeError) as error:
            raise DetectorError(
                f"The cassette {path} cannot be read ({type(error).__name__}).", path=("endpoint",)
            ) from None
        return made

    def _add(self, number: int, line: str) -> None:
        try:
            row = json.loads(line)
            self._known[row["key"]] = _known.validate_python(row["answer"])
        except (ValueError, KeyError, TypeError):
            raise DetectorError(
                f"Line {number} of the cassette {self.path} holds no answer.", path=("endpoint",)
            ) from None

    async def get(self, call_id: str, key: str) -> Known | None:
        del call_id
        if (known := self._known.get(key)) is None:
            raise DetectorFailed(f"The cassette {self.path.name} has no answer to what is asked about this call.")
        return known

    async def keep(self, call_id: str, key: str, known: Known) -> None:
        del call_id, key, known


@dataclass
class Recorder:
    """Passes answers on to another keeper, and writes each to a cassette, too.

    Attributes:
        answers: the other keeper.
        path: the cassette.
        keeps: older answers are removed from the cassette when it is opened; None: none are.
    """

    answers: Answers
    path: Path
    keeps: timedelta | None = None
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)

    def __post_init__(self) -> None:
        if self.keeps is not None and self.path.exists():
            _take_out(self.path, (self.clock() - self.keeps).isoformat())

    async def get(self, call_id: str, key: str) -> Known | None:
        if (known := await self.answers.get(call_id, key)) is not None:
            await to_thread.run_sync(self._write, key, known)
        return known

    async def keep(self, call_id: str, key: str, known: Known) -> None:
        await self.answers.keep(call_id, key, known)
        await to_thread.run_sync(self._write, key, known)

    def _write(self, key: str, known: Known) -> None:
        row = {"key": key, "at": self.clock().isoformat(), "answer": _known.dump_python(known, mode="json")}
        with open(self.path, "a", encoding="utf-8", opener=_for_the_owner) as file:
            file.write(json.dumps(row) + "\n")


def _for_the_owner(path: str, flags: int) -> int:
    """Open a file that, if it is new, nobody else can read: answers repeat callers' words."""
    return os.open(path, flags, 0o600)


def _take_out(path: Path, before: str) -> None:
    """Remove the answers before an instant from a cassette. Raises DetectorError if the file is no cassette."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if str(json.loads(line)["at"]) >= before]
        if len(kept) < len(lines):
            durable.write(path, "".join(kept).encode())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorError(
            f"The cassette {path} cannot be kept ({type(error).__name__}).", path=("endpoint",)
        ) from None


def free(usage: Usage) -> Usage:
    """The cost of a kept answer: no money and no requests. The tokens are those of the first time."""
    return replace(usage, usd=0.0, requests=0)
