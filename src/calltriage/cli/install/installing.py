"""What `calltriage install` does: the host's own command where it has one, else an edit of the host's file."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from calltriage.cli.install.documents import Document, UnreadableDocument
from calltriage.cli.install.files import BOM, HostFile, HostFileError
from calltriage.cli.install.hosts import HOSTS, NAME, TOKEN, Host, Launch, Place, Remote, Scope, Target, in_mcp_json
from calltriage.cli.terminal import say
from calltriage.errors import SettingsError
from calltriage.leaves.installed import installation
from calltriage.leaves.strict_json import MAX_VALUES, TOO_DEEP, JsonObject, is_crowded
from calltriage.leaves.urls import without_secrets
from calltriage.settings import FROM_ENVIRONMENT, PREFIX, Settings, default_data_dir, is_secret, public_url
from calltriage.wiring import installed_version

WAITS_S = 10.0
"""Seconds that one installation waits for another."""


def launch(place: Place, settings_file: Path | None, toolsets: str | None) -> Launch:
    """What starts this installation, with the settings that are set now: values as they are, secrets by their names."""
    command = installation().command(Path(sys.prefix), shutil.which("uv") or "uv")
    args = (*command[1:], *(("serve", "--toolsets", toolsets) if toolsets else ()))
    values, secrets = dict[str, str](), list[str]()
    for name, value in sorted(place.environment.items()):
        field = Settings.model_fields.get(name.removeprefix(PREFIX).removesuffix("_FILE").lower())
        if not name.startswith(PREFIX) or name in FROM_ENVIRONMENT or field is None or not value:
            continue
        if is_secret(field) and not name.endswith("_FILE"):
            secrets.append(name)
        elif name != f"{PREFIX}TOOLSETS" or not toolsets:
            is_path = name.endswith("_FILE") or field.annotation is Path
            values[name] = str(Path(value).expanduser().absolute()) if is_path else value
    if settings_file is not None:
        values["CALLTRIAGE_SETTINGS_FILE"] = str(settings_file.absolute())
    return Launch(command[0], args, values, tuple(secrets))


def remote(place: Place, url: str) -> Remote:
    """A server on a port. Raises SettingsError for what is no address of one."""
    try:
        return Remote(public_url(url), has_token=bool(place.environment.get(TOKEN)))
    except ValueError:
        raise SettingsError(
            f"--url {without_secrets(url)!r} is no address of a server. It is scheme, host and path, such as "
            "https://triage.example.com/mcp."
        ) from None


def published() -> Launch:
    """What starts the published package of this version, on any machine that has uv."""
    return Launch("uvx", (f"calltriage@{installed_version()}",))


@dataclass(frozen=True)
class Installer:
    """One host, in one scope, on one machine."""

    host: Host
    scope: Scope
    place: Place

    @classmethod
    def of(cls, name: str, scope: Scope, place: Place) -> Installer:
        return cls(HOSTS[name], scope, place)

    @property
    def file(self) -> HostFile:
        """Raises SettingsError where the host has no such scope."""
        path = self.host.file(self.scope, self.place)
        if path is None:
            raise SettingsError(f"{self.host.title} has no file for a project. Leave --scope away.")
        return HostFile(Path(path))

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.host.members, NAME)

    def install(self, target: Target, *, dry_run: bool) -> None:
        """Add the server, or set it anew. Raises CalltriageError with the reason, and leaves everything as it was."""
        try:
            entry = self.host.entry(target)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        file = self.file
        command = self._own_command()
        wanted = None if command is None or self.host.command is None else self.host.command.add(target, self.scope)
        if command is not None and wanted is not None:
            self._run_anew(command, wanted, dry_run=dry_run)
            return
        if self.host.only_by_command and self.scope == "user":
            raise SettingsError(
                f"{self.host.title} keeps {file.path} by itself, and its command is not on PATH. Install it, or pass "
                "--scope project."
            )
        if self.scope == "user" and not file.target.parent.is_dir():
            raise SettingsError(
                f"{self.host.title} was not found: there is no folder {file.path.parent}. Start it once, then run this "
                "again."
            )
        with self._alone():
            self._put(file, entry, dry_run=dry_run)

    def remove(self, *, dry_run: bool) -> None:
        """Take the server out; a file that we wrote becomes what it was before."""
        file = self.file
        if self.found() is None:
            say(f"{self.host.title}: calltriage is not in {file.path}.")
            return
        command = self._own_command()
        wanted = None if command is None or self.host.command is None else self.host.command.remove(self.scope)
        if command is not None and wanted is not None and file.read_copy() is None:
            self._run(command, wanted, dry_run=dry_run)
            return
        with self._alone():
            self._take_out(file, dry_run=dry_run)

    def found(self) -> JsonObject | None:
        """The entry that the host's file holds now."""
        text = self.file.read()
        return None if text is None else self._entry(self.file, text)

    def _put(self, file: HostFile, entry: JsonObject, *, dry_run: bool) -> None:
        before = file.read()
        held = None if before is None else self._entry(file, before)
        after = self._with(file, before, entry if held is None else _merged(entry, held))
        if after == before:
            say(f"{self.host.title}: calltriage is in {file.path} already.")
            return
        if dry_run:
            _show_change(file.path, before, after)
            return
        file.replace(before, after, keep=held is None)
        says = f"The file before is kept as {file.copy.name}. " if held is None and before is not None else ""
        self._say_done(f"{self.host.title}: calltriage is in {file.path}. {says}")

    def _take_out(self, file: HostFile, *, dry_run: bool) -> None:
        before = file.read()
        entry = None if before is None else self._entry(file, before)
        if before is None or entry is None:  # somebody else was faster
            return
        after = self._before_us(file, before, entry)
        if dry_run:
            _show_change(file.path, before, after)
            return
        file.replace(before, after)
        file.forget_copy()
        says = "is gone, which held nothing else" if after is None else "is without calltriage"
        say(f"{self.host.title}: {file.path} {says}. {self.host.after}.")

    def _before_us(self, file: HostFile, present: str, entry: JsonObject) -> str | None:
        """The file as it was before, byte by byte, unless somebody changed it since; then without the entry alone."""
        copy = file.read_copy()
        if copy is not None and self._with(file, copy, entry) == present:
            return copy
        if copy is None and self._with(file, None, entry) == present:
            return None  # there was no file
        bom, text = _split_bom(present)
        with _named(file):
            return bom + self._document(text).drop(self.path)

    def _with(self, file: HostFile, present: str | None, entry: JsonObject) -> str:
        bom, text = _split_bom(present or "")
        with _named(file):
            return bom + self._document(text).put(self.path, entry)

    def _entry(self, file: HostFile, present: str) -> JsonObject | None:
        with _named(file):
            return _object(self._document(_split_bom(present)[1]).get(self.path))

    def _document(self, text: str) -> Document:
        if is_crowded(text):
            raise UnreadableDocument(f"the file holds more than {MAX_VALUES} values")
        return self.host.document(text)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """While another installation on this machine waits."""
        folder = default_data_dir()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with filelock.FileLock(folder / "install.lock", timeout=WAITS_S, mode=0o600):
                yield
        except filelock.Timeout:
            raise HostFileError("Another installation is under way. Wait for it, then run this again.") from None

    def _own_command(self) -> str | None:
        return None if self.host.command is None else shutil.which(self.host.command.program)

    def _run_anew(self, command: str, wanted: list[str], *, dry_run: bool) -> None:
        """Run the host's command, without the entry that it may have from before: some refuse a second one."""
        assert self.host.command is not None  # noqa: S101  the caller has it from there
        removal = self.host.command.remove(self.scope)
        if removal is not None and not dry_run:
            _outcome([command, *removal])
        self._run(command, wanted, dry_run=dry_run)

    def _run(self, command: str, wanted: list[str], *, dry_run: bool) -> None:
        if dry_run:
            say(f"would run: {_shell([command, *wanted])}")
            return
        done = _outcome([command, *wanted])
        for line in (done.stdout + done.stderr).strip().splitlines():
            say(f"  {line}", err=True)
        if done.returncode:
            raise HostFileError(f"{self.host.title}'s own command failed with status {done.returncode}.")
        self._say_done(f"{self.host.title}: done by its own command. ")

    def _say_done(self, says: str) -> None:
        name = next(name for name, host in HOSTS.items() if host is self.host)
        scope = "" if self.scope == "user" else f" --scope {self.scope}"
        say(f"{says}{self.host.after}. Try it: {installation().typed} doctor --host {name}{scope}")


@contextmanager
def _named(file: HostFile) -> Generator[None]:
    """What is wrong in a document is said with the file that it is in."""
    try:
        yield
    except UnreadableDocument as error:
        raise HostFileError(f"{file.path}: {error}. Nothing was written; mend the file first.") from None
    except RecursionError:
        raise HostFileError(f"{file.path}: {TOO_DEEP}. Nothing was written; mend the file first.") from None


_HOW = frozenset(
    (
        "type",
        "command",
        "cmd",
        "args",
        "url",
        "httpUrl",
        "serverUrl",
        "uri",
        "headers",
        "bearer_token_env_var",
        "source",
    )
)
"""Members of an entry that say how the server is reached."""
_VARIABLES = ("env", "envs")


def _object(value: object) -> JsonObject | None:
    return dict(value) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownArgumentType]


def _merged(entry: JsonObject, held: JsonObject) -> JsonObject:
    """An entry as it is to be, with what a person added to the one that is held: other members, and variables."""
    merged = {**entry, **{name: value for name, value in held.items() if name not in {*_HOW, *entry}}}
    for name in _VARIABLES:
        if isinstance(held.get(name), dict) and isinstance(entry.get(name, {}), dict):
            merged[name] = {**held[name], **entry.get(name, {})}
    return merged


def _split_bom(text: str) -> tuple[str, str]:
    return (BOM, text.removeprefix(BOM)) if text.startswith(BOM) else ("", text)


def _show_change(path: Path, before: str | None, after: str | None) -> None:
    """The lines that would change and no other, which may hold somebody's secrets."""
    say(f"would write {path}:" if after is not None else f"would delete {path}")
    old, new = (before or "").splitlines(), (after or "").splitlines()
    for line in list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]:
        say(line)


def _outcome(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What came of a command of the host's. It is asked nothing and gets no terminal."""
    return subprocess.run(  # noqa: S603  the program that PATH names, and arguments of ours
        command, capture_output=True, text=True, check=False, errors="replace", stdin=subprocess.DEVNULL
    )


def _shell(command: list[str]) -> str:
    import shlex  # noqa: PLC0415

    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def show_link(name: str) -> None:
    """Print the link that a click installs from. Raises SettingsError where the host has none."""
    host = HOSTS[name]
    if host.link is None:
        having = ", ".join(other for other, one in HOSTS.items() if one.link)
        raise SettingsError(f"{host.title} has no such link. Those that have: {having}.")
    say(host.link(published()))


def show_mcp_json(target: Target) -> None:
    """Print the object for a host that is not in the table."""
    say_json(in_mcp_json(target))


def say_json(value: JsonObject) -> None:
    for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        say(line)
