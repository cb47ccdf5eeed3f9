"""Answers that are known: those of the cache in the data folder, and those of a cassette, a file that tests replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from calltriage.errors import DetectorError, DetectorFailed, StoreError
from calltriage.leaves import durable
from calltriage.leaves.folders import Folder
from calltriage.pipelines.chat.answers import Judgement
from calltriage.pipelines.detecting import Usage
from calltriage.storage.kept_files import KeptFiles

FOLDER = "pipeline-answers"
"""Name of the cache's folder in the data folder."""
KEPT = timedelta(days=90)
MOST_BYTES = 256 * 2**20
TAG = 32
"""Characters of a file's name that stand for its call, so that all answers about it can be deleted."""


@dataclass(frozen=True)
class Known:
    """An answer, and what it cost when it was asked for."""

    judgements: dict[str, Judgement]
    usage: Usage


_known = TypeAdapter(Known)


class Answers(Protocol):
    """Where answers are known."""

    async def get(self, call_id: str, key: str) -> Known | None: ...
    async def keep(self, call_id: str, key: str, known: Known) -> None: ...


class NoAnswers:
    """Nothing is known and nothing is kept."""

    async def get(self, call_id: str, key: str) -> Known | None:
        del call_id, key
        return None

    async def keep(self, call_id: str, key: str, known: Known) -> None:
        del call_id, key, known


@dataclass
class Cache:
    """Answers of one endpoint in the data folder, for 90 days and within 256 MiB in all; several processes share them.

    Attributes:
        folder: of the answers.
        endpoint: what answers depend on besides the question; see endpoint.identity.
    """

    folder: Path
    endpoint: str
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
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
        except (OSError, ValidationError):  # cut off by a crash, or none of ours
            return None

    def _keep(self, name: str, data: bytes) -> None:
        try:
            self._files.keep(name, data)
        except (OSError, StoreError):  # the answer counts, though it has to be asked for again
            return


def _tag(call_id: str) -> str:
    return hashlib.sha256(call_id.encode("utf-8", "backslashreplace")).hexdigest()[:TAG]


def forget(data_folder: Path, call_id: str) -> int:
    """Delete what models answered about a call, and say how many answers that were. Raises OSError where that fails."""
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
    """Answers of a file, a JSON object a line, by what was asked. What is not in it is an error: nothing is ever sent.

    `record` writes one, which `replay:FILE` in the place of an endpoint reads.
    """

    path: Path
    _known: dict[str, Known] = field(default_factory=dict[str, Known], init=False, repr=False)

    @classmethod
    def read(cls, path: Path) -> Cassette:
        """Raises DetectorError for a file that is no cassette."""
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
    """Keeps answers elsewhere, and writes each to a cassette besides.

    Attributes:
        keeps: answers that were written longer ago are taken out of the file when it is opened.
    """

    answers: Answers
    path: Path
    keeps: timedelta | None = None
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _take_out(path: Path, before: str) -> None:
    """Take the answers before an instant out of a cassette. Raises DetectorError for a file that is none."""
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
    """What an answer costs that was known: nothing; the tokens say what was spared."""
    return replace(usage, usd=0.0, requests=0, is_cached=True)
