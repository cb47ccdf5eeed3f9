"""The command that serves the board for a person at this machine."""

from __future__ import annotations

import re

import anyio
import click

from calltriage.cli.options import announce, port_option, server_settings, wrong


def _question(_c: click.Context, _p: click.Parameter, value: str | None) -> str | None:
    if value is not None and re.fullmatch("[a-z2-7]{8}", value.lower()) is None:
        raise wrong(value, "must be the eight letters and digits that the agent was told")
    return value and value.lower()


@click.command()
@port_option(0)
@click.option(
    "--confirm", "question", metavar="ID", callback=_question, help="Begin with a removal that waits for a yes."
)
@click.pass_context
def board(context: click.Context, port: int, question: str | None) -> None:
    """Open a board of issues and calls in your browser.

    Serves it on this machine alone, with every toolset; CALLTRIAGE_EXCLUDE_TOOLS, _READ_ONLY and _CONFIRM hold here, too.
    Prints a link that signs you in once, and serves until Ctrl-C.

    An agent whose host cannot ask is refused a removal, and told an ID. With it you see what would be removed, and answer.
    """
    from calltriage.cli import servers  # noqa: PLC0415
    from calltriage.logs import configure_logging  # noqa: PLC0415

    settings = server_settings(context)
    configure_logging(settings.log_level)
    anyio.run(servers.serve_board, settings, port, announce("Board"), question)
