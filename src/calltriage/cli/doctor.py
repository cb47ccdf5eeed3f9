"""`calltriage doctor`: what works, what does not, and what to do about it. Prints no secret."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.table import Table

from calltriage.cli.terminal import shown
from calltriage.client.client import Client
from calltriage.errors import CallError, CalltriageError, NotFound, StorageUnavailable
from calltriage.leaves.installed import how_to_add
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.flags import ListFlagTypes
from calltriage.settings import Settings
from calltriage.storage.folders import complaint
from calltriage.storage.sqlite import FIRST_SAFE_SQLITE, sqlite_driver
from calltriage.wiring import DeskInside, installed_version, offered_tools, open_wired_client

LOW_SPACE = 200 * 2**20
"""Bytes left on the data folder's disk below which doctor warns."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str
    good: bool
    says: str


async def examine(settings: Settings) -> bool:
    """Check everything and print it; whether all is well."""
    findings = [Finding("calltriage", good=True, says=f"{installed_version()} on Python {platform.python_version()}")]
    async with open_wired_client(settings, offered_tools(settings)) as (client, desk, _):
        triage = "the embedded desk" if settings.triage_on_desk else f"Bland AI at {settings.bland_base_url}"
        findings.append(await _reached("Triage", triage, lambda: client.send(ListFlagTypes(limit=1)), desk))
        attachments = (
            "the embedded desk" if settings.attachments_on_desk else f"Talkdesk, region {settings.talkdesk_region}"
        )
        findings.append(await _reached("Attachments", attachments, lambda: _look_for_nothing(client), desk))
        if settings.attachments_on_desk and settings.blobs_url is not None:
            findings.append(await _object_store(desk))
    if settings.triage_on_desk or settings.attachments_on_desk:
        findings += [_folder(settings), _sqlite() if settings.database_url is None else _postgres()]
    findings.append(_rights(settings))
    findings.append(
        Finding(
            "Local files",
            good=True,
            says=", ".join(map(str, settings.allowed_roots)) or "none"
            if settings.allowed_roots is not None
            else "over stdio the working folder and those that the host declares, over HTTP none "
            "(CALLTRIAGE_ALLOWED_ROOTS)",
        )
    )
    table = Table(show_header=False, box=None, padding=(0, 1))
    console = Console()
    good, bad = ("✓", "✗") if console.encoding.startswith("utf") else ("ok", "NO")
    for finding in findings:
        table.add_row(f"[green]{good}[/]" if finding.good else f"[red]{bad}[/]", finding.what, shown(finding.says))
    console.print(table)
    return all(finding.good for finding in findings)


async def _look_for_nothing(client: Client) -> Any:
    """Ask for an attachment that cannot exist: 404 shows that address, credentials and scope are right."""
    try:
        return await client.send(GetAttachment(attachment_id="calltriage-doctor"))
    except NotFound:
        return None


async def _reached(what: str, where: str, ask: Callable[[], Awaitable[Any]], desk: DeskInside) -> Finding:
    try:
        await ask()
    except StorageUnavailable as error:
        return Finding(what, good=False, says=await desk.complaint() or str(error))
    except CallError as error:
        return Finding(what, good=False, says=f"{where}: {error}")
    except CalltriageError as error:
        return Finding(what, good=False, says=str(error))
    return Finding(what, good=True, says=f"{where}, answers")


async def _object_store(desk: DeskInside) -> Finding:
    try:
        complaint = await desk.complaint()
    except CalltriageError as error:
        complaint = str(error)
    says = complaint or "keeps the bytes of files (CALLTRIAGE_BLOBS_URL)"
    return Finding("Object store", good=complaint is None, says=says)


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.is_dir():
        return Finding(
            "Data folder", good=False, says=f"{folder} could not be made; set CALLTRIAGE_DATA_DIR to one that can"
        )
    free = shutil.disk_usage(folder).free
    says = f"{folder}, {free // 2**20} MiB free"
    return Finding("Data folder", good=free > LOW_SPACE, says=says if free > LOW_SPACE else f"{says}: make room")


def _rights(settings: Settings) -> Finding:
    said = complaint(settings.data_dir)
    return Finding("Rights", good=said is None, says=said or "the data folder is its owner's alone")


def _postgres() -> Finding:
    """Whether the server can be used is what the desk's own answer says."""
    has_driver = find_spec("psycopg") is not None
    says = "the desk's database (CALLTRIAGE_DATABASE_URL)" if has_driver else how_to_add("postgres")
    return Finding("PostgreSQL", good=has_driver, says=says)


def _sqlite() -> Finding:
    driver = sqlite_driver()
    good = driver.sqlite_version_info >= FIRST_SAFE_SQLITE
    says = f"{driver.sqlite_version}, several processes may share the folder"
    if not good:
        says = f"{driver.sqlite_version}: one process at a time per folder; a Python with 3.51.3 or newer lifts that"
    return Finding("SQLite", good=True, says=says)
