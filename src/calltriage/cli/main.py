"""The command line. It parses and prints; the work is wired elsewhere and imported when its command runs."""

from __future__ import annotations

import io
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import anyio
import click

from calltriage.cli.apply import apply
from calltriage.cli.board import board
from calltriage.cli.completion import completion
from calltriage.cli.desk import desk
from calltriage.cli.grouping import Grouped
from calltriage.cli.options import (
    FORMAT,
    HOST,
    SCOPE,
    SKIP_BAD,
    TEXT,
    TIME_ZONE,
    announce_with_board,
    begin,
    file_of,
    past,
    port_option,
    refuse_address,
    roots_of,
    server_settings,
    settings_of,
    wrong,
)
from calltriage.cli.pipelines import pipeline
from calltriage.cli.terminal import INTERRUPTED, Spoken, ignore_interrupts, say, say_crash, say_usage_error
from calltriage.errors import CalltriageError, ImportFileError, Outcome, SettingsError, SpecError, first_of
from calltriage.leaves.collecting import nothing_collected
from calltriage.offering import Policy
from calltriage.settings import Settings, misnamed

if TYPE_CHECKING:
    from calltriage.cli.install.hosts import Scope


@click.group(
    cls=Grouped,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="calltriage", message="%(version)s")
@click.option(
    "--settings-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of CALLTRIAGE_… lines; the environment wins over it.",
)
@click.pass_context
def cli(context: click.Context, settings_file: Path | None) -> None:  # noqa: ARG001  read by settings_of
    """Triage of phone calls that went wrong, as an MCP server.

    Without a command: serve MCP over standard input and output, for a host such as Claude Desktop. Without credentials
    everything runs on the embedded desk; set CALLTRIAGE_BLAND_API_KEY and CALLTRIAGE_TALKDESK_… to work on the vendors.
    """
    begin(context, None, "serve", "board", "desk", "pipeline")
    if context.invoked_subcommand is None:
        context.invoke(serve)


for _command in (desk, apply, completion, board, pipeline):
    cli.add_command(_command)


@cli.command()
@click.argument("folders", nargs=-1, type=TEXT)
@click.option("--http", is_flag=True, help="Streamable HTTP at /mcp instead of standard input and output.")
@HOST
@port_option(8000)
@click.option(
    "--toolsets",
    help="Comma list of core (default), evidence, attachments, batch, pipelines, catalogue, norm, cleanup; or all.",
)
@click.option("--exclude-tools", help="Comma list of tools never to offer.")
@click.option("--read-only", is_flag=True, default=None, help="Offer no tool that writes.")
@click.option(
    "--confirm",
    type=click.Choice(get_args(Policy)),
    help="Where the host cannot ask before a removal: ask refuses (default), panel lets the board in it ask, allow goes "
    "ahead; deny never removes.",
)
@click.pass_context
def serve(
    context: click.Context,
    folders: tuple[str, ...] = (),
    *,
    http: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    **selection: object,
) -> None:
    """Serve MCP (the default command).

    FOLDERS are those whose files tools may read and make, over standard input and output. Without any, they are those of
    CALLTRIAGE_ALLOWED_ROOTS.

    Over HTTP it is stateless and answers the 2025-11-25 and the 2026-07-28 protocol. Off loopback it asks for
    CALLTRIAGE_HTTP_TOKEN and CALLTRIAGE_HTTP_ALLOWED_HOSTS.
    """
    from calltriage.cli.opening import opened  # noqa: PLC0415
    from calltriage.logs import configure_logging  # noqa: PLC0415

    if not http:
        refuse_address(context)
    settings = server_settings(context, allowed_roots=roots_of(folders, over_http=http), **selection)
    configure_logging(settings.log_level)
    opening = None if http else opened(settings)
    with nothing_collected():
        from calltriage.cli import servers  # noqa: PLC0415  most of the start, after what needs none of it

    if opening is None:
        anyio.run(servers.serve_http, settings, host, port, announce_with_board)
    else:
        anyio.run(servers.serve_stdio, settings, opening)


@cli.command()
@click.option("--host", metavar="HOST", help="Start what is written in this host's file, and list its tools.")
@SCOPE
@click.pass_context
def doctor(context: click.Context, host: str | None, scope: Scope) -> None:
    """Try settings, credentials, network, storage and folders, and say what to do about what is wrong.

    Reads from each API, and writes nothing to a vendor. Prints no secret. Exit status 0 when everything works, 1 when
    something does not.
    """
    if host is not None:
        from calltriage.cli.install.command import try_host  # noqa: PLC0415

        if not try_host(host, scope):
            sys.exit(1)
        return
    from calltriage.cli.doctor import examine  # noqa: PLC0415

    try:
        settings: Settings | SettingsError = settings_of(context)
    except SettingsError as error:
        settings = error
    if not anyio.run(examine, settings, misnamed(file_of(context))):
        sys.exit(1)


@cli.command()
@click.argument("host", default="")
@SCOPE
@click.option(
    "--url", metavar="URL", help="A server that runs elsewhere (https://…/mcp), instead of a process of the host's own."
)
@click.option("--toolsets", metavar="LIST", help="What it offers there (see `serve --help`).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--print-link", is_flag=True, help="Print the link that a click installs the published package from.")
@click.option("--remove", is_flag=True, help="Take it out again.")
@click.pass_context
def install(context: click.Context, **wishes: Any) -> None:
    """Write this server into an MCP host's configuration.

    HOST is claude-code, claude-desktop, cursor, vscode, codex, gemini, lm-studio, goose, windsurf, zed or jetbrains (Junie);
    mcp-json prints what any other host reads. The host's own command does it where there is one. A file is edited in place:
    comments, order and other servers stay, and the file from before is kept beside it.

    Settings that are set now go along: values as they are, secrets by the names of their variables, never by value.
    """
    from calltriage.cli.install.command import Wishes, run  # noqa: PLC0415

    run(Wishes(settings_file=file_of(context), **wishes))


@cli.command()
@click.option(
    "--calls",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="Your own calls (see `calltriage desk import --help`).",
)
@click.option("--pipeline", is_flag=True, help="Watch a pipeline find and file instead of an agent.")
@SKIP_BAD
@FORMAT
@TIME_ZONE
def demo(calls: Path | None, *, pipeline: bool, **wishes: Any) -> None:
    """Watch an agent triage a call, start to end. Or a pipeline, with --pipeline.

    Starts the real server as a child process, connects a real MCP client to it over standard input and output, and works
    on an empty desk in a temporary folder. Nothing is left behind and no vendor is called.
    """
    from calltriage.cli.importing import Wishes  # noqa: PLC0415

    if pipeline:
        from calltriage.cli.pipelines.demo import run_pipeline_demo as run  # noqa: PLC0415
    else:
        from calltriage.cli.demo import run_demo as run  # noqa: PLC0415
    run(calls, Wishes(**wishes))


@cli.group()
def transcripts() -> None:
    """Transcripts of a vendor's calls that searches have kept in the data folder: clear.

    CALLTRIAGE_TRANSCRIPT_CACHE=off keeps none. The desk's own calls are not among them.
    """


@transcripts.command("clear")
@click.pass_context
def transcripts_clear(context: click.Context) -> None:
    """Remove all of them. The next search by words reads them of the vendor again."""
    from calltriage.client.transcripts import cleared  # noqa: PLC0415
    from calltriage.wiring import transcripts_folder  # noqa: PLC0415

    say(f"{cleared(transcripts_folder(settings_of(context)))} transcripts removed.")


@cli.group()
def journal() -> None:
    """The record of every write: show, verify, export, replay.

    It holds what was written (titles, notes, comments), so that it can be written again; never credentials, signed links or
    the bytes of files. No tool can change it.
    """


@journal.command("show")
@click.option("--last", default=50, show_default=True, type=click.IntRange(1), help="How many writes, newest last.")
@click.option("--issue", type=TEXT, metavar="ISSUE", help="Only writes on this issue: its id or its ticket (T-1042).")
@click.option("--since", callback=past, metavar="TIME", help="Only writes since then: 2026-05-01, 24h, 7d.")
@click.option("--outcome", type=click.Choice(get_args(Outcome)), help="Only such writes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.pass_context
def journal_show(context: click.Context, issue: str | None, *, as_json: bool, **filters: Any) -> None:
    """Show the newest writes: when, on which ticket, by which tool, and what became of it.

    In ids and outcomes, never in anybody's words. `journal export` prints every row.
    """
    from calltriage.cli import journal as history  # noqa: PLC0415
    from calltriage.journal.showing import Wanted  # noqa: PLC0415

    named = None if issue is None else issue.upper() if issue[:1] in "tT" else issue.lower()
    wanted = Wanted(issue=named, **filters)
    anyio.run(partial(history.show, settings_of(context), wanted, as_json=as_json))


def _head(_c: click.Context, _p: click.Parameter, value: str | None) -> tuple[int, str] | None:
    if value is None:
        return None
    seq, _, digest = value.partition(":")
    if not (seq.isascii() and seq.isdigit()) or len(digest) != 64:
        raise wrong(value, "must be as verify prints it: the row's number, a colon and its hash")
    return int(seq), digest


@journal.command("verify")
@click.option(
    "--head", callback=_head, metavar="ROW:HASH", help="A head that an earlier verify printed; it must stand."
)
@click.pass_context
def journal_verify(context: click.Context, head: tuple[int, str] | None) -> None:
    """Follow the chain of hashes and name the first row that does not fit (exit status 1).

    Found are rows that were altered, dropped, moved or added, and a journal that was emptied, cut or put back as it was
    earlier: servers note its head beside it, sealed with a key of the folder. Not found is a journal rewritten together with
    that note by somebody who may read the key: note the printed head somewhere else, and pass it as --head later.
    """
    from calltriage.cli import journal as history  # noqa: PLC0415

    found = anyio.run(history.verify, settings_of(context), head)
    if found.broken_at is not None:
        say(f"broken at row {found.broken_at}: {found.why}")
        sys.exit(1)
    say(f"{found.rows} rows, whole; head {found.rows}:{found.head}")
    if not found.noted:
        say(
            "No head was noted beside it (a server of this version does that), so rows cut off at the end are not found.",
            err=True,
        )


@journal.command("export")
@click.option("--redacted", is_flag=True, help="Free text as hashes; such an export cannot be verified.")
@click.pass_context
def journal_export(context: click.Context, *, redacted: bool) -> None:
    """Print every row as a line of JSON."""
    from calltriage.cli import journal as history  # noqa: PLC0415

    anyio.run(partial(history.export, settings_of(context), hide=redacted))


@journal.command("replay")
@click.option("--into", type=click.Choice(["desk"]), required=True, help="What is written to.")
@click.option(
    "--from", "source", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data folder whose journal is read; the present one unless given.",
)  # fmt: skip
@click.pass_context
def journal_replay(context: click.Context, into: str, source: Path | None) -> None:  # noqa: ARG001  the one there is
    """Write again, on the desk of CALLTRIAGE_DATA_DIR, what the journal says was written.

    The desk must have no issues. Calls that it lacks come in without their words; import them first to have these. What
    cannot be written again is counted: others' changes and files whose bytes are not in the source folder.
    """
    from calltriage.cli import journal as history  # noqa: PLC0415

    settings = settings_of(context)
    done = anyio.run(history.replay_into_desk, settings, source or settings.data_dir)
    say(f"{done.done} writes carried out again.")
    for reason, count in sorted(done.left_out.items()):
        say(f"{count} left out: {reason}", err=True)


def main() -> None:
    """Run the command line; what an operator can mend ends with its message and status 1, without a traceback."""
    _make_streams_usable()
    logging.basicConfig(level=logging.WARNING, handlers=[Spoken()], force=True)
    try:
        sys.exit(cli.main(standalone_mode=False))
    except BaseException as error:  # noqa: BLE001  the process ends with it
        _leave(error)


def _make_streams_usable() -> None:
    """A stream that was closed becomes one that holds nothing; one in a small encoding shows the rest as escapes."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  Python's own way to say "closed"
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  open for as long as the process is
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(error: BaseException) -> NoReturn:
    """End the process: with a message for what is an operator's matter, with a traceback for what is ours."""
    status = _tell(first_of(error), whole=error)
    if status == INTERRUPTED:
        ignore_interrupts()
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads any more, or there is no room: let nothing be said about that at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status or 1
    raise SystemExit(status) from None


def _tell(error: BaseException, whole: BaseException) -> int:
    """Print what ended the process, and return its exit status. `whole` is the error with the groups around it."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        say(error.code, err=True)
    elif isinstance(error, click.ClickException):
        say_usage_error(error)
        return error.exit_code
    elif isinstance(error, click.Abort) and isinstance(error.__cause__, KeyboardInterrupt):
        say("Interrupted.", err=True)
        return INTERRUPTED
    elif (lines := _lines_of(error)) is None:
        say_crash(whole)
    else:
        for line in lines:
            say(line, err=True)
    return 1


def _lines_of(error: BaseException) -> list[str] | None:
    """What a person is told of an error, line by line; None for a fault of the program's own."""
    match error:
        case BrokenPipeError():
            return []
        case click.Abort():
            return ["Aborted!"]
        case ImportFileError() | SpecError():  # a line for each fault, none of them with a line's end in it
            return f"calltriage: {error}".split("\n")
        case CalltriageError():
            return [f"calltriage: {error}"]
        case OSError(strerror=str(what)):
            return [f"calltriage: {what}" + (f": {error.filename}" if error.filename else "")]
        case _:
            return None
