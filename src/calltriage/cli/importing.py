"""Bringing calls to the desk from the command line: what is checked, what is loaded, what a person hears of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import anyio
from rich.console import Console
from rich.progress import Progress

from calltriage.cli.standard_input import STANDARD_INPUT, standard_input
from calltriage.cli.terminal import INTERRUPTED, say
from calltriage.desk.importing.checking import Checked, checked
from calltriage.desk.importing.loading import Imported, load_import
from calltriage.desk.importing.sample import load_sample
from calltriage.desk.importing.sources import Source, find_sources, kept
from calltriage.desk.importing.spool import KEEP_BOTH
from calltriage.embedded import open_desk

if TYPE_CHECKING:
    from calltriage.settings import Settings

KINDS = {"call": "calls", "sms_conversation": "conversations", "file": "files"}
MOST_REPLACED = 20
"""Replaced calls that are named. Further ones are counted."""
AGAIN = "Run the same command again to load the rest."


@dataclass(frozen=True)
class Wishes:
    """How files are to be read: what the options of a command say."""

    format_name: str | None = None
    time_zone: str | None = None
    skip_bad: bool = False

    @property
    def zone(self) -> tzinfo:
        return UTC if self.time_zone is None else ZoneInfo(self.time_zone)


@contextmanager
def check_paths(paths: Sequence[Path], wishes: Wishes, limit: int) -> Generator[Checked]:
    """Everything in the files, checked. Raises ImportFileError that names what is bad, unless that is to be skipped."""
    with ExitStack() as stack:
        sources = list[Source]()
        if STANDARD_INPUT in paths:
            with standard_input() as stream:
                sources.append(stack.enter_context(kept(stream)))
        files = [path for path in paths if path != STANDARD_INPUT]
        if files or not sources:
            sources += find_sources(files)
        found = checked(sources, format_name=wishes.format_name, zone=wishes.zone, limit=limit)
        one = stack.enter_context(found)
        for note in one.notes:
            say(note, err=True)
        if not wishes.skip_bad:
            one.refuse_bad()
        yield one


def check_only(settings: Settings, paths: Sequence[Path], wishes: Wishes) -> bool:
    """Say what an import would load, and load nothing. Whether it would load everything."""
    with check_paths(paths, Wishes(wishes.format_name, wishes.time_zone, skip_bad=True), _limit(settings)) as found:
        _say_bad(found, "bad")
        good = ", ".join(f"{found.entries.counts[kind]} {words}" for kind, words in KINDS.items())
        say(f"{good} can be loaded, {found.bad} bad lines. Nothing was loaded.")
        return not found.bad


def import_paths(settings: Settings, paths: Sequence[Path], wishes: Wishes, organisation: str | None) -> None:
    """Load what the files hold, and say what became of it, after an interrupt, too."""
    try:
        with check_paths(paths, wishes, _limit(settings)) as found:
            done = load(settings, found, organisation)
            _say_bad(found, "skipped")
            say(f"{_told(done)}, {found.bad} skipped.")
            _say_replaced(done)
            if done.through < len(found.entries):
                say(f"Interrupted after {done.through} of {len(found.entries)}. {AGAIN}", err=True)
                raise SystemExit(INTERRUPTED)
    except KeyboardInterrupt:
        say("Interrupted: nothing was loaded.", err=True)
        raise SystemExit(INTERRUPTED) from None


def load_sample_calls(settings: Settings, organisation: str | None) -> None:
    """Load the sample calls, and say what became of them."""

    async def run() -> Imported:
        async with open_desk(settings) as desk:
            return await load_sample(desk, organisation)

    say(f"{_told(anyio.run(run))}.")


def load(settings: Settings, found: Checked, organisation: str | None = None) -> Imported:
    """Load checked entries, with a progress bar on a terminal. SIGINT ends it after the step that is under way."""
    console, last = Console(stderr=True), [Imported()]
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar, _interrupts() as come:
        task = bar.add_task("Loading", total=len(found.entries))

        def advance(done: Imported) -> None:
            last.append(done)
            bar.update(task, completed=done.through)
            if come.is_set():
                raise _InterruptedError

        async def run() -> Imported:
            async with open_desk(settings) as desk:
                return await load_import(desk, found.entries, advance, organisation)

        try:
            return anyio.run(run)
        except _InterruptedError:
            return last[-1]


class _InterruptedError(Exception):
    """Ends a load between two of its steps."""


@contextmanager
def _interrupts() -> Generator[threading.Event]:
    """Set by the first SIGINT. The second one does what it did before."""
    come, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(_: int, __: FrameType | None) -> None:
        come.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield come
    finally:
        signal.signal(signal.SIGINT, before)


def _limit(settings: Settings) -> int:
    return settings.max_file_mib * 2**20


def _told(done: Imported) -> str:
    return f"{done.added} added, {done.changed} changed, {done.unchanged} there already"


def _say_replaced(done: Imported) -> None:
    """Name the calls whose words another file may have taken: a call without an id has its file's name alone."""
    for call_id, file in done.replaced[:MOST_REPLACED]:
        say(f"replaced the words of call {call_id} by those of {file}, whose name alone gives that id", err=True)
    if len(done.replaced) > MOST_REPLACED:
        say(f"replaced {len(done.replaced) - MOST_REPLACED} more", err=True)
    if done.replaced:
        say(f"If they were other calls: {KEEP_BOTH}; then import the earlier files again.", err=True)


def _say_bad(found: Checked, word: str) -> None:
    for complaint in found.complaints:
        say(f"{word} {complaint}", err=True)
    if found.bad > len(found.complaints):
        say(f"{word} {found.bad - len(found.complaints)} more", err=True)
