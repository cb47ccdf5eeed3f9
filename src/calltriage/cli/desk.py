"""`calltriage desk`: serve the embedded desk, bring calls in, back it up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import click

from calltriage.cli import deletion, tenants
from calltriage.cli.options import (
    FORMAT,
    HOST,
    ORGANISATION,
    SKIP_BAD,
    TIME_ZONE,
    announce,
    begin,
    port_option,
    server_settings,
    settings_of,
    wrong,
)
from calltriage.cli.terminal import say
from calltriage.settings import public_url


@click.group()
@click.pass_context
def desk(context: click.Context) -> None:
    """The embedded desk: serve its HTTP contracts, bring in calls, keep its organisations, users and keys."""
    begin(context, "serve")


for _command in (*tenants.GROUPS, deletion.delete):
    desk.add_command(_command)


def _public_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return public_url(value)
    except ValueError as error:
        raise wrong(value, str(error)) from None


@desk.command("serve")
@HOST
@port_option(8765)
@click.option(
    "--public-url",
    "known_as",
    callback=_public_url,
    help="Where clients reach the desk, for the links it hands out; needed with --host 0.0.0.0.  "
    "[default: CALLTRIAGE_DESK_PUBLIC_URL, else the address it listens on]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that serve the port, one for each core. Bounds on connections hold in each, and each opens up to 16 "
    "connections to PostgreSQL.",
)
@click.option("--inherited", type=int, hidden=True, help="Number of the socket that --workers hands over.")
@click.pass_context
def desk_serve(
    context: click.Context, *, host: str, port: int, known_as: str | None, workers: int, inherited: int | None
) -> None:
    """Serve the desk's HTTP contracts.

    Triage is at /v1/… with the key of `calltriage desk keys show` in the Authorization header. Attachments are at
    /attachments/… with a token from /oauth/token, where the client id is `desk` and the secret is the same key.
    """
    from calltriage.cli import servers  # noqa: PLC0415
    from calltriage.cli.workers import say_ready  # noqa: PLC0415
    from calltriage.logs import configure_logging  # noqa: PLC0415

    settings = server_settings(context)
    configure_logging(settings.log_level)
    if known_as is not None:
        settings = settings.model_copy(update={"desk_public_url": known_as})
    if inherited is not None:
        anyio.run(servers.serve_desk, settings, host, port, say_ready, inherited)
    elif workers == 1:
        anyio.run(servers.serve_desk, settings, host, port, announce("Desk"))
    elif sys.platform == "win32":
        raise click.UsageError("--workers needs a system on which a process can hand a socket on: Linux or macOS.")
    else:
        sys.exit(anyio.run(servers.serve_desk_by_several, settings, host, port, announce("Desk"), workers))


@desk.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def desk_backup(context: click.Context, file: Path) -> None:
    """Write the whole desk to FILE: issues, calls, the bytes of files, its key.

    Others may go on working; the backup shows one moment. It holds the desk's secrets, and only you can read it. A desk on
    PostgreSQL is backed up with pg_dump. Bytes that an object store keeps (CALLTRIAGE_BLOBS_URL) stay there: copy its bucket
    afterwards.
    """
    from calltriage.cli import backup  # noqa: PLC0415

    settings = settings_of(context)
    count = backup.back_up(settings, file)
    say(f"Wrote {file}: the desk with {count} files.")
    if settings.blobs_url is not None:
        say(
            "The bytes of its files are not in it: they are in the object store of CALLTRIAGE_BLOBS_URL. Copy that bucket "
            "now, with the store's own tools; to restore, put the copy back and set CALLTRIAGE_BLOBS_URL to it.",
            err=True,
        )


@desk.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace the desk that is there; its database is kept beside it.")
@click.pass_context
def desk_restore(context: click.Context, file: Path, *, overwrite: bool) -> None:
    """Make the desk in FILE, written by `desk backup`, the one in the data folder.

    Everything is checked before anything changes. Stop the servers that use the folder first.
    """
    from calltriage.cli import backup  # noqa: PLC0415

    settings = settings_of(context)
    count = backup.restore(settings, file, overwrite=overwrite)
    say(f"Restored the desk with {count} files to {settings.data_dir}.")


FILES = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True, path_type=Path))


@desk.command("sample")
@ORGANISATION
@click.pass_context
def desk_sample(context: click.Context, organisation: str | None) -> None:
    """Load three invented calls into the desk, to try things on. Loading them again changes nothing.

    CALLTRIAGE_SAMPLE=1 loads them when a server starts on a desk without calls.
    """
    from calltriage.cli import importing  # noqa: PLC0415

    importing.load_sample_calls(settings_of(context), organisation)


@desk.command("import")
@FILES
@click.option("--check", is_flag=True, help="Check everything and load nothing; exit status 1 if something is bad.")
@SKIP_BAD
@FORMAT
@TIME_ZONE
@ORGANISATION
@click.pass_context
def desk_import(
    context: click.Context, files: tuple[Path, ...], *, check: bool, organisation: str | None, **wishes: Any
) -> None:
    """Load calls, SMS conversations and files into the desk from each FILE, from the files in a folder, or from standard
    input with -.

    Calls are read as Bland, Vapi, Retell, ElevenLabs, Twilio Conversational Intelligence, Deepgram, AssemblyAI and Whisper
    write them in JSON (one, a list, or one a line), as chat turns with `role` and `content`, as WebVTT or SRT, as CSV with a
    header that names call, time, speaker and text, and as lines of our own; the content tells which. A file may be packed
    with gzip. A call without an id is named by its file, one without a time dated by it.

    A line of our own is a JSON object. `kind` says what it is; without one it is a call. `created_at` is ISO 8601, or a
    number of seconds or milliseconds since 1970.

    A call has `call_id`, `created_at` and `turns`, each with `speaker` (agent, caller, …) and `text`; `summary`, `ended_at`
    and anything else are optional and kept.

    \b
      {"call_id": "c-1", "created_at": "2026-05-01T10:00:00Z",
       "turns": [{"speaker": "agent", "text": "Hello"}, {"speaker": "caller", "text": "Hi"}]}

    An SMS conversation has `conversation_id`, `created_at` and `messages`, each with `sender` (agent or user) and `text`;
    `user_number`, `agent_number`, `is_active`, `summary` and anything else are optional and kept.

    \b
      {"kind": "sms_conversation", "conversation_id": "s-1", "created_at": "2026-05-01T10:00:00Z",
       "messages": [{"sender": "user", "text": "Is it open?"}]}

    A file has `path`, below the folder of FILE, or `base64` and a `name`; `name`, `type`, `metadata` (flat), `file_id` and
    `recording_of`, the call whose audio it is, are optional.

    \b
      {"kind": "file", "path": "reports/may.pdf", "type": "application/pdf"}
      {"kind": "file", "path": "audio/c-1.wav", "recording_of": "c-1"}

    (The examples are broken in two to be read here; in FILE each is one line.)

    Every line is checked first: the bad ones are reported with their numbers, and then nothing is loaded. Loading goes in
    steps, so that others can use the desk meanwhile. Loading the same file again changes nothing; after a break it
    completes what is missing. A call or conversation that changed is replaced, a file never is.
    """
    from calltriage.cli import importing  # noqa: PLC0415

    settings = settings_of(context)
    if not check:
        importing.import_paths(settings, files, importing.Wishes(**wishes), organisation)
    elif not importing.check_only(settings, files, importing.Wishes(**wishes)):
        sys.exit(1)
