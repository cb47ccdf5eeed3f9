"""What was said in a vendor's calls, kept in the data folder once it was read, so that the next search need not ask again.

Only the turns are kept, only of calls that ended a while ago, and they are only searched in: what reads a call by its id
asks the vendor. A call that the vendor lists no more is never found here. Another account's calls have other names.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from anyio import to_thread
from pydantic import SecretStr, ValidationError

from calltriage.errors import StoreError
from calltriage.leaves.folders import Folder
from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import Call, Turn
from calltriage.storage.kept_files import KeptFiles

logger = logging.getLogger(__name__)

FOLDER = "transcripts"
"""Name of their folder in the data folder."""
MOST_BYTES = 64 * 2**20
"""Bytes that all of them may take."""
SETTLED = timedelta(minutes=10)
"""How long ago a call has to have ended: what was said is still worked on before."""
KEPT = timedelta(days=30)
"""How long a transcript is kept at most, whatever room there is."""
ENDING = ".json"


def account_of(base_url: str, key: SecretStr) -> str:
    """What a vendor's account is called here: a digest, from which nobody gets the key."""
    return hashlib.sha256(f"{base_url}\n{key.get_secret_value()}".encode()).hexdigest()


@dataclass
class Transcripts:
    """The transcripts kept of one vendor. A folder that cannot be used keeps nothing; a search goes on without it.

    Attributes:
        folder: theirs alone, for its owner alone.
        account: whose calls are read at the moment; see account_of.
        clock: now.
        most_bytes: see MOST_BYTES.
    """

    folder: Path
    account: Callable[[], str]
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    most_bytes: int = MOST_BYTES
    _files: KeptFiles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._files = KeptFiles(self.folder, KEPT, self.most_bytes, self.clock)

    async def turns_of(self, listed: Call) -> list[Turn] | None:
        """The turns of a listed call; None where they are not kept, or the call was changed since."""
        return await to_thread.run_sync(self._turns_of, self._name(listed), _changed_at(listed))

    async def keep(self, listed: Call, read: Call) -> None:
        """Keep the turns of a call that was read, if it ended long enough ago and can be read whole."""
        turns = read.transcripts or []
        whole = turns and not read.unreadable_fields and not any(turn.unreadable_fields for turn in turns)
        if not whole or not _is_settled(read, self.clock()):
            return
        said = [{"user": turn.user, "text": turn.text} for turn in turns]
        text = json.dumps({"updated_at": _changed_at(listed), "turns": said})
        await to_thread.run_sync(self._keep, self._name(listed), text.encode())

    def _name(self, call: Call) -> str:
        return hashlib.sha256(f"{self.account()}\n{call.call_id}".encode("utf-8", "backslashreplace")).hexdigest()

    def _turns_of(self, name: str, changed_at: str | None) -> list[Turn] | None:
        try:
            data = self._files.read(name + ENDING)
            kept = None if data is None else json.loads(data)
            return (
                None if kept is None or kept["updated_at"] != changed_at else [*map(Turn.model_validate, kept["turns"])]
            )
        except (OSError, ValueError, KeyError, TypeError, ValidationError):  # cut off by a crash, or none of ours
            return None

    def _keep(self, name: str, data: bytes) -> None:
        try:
            self._files.keep(name + ENDING, data)
        except (OSError, StoreError) as error:
            logger.warning("transcripts cannot be kept (%s); searches read them anew", type(error).__name__)


def _changed_at(listed: Call) -> str | None:
    found = (listed.model_extra or {}).get("updated_at")
    return found if isinstance(found, str) else None


def _is_settled(call: Call, now: datetime) -> bool:
    """Whether a call is over, and was so long enough. One that does not say when it was is not taken to be."""
    facts: JsonObject = call.model_extra or {}
    is_over = facts.get("completed") is True or call.status == "completed"
    ended = instant(facts["end_at"]) if isinstance(facts.get("end_at"), str) else None
    if ended is None and call.began is not None:
        ended = call.began + timedelta(minutes=min(max(call.call_length or 0, 0), 10**6))
    return is_over and ended is not None and now - ended >= SETTLED


def measured(path: Path) -> tuple[int, int]:
    """How many transcripts a folder holds, and their bytes. Raises OSError for a folder that cannot be read."""
    try:
        with Folder(path) as folder:
            sizes = [about.st_size for name in folder.names() if (about := folder.about(name))]
    except FileNotFoundError:
        return 0, 0
    return len(sizes), sum(sizes)


def cleared(path: Path) -> int:
    """Remove all transcripts of a folder, and say how many there were. Raises OSError where that fails."""
    try:
        with Folder(path) as folder:
            names = folder.names()
            for name in names:
                folder.remove(name)
    except FileNotFoundError:
        return 0
    return len(names)
