"""The command that serves the board for a person at this machine."""

from __future__ import annotations

import anyio
import click

from calltriage.cli.options import announce, port_option, server_settings


@click.command()
@port_option(0)
@click.pass_context
def board(context: click.Context, port: int) -> None:
    """Open a board of issues and calls in your browser.

    Serves it on this machine alone, with every toolset; CALLTRIAGE_EXCLUDE_TOOLS, _READ_ONLY and _CONFIRM hold here, too.
    Prints a link that signs you in once, and serves until Ctrl-C.
    """
    from calltriage.cli import servers  # noqa: PLC0415
    from calltriage.logs import configure_logging  # noqa: PLC0415

    settings = server_settings(context)
    configure_logging(settings.log_level)
    anyio.run(servers.serve_board, settings, port, announce("Board"))
