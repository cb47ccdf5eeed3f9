"""What several commands of the command line share: their settings, and options that mean the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calltriage.cli.terminal import say
from calltriage.leaves.durations import UNITS, length
from calltriage.leaves.instants import A_TIME, instant_of, utc_now
from calltriage.leaves.shutdown import KEPT
from calltriage.settings import Settings, load_settings, misnamed, settings_file

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = "never"
COMMAND_LINE = click.core.ParameterSource.COMMANDLINE


class Text(click.ParamType[str]):
    """A name or an id. Bytes that are no UTF-8, which Python hands over as lone surrogates, can be no part of one."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("must be text in UTF-8", param, ctx)
        return value


TEXT = Text()
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
"""A file that is read, - for standard input (`standard_input.start_of`)."""
ORGANISATION = click.option(
    "--organisation", type=TEXT, metavar="ID", help="Id of an organisation of this desk.  [default: the desk's own]"
)


def settings_of(context: click.Context, **given: object) -> Settings:
    """The settings, and over them what the command line gives."""
    over = {name: value for name, value in given.items() if value is not None}
    return load_settings(file_of(context), **over)


def file_of(context: click.Context) -> Path | None:
    """The file of settings, if one was named."""
    return settings_file(context.find_root().params.get("settings_file"))


def wrong(value: str, why: str) -> click.BadParameter:
    """The error for a value that was typed, which it repeats."""
    return click.BadParameter(f"{value!r} {why}")


def span(_: click.Context, __: click.Parameter, value: str) -> timedelta:
    """The callback of an option that takes a length of time."""
    try:
        return length(value)
    except ValueError as error:
        raise wrong(value, str(error)) from None


def past(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """The callback of an option that takes a time: an instant, or how long ago it was."""
    try:
        return None if value is None else instant_of(value, utc_now())
    except ValueError:
        raise wrong(value or "", f"must be {A_TIME}") from None


def _end(context: click.Context, option: click.Parameter, value: str | None) -> datetime | str | None:
    if value is None or value == NEVER:
        return value
    now = utc_now()
    try:
        end = now + span(context, option, value) if value[-1:] in UNITS else _instant(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong(value, "must be a span (30d), a day (2027-01-31), an instant (ISO 8601) or never") from None
    if end <= now:
        raise wrong(value, "does not lie in the future")
    return end


def _instant(text: str) -> datetime:
    """An instant, or the end of a day, in UTC unless it says otherwise."""
    end = datetime.fromisoformat(text)
    if len(text) == len("2027-01-31"):
        end += timedelta(days=1)
    return end if end.tzinfo else end.replace(tzinfo=UTC)


EXPIRES = click.option(
    "--expires",
    metavar="WHEN",
    callback=_end,
    help="When it ends by itself: after a span (30d, 12h), with a day (2027-01-31, UTC), at an instant, or never.",
)


def announce(what: str) -> Callable[[str], None]:
    """Say on stderr where something is served; standard output is not for that."""
    return lambda address: say(f"{what} at {address}", err=True)


def announce_with_board(address: str, board: str) -> None:
    """Say where MCP is served, and the board for people."""
    announce("MCP")(address)
    announce("Board for people, signed in once,")(board)


HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")


def port_option(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--port", default=default, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
    )


def refuse_address(context: click.Context) -> None:
    """Raise UsageError where an address was typed that nothing listens on."""
    typed = [f"--{name}" for name in ("host", "port") if context.get_parameter_source(name) is COMMAND_LINE]
    if typed:
        raise click.UsageError(
            f"{' and '.join(typed)} has no effect without --http: MCP is on standard input and output."
        )


def server_settings(context: click.Context, **given: object) -> Settings:
    """The settings of a server, whose start a signal ends. Says on standard error which names of settings have no effect."""
    KEPT.end_at_once()
    for sentence in misnamed(file_of(context)):
        say(f"calltriage: warning: {sentence}", err=True)
    return settings_of(context, **given)


def begin(context: click.Context, *servers: str | None) -> None:
    """Let signals do what they do to any program, unless the command is one of these servers."""
    if context.invoked_subcommand not in servers:
        KEPT.let_go()


def _time_zone(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    if value is None:
        return None
    try:
        return ZoneInfo(value).key
    except (KeyError, ValueError, OSError):
        raise wrong(value, "must be an IANA time zone, such as Europe/Berlin") from None


def _format(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from calltriage.desk.importing.formats import NAMES  # noqa: PLC0415

    if value is not None and value not in NAMES:
        near = get_close_matches(value.lower(), NAMES, 1)
        raise wrong(value, f"must be one of {', '.join(NAMES)}{f'; did you mean {near[0]}?' if near else ''}")
    return value


FORMAT = click.option(
    "--format", "format_name", callback=_format, metavar="NAME",
    help="Insist on a format: calltriage, bland, chat, vapi, retell, elevenlabs, twilio, deepgram, assemblyai, whisper, "
    "vtt, srt, csv.  [default: told by the content]",
)  # fmt: skip
TIME_ZONE = click.option(
    "--time-zone", callback=_time_zone, metavar="ZONE", help="Zone of times that name none.  [default: UTC]"
)
SKIP_BAD = click.option(
    "--skip-bad", is_flag=True, help="Load the good lines and report the bad ones, instead of loading nothing."
)
SCOPE = click.option(
    "--scope", type=click.Choice(["user", "project"]), default="user", show_default=True,
    help="The host's file in your home, or in this folder.",
)  # fmt: skip


def roots_of(folders: tuple[str, ...], *, over_http: bool) -> tuple[Path, ...] | None:
    """The folders that `serve` is given, None for none. A host hands over its placeholder (`${…}`) if its user chose none.

    Raises UsageError over HTTP, where no local file is ever read. Warns of what is no folder: the server starts anyway.
    """
    roots = tuple(Path(folder).expanduser() for folder in folders if folder and not folder.startswith("${"))
    if roots and over_http:
        raise click.UsageError("FOLDERS are for standard input and output: over HTTP no local file is read.")
    for root in roots:
        if not root.is_dir():
            say(f"calltriage: warning: {root} is no folder, so no file is read there", err=True)
    return roots or None
