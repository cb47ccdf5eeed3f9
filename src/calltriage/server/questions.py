"""Questions to a person that wait in the data folder: sealed, for ten minutes, for servers and boards on that folder."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio.to_thread

from calltriage.errors import StoreError
from calltriage.leaves.folders import Folder
from calltriage.leaves.seals import Seals, is_signature, signature
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.storage.folders import make_folder
from calltriage.storage.kept_files import KeptFiles

SECONDS = 600
"""For how long a person can answer."""
QUESTIONS = "questions"
"""Name of their folder in the data folder."""
MOST_BYTES = 2**20
WAITING, AWAITED = "question that waits", "question whose caller waits"
NO, YES, PANEL = "question answered with no", "question answered with yes", "question for a panel"
"""Kinds of seals. WAITING: whoever says yes makes the call. AWAITED: the caller makes it after a yes. NO, YES: a person's
answer. PANEL: a view may make the call again after its person's yes."""


@dataclass(frozen=True)
class Wish:
    """A removal that somebody asked for, as it was asked for.

    Attributes:
        who: the caller.
        tool, arguments: the call.
        question: what a person is asked. It differs if something else would be removed.
    """

    who: str
    tool: str
    arguments: JsonObject
    question: str

    def payload(self) -> bytes:
        return json.dumps([self.who, self.tool, self.arguments, self.question], sort_keys=True).encode()


@dataclass(frozen=True)
class Waiting:
    """A call that waits for a person.

    Attributes:
        is_awaited: its caller makes it after a yes; otherwise whoever says yes does.
    """

    tool: str
    arguments: JsonObject
    question: str
    is_awaited: bool


@dataclass(frozen=True)
class Questions:
    """What waits for a person.

    Attributes:
        folder: theirs alone, in the data folder.
        seals: of all servers on the data folder.
        page: where people reach the board's page of this server; None where it has none.
    """

    folder: Path
    seals: Seals
    page: str | None = None
    _kept: KeptFiles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kept = KeptFiles(self.folder, timedelta(seconds=SECONDS), MOST_BYTES)
        object.__setattr__(self, "_kept", kept)

    async def keep(self, wish: Wish, *, awaited: bool = False) -> str | None:
        """Keep a wish until a person answers. Returns its id, the same for an equal wish; None if the folder cannot be used.
        If it is `awaited`, the caller makes the call after a yes."""
        ident, kind = self._ident(wish), AWAITED if awaited else WAITING
        sealed = self.seals.sealed(kind, SECONDS, wish.tool, wish.arguments, wish.question)
        try:
            await anyio.to_thread.run_sync(self._kept.keep, ident, sealed.encode())
        except (OSError, StoreError):
            return None
        return ident

    async def is_declined(self, wish: Wish) -> bool:
        """Whether a person said no to this wish within the last SECONDS."""
        return self.seals.opened(NO, await self._read(self._ident(wish))) is not None

    async def is_approved(self, wish: Wish) -> bool:
        """Whether a person said yes to this awaited wish. True only once: the yes is then used up."""
        match self.seals.opened(YES, await self._read(self._ident(wish))):
            case [str(name)]:
                return await anyio.to_thread.run_sync(self._is_first, f"used-{name}")
            case _:
                return False

    async def waiting(self, ident: str) -> Waiting | None:
        """What waits under an id; None if there is nothing, or a person has answered."""
        sealed = await self._read(ident)
        for kind in (WAITING, AWAITED):
            match self.seals.opened(kind, sealed):
                case [str(tool), arguments, str(question)] if is_object(arguments):
                    return Waiting(tool, arguments, question, is_awaited=kind == AWAITED)
                case _:
                    pass
        return None

    async def answer(self, ident: str, *, agreed: bool) -> None:
        """Note a person's answer. After a no an equal wish is refused for SECONDS. After a yes the caller of an awaited wish
        may make the call once; any other wish is already carried out."""
        waits = await self.waiting(ident)
        if waits is None:
            return
        yes = self.seals.sealed(YES, SECONDS, secrets.token_hex(16)) if waits.is_awaited else ""
        sealed = yes if agreed else self.seals.sealed(NO, SECONDS)
        await anyio.to_thread.run_sync(self._kept.keep, ident, sealed.encode())

    def seal(self, wish: Wish) -> str:
        """What a view passes when its person agreed to a wish; good for it alone, and once."""
        return self.seals.sealed(PANEL, SECONDS, self._digest(wish), secrets.token_hex(16))

    async def is_agreed(self, wish: Wish, seal: str) -> bool:
        """Whether a seal is for this wish. True only once: the seal is then used up."""
        match self.seals.opened(PANEL, seal):
            case [str(digest), str(name)] if is_signature(digest, self.seals.secret(), wish.payload()):
                return await anyio.to_thread.run_sync(self._is_first, f"used-{name}")
            case _:
                return False

    def _is_first(self, name: str) -> bool:
        """Whether nobody has made the file of this name before."""
        try:
            make_folder(self.folder.parent)
            make_folder(self.folder)
            with Folder(self.folder) as folder:
                folder.new(name).close()
        except (OSError, StoreError):
            return False
        return True

    async def _read(self, ident: str) -> str:
        try:
            found = await anyio.to_thread.run_sync(self._kept.read, ident)
        except (OSError, ValueError):
            return ""
        return (found or b"").decode("ascii", "replace")

    def _digest(self, wish: Wish) -> str:
        return signature(self.seals.secret(), wish.payload())

    def _ident(self, wish: Wish) -> str:
        """A short name for a person to type. Without the secret nobody can guess it."""
        return base64.b32encode(bytes.fromhex(self._digest(wish))[:5]).decode().lower()
