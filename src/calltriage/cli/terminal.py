"""What a person reads on a terminal. Everything that a command prints goes through here, and nothing in it hides or moves.

Names, quotes and arguments may hold control characters: they would colour, move or rewrite what stands on the terminal.
"""

from __future__ import annotations

import logging
import sys
import traceback

import click

from calltriage.leaves.gate import one_line

INTERRUPTED = 130
"""Exit status of a command that SIGINT (Ctrl-C) ended."""


def say(text: str, *, err: bool = False) -> None:
    """Print one line, on standard error with `err`; what is invisible in it is shown as an escape."""
    click.echo(one_line(text), err=err)


def ignore_interrupts() -> None:
    """Let no Ctrl-C change the status of an interrupted command while its interpreter ends."""
    import signal  # noqa: PLC0415  for an end that is not usual

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def show_cursor() -> None:
    """Make a terminal show its cursor again, which a progress bar hides. For a process that ends in the middle of one."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")
        sys.stderr.flush()


def shown(text: object) -> str:
    """A text as it stands in rich markup: visible, and no markup itself."""
    from rich.markup import escape  # noqa: PLC0415  for commands that show something

    return escape(one_line(str(text)))


def say_usage_error(error: click.ClickException) -> None:
    """What click says of a wrong command line, which repeats what was typed."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        for line in error.ctx.get_usage().split("\n"):
            say(line, err=True)
        say(f"Try '{error.ctx.command_path} --help' for help.", err=True)
        say("", err=True)
    typed = any("\n" in argument for argument in sys.argv)  # else a line's end is click's own, before a list of choices
    for line in [error.format_message()] if typed else error.format_message().split("\n"):
        say(f"Error: {line}" if not line.startswith("\t") else f"  {line.strip()}", err=True)


class Spoken(logging.Handler):
    """Shows what is logged by a command that serves nothing, as lines for a person."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


def say_crash(error: BaseException) -> None:
    """The traceback of an error of ours."""
    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        say(line, err=True)
