"""`calltriage doctor`: tries what reads and writes need, and says what to do about each thing that is wrong."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from calltriage.cli.terminal import shown
from calltriage.client.client import Client
from calltriage.client.network import trusted
from calltriage.client.transcripts import MOST_BYTES, measured
from calltriage.embedded import DeskInside
from calltriage.errors import (
    CallError,
    CalltriageError,
    Forbidden,
    RateLimited,
    ServerFailure,
    SettingsError,
    StorageUnavailable,
    StoreBusyError,
    StoreError,
    Unauthenticated,
    Unreachable,
)
from calltriage.journal.journal import Journal
from calltriage.leaves.installed import how_to_add
from calltriage.leaves.urls import ENVIRONMENT
from calltriage.operations.attachments import ListAttachments
from calltriage.operations.flags import ListFlagTypes
from calltriage.settings import Settings
from calltriage.storage import Database
from calltriage.storage.folders import complaint, make_folder
from calltriage.storage.postgres import refusal
from calltriage.storage.sqlite import FIRST_SAFE_SQLITE, sqlite_driver
from calltriage.wiring import installed_version, offered_tools, open_wired_client, transcripts_folder

LOW_SPACE = 200 * 2**20
"""Bytes left on the data folder's disk below which doctor warns."""
NAMED = 3
"""Files with wrong rights that are named; the others are counted."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str
    says: str
    good: bool = True


@dataclass(frozen=True)
class Api:
    """An API as doctor speaks of it: where it is, and the settings that its refusals have to do with."""

    what: str
    where: str
    credentials: str
    address: str

    def mend(self, error: CallError) -> str:
        """What an operator does about an error."""
        if error.for_operator is not None:
            return error.for_operator
        match error:
            case Unauthenticated():
                return f"does not accept the credentials. Set {self.credentials} anew."
            case Forbidden():
                return "accepts the credentials, but not for this. Give them the right to read and write there."
            case RateLimited():
                return "asks to slow down. Wait, or lower CALLTRIAGE_VENDOR_RATE."
            case ServerFailure():
                return f"failed with status {error.status}. Wait; if it stays so, ask whoever runs it."
            case Unreachable():
                return "did not answer in time. Check the network, or raise CALLTRIAGE_DEADLINE_S."
            case _:
                status = "" if error.status is None else f" (status {error.status})"
                return f"does not answer as its contract says{status}. Check {self.address}."


def bland(settings: Settings) -> Api:
    where = "the embedded desk" if settings.triage_on_desk else f"Bland AI at {settings.bland_base_url}"
    return Api(
        "Triage", where, "CALLTRIAGE_BLAND_API_KEY (and CALLTRIAGE_BLAND_AUTH_SCHEME)", "CALLTRIAGE_BLAND_BASE_URL"
    )


def talkdesk(settings: Settings) -> Api:
    where = "the embedded desk" if settings.attachments_on_desk else f"Talkdesk, region {settings.talkdesk_region}"
    return Api(
        "Attachments",
        where,
        "CALLTRIAGE_TALKDESK_ACCOUNT, _CLIENT_ID and _CLIENT_SECRET (or _KEY_ID and _PRIVATE_KEY)",
        "CALLTRIAGE_TALKDESK_REGION, CALLTRIAGE_TALKDESK_BASE_URL and CALLTRIAGE_TALKDESK_TOKEN_URL",
    )


async def examine(settings: Settings | SettingsError, misnamed: Sequence[str] = ()) -> bool:
    """Try everything and print what came of it; whether all is well. `misnamed`: sentences about names without effect."""
    findings = [Finding("calltriage", f"{installed_version()} on Python {platform.python_version()}")]
    findings += [Finding("Settings", sentence, good=False) for sentence in misnamed]
    if isinstance(settings, SettingsError):
        findings.append(Finding("Settings", str(settings), good=False))
    else:
        findings += _network(settings)
        try:
            async with open_wired_client(settings, offered_tools(settings)) as (client, desk, journal):
                findings += await _services(settings, client, desk, journal)
        except SettingsError as error:
            findings.append(Finding("Settings", str(error), good=False))
        findings += [*_folder(settings), *_transcripts(settings), *_extras(settings), *_roots(settings)]
    _show(findings)
    return all(finding.good for finding in findings)


def _show(findings: Iterable[Finding]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 1))
    console = Console()
    good, bad = ("✓", "✗") if console.encoding.startswith("utf") else ("ok", "NO")
    for finding in findings:
        table.add_row(f"[green]{good}[/]" if finding.good else f"[red]{bad}[/]", finding.what, shown(finding.says))
    console.print(table)


async def _services(settings: Settings, client: Client, desk: DeskInside, journal: Journal) -> list[Finding]:
    """Both APIs, the journal, and what of the desk's storage is used."""
    found = [
        await _reached(bland(settings), lambda: client.send(ListFlagTypes(limit=1)), desk),
        await _reached(talkdesk(settings), lambda: client.send(ListAttachments(per_page=1)), desk),
        await _tried("Journal", lambda: _write_to(journal.database), "opened, and its lock for writing taken"),
    ]
    if settings.triage_on_desk or settings.attachments_on_desk:

        async def store() -> None:
            await (await desk.opened()).store.try_changes()

        says = "the desk's tables: opened, the lock for writing taken, changes of no row made"
        found.append(await _tried("Store", store, says))
    if settings.attachments_on_desk:
        is_bucket = settings.blobs_url is not None
        where = "in the object store (CALLTRIAGE_BLOBS_URL)" if is_bucket else "in the data folder"

        async def files() -> None:
            await (await desk.opened()).files.try_bytes()

        found.append(
            await _tried(
                "Object store" if is_bucket else "File bytes", files, f"{where}: written, read back and removed"
            )
        )
    return found


async def _reached(api: Api, ask: Callable[[], Awaitable[Any]], desk: DeskInside) -> Finding:
    is_desk = api.where == "the embedded desk"
    try:
        await ask()
    except StorageUnavailable as error:
        return Finding(api.what, await _why(desk) or f"{api.where}: {api.mend(error)}", good=False)
    except CallError as error:
        return Finding(api.what, f"{api.where}: {api.mend(error)}", good=False)
    except CalltriageError as error:
        return Finding(api.what, str(error), good=False)
    return Finding(api.what, f"{api.where}, answers" if is_desk else f"{api.where}, answers a read; no write was tried")


async def _why(desk: DeskInside) -> str | None:
    """Why the desk's storage cannot be opened."""
    try:
        await (await desk.opened()).warm_up()
    except CalltriageError as error:
        return str(error)
    return None


async def _write_to(database: Database) -> None:
    """Go through a write that changes nothing."""
    await database.write(lambda _: None)


async def _tried(what: str, work: Callable[[], Awaitable[None]], says: str) -> Finding:
    try:
        await work()
    except StoreBusyError:
        return Finding(what, "Other processes were writing for too long. Look which ones use the folder.", good=False)
    except CalltriageError as error:
        return Finding(what, str(error), good=False)
    except (SQLAlchemyError, OSError) as error:
        known = refusal(error) if isinstance(error, SQLAlchemyError) else None
        why = known or f"{type(error).__name__}. Check its rights and the space left on its disk"
        return Finding(what, f"cannot be written: {why}.", good=False)
    return Finding(what, says)


def _network(settings: Settings) -> list[Finding]:
    """What of the network is set: a proxy, and the authorities that vendors' certificates may be signed by."""
    found = list[Finding]()
    if settings.proxy is not None:
        proxy = settings.proxy.get_secret_value()
        says = "what HTTPS_PROXY, ALL_PROXY and NO_PROXY say" if proxy == ENVIRONMENT else _without_user(proxy)
        found.append(Finding("Proxy", f"{says} (CALLTRIAGE_PROXY)"))
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    if named and not (settings.triage_on_desk and settings.attachments_on_desk):
        try:
            trusted()
        except SettingsError as error:
            found.append(Finding("Certificates", str(error), good=False))
        else:
            found.append(Finding("Certificates", f"of the authorities in {' and '.join(named)}"))
    return found


def _without_user(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _folder(settings: Settings) -> list[Finding]:
    """The data folder, which has the journal in any case: its space and its rights."""
    folder = settings.data_dir
    try:
        make_folder(folder)
        free = shutil.disk_usage(folder).free
    except (StoreError, OSError) as error:
        return [Finding("Data folder", str(error), good=False)]
    says = f"{folder}, {free // 2**20} MiB free"
    found = [Finding("Data folder", says if free > LOW_SPACE else f"{says}: make room", good=free > LOW_SPACE)]
    said = complaint(folder)
    return [*found, Finding("Rights", said or "the data folder is its owner's alone", good=said is None)]


def _transcripts(settings: Settings) -> list[Finding]:
    """The transcripts kept of a vendor's calls; nothing where there is neither a vendor nor any left of one."""
    folder, is_on = transcripts_folder(settings), settings.transcript_cache == "on" and not settings.triage_on_desk
    try:
        count, size = measured(folder)
    except OSError as error:
        return [Finding("Transcripts", f"{folder} cannot be read ({error.strerror})", good=False)]
    if not count and not is_on:
        return []
    keeps = f"at most {MOST_BYTES // 2**20} MiB" if is_on else "none are added"
    says = f"{count} of a vendor's calls kept in {folder}, {size / 2**20:.1f} MiB, {keeps}"
    return [Finding("Transcripts", f"{says}; `calltriage transcripts clear` removes them")]


def _extras(settings: Settings) -> list[Finding]:
    """The libraries that settings need."""
    found = [_sqlite()]
    for name, library, is_set in (
        ("postgres", "psycopg", settings.database_url is not None),
        ("objects", "obstore", settings.blobs_url is not None),
    ):
        if is_set:
            has = find_spec(library) is not None
            says = f"calltriage[{name}] is installed" if has else how_to_add(name)
            found.append(Finding("Extra", says, good=has))
    return found


def _sqlite() -> Finding:
    driver = sqlite_driver()
    if driver.sqlite_version_info >= FIRST_SAFE_SQLITE:
        return Finding("SQLite", f"{driver.sqlite_version}, several processes may share the folder")
    alone = "one process at a time per folder; a Python with 3.51.3 or newer lifts that"
    return Finding("SQLite", f"{driver.sqlite_version}: {alone}")


def _roots(settings: Settings) -> list[Finding]:
    """The folders whose files tools may read and make."""
    if settings.allowed_roots is None:
        says = (
            "over stdio the working folder and those that the host declares, over HTTP none (CALLTRIAGE_ALLOWED_ROOTS)"
        )
        return [Finding("Local files", says)]
    return [_root(folder, settings) for folder in settings.allowed_roots] or [Finding("Local files", "none")]


def _root(folder: Path, settings: Settings) -> Finding:
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        why = (
            f"{folder} cannot be read ({error.strerror}): make it readable, or take it out of CALLTRIAGE_ALLOWED_ROOTS"
        )
        return Finding("Local files", why, good=False)
    if settings.read_only:
        return Finding("Local files", str(folder))
    try:
        TemporaryFile(dir=folder).close()
    except OSError:
        return Finding("Local files", f"{folder}, for reading alone: downloads cannot be saved there")
    return Finding("Local files", f"{folder}, read and written to")
