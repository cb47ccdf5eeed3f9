"""`calltriage pipeline watch`: examine calls as they end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import click

from calltriage.cli.options import HOST, announce, port_option, server_settings
from calltriage.cli.pipelines.files import FILE, log_items
from calltriage.client.in_process import background
from calltriage.leaves.host_headers import THIS_MACHINE, Doorkeeper, in_brackets
from calltriage.pipelines.pipeline import Pipeline
from calltriage.settings import Settings


@click.command("watch")
@FILE
@HOST
@port_option(8770)
@click.option("--allowed-host", "names", multiple=True, help="A name that webhooks are sent to; may be given again.")
@click.pass_context
def watch(context: click.Context, file: Path, host: str, port: int, names: tuple[str, ...]) -> None:
    """Examine calls as they end, until a signal ends it.

    Looks at the list of calls, and takes signed webhooks at /webhook. The same address has /healthz, /readyz and /metrics.
    What happened since an earlier watch of this file is examined first. Log lines are JSON on standard error: one at each
    call's end, unless CALLTRIAGE_LOG_LEVEL says otherwise.
    """
    settings, loaded = server_settings(context), Pipeline.load(file)
    log_items(settings)
    anyio.run(partial(_serve, settings, loaded, (host, port), names, announce("Watching")))


async def _serve(
    settings: Settings, loaded: Pipeline, at: tuple[str, int], names: tuple[str, ...], on_ready: Callable[[str], None]
) -> None:
    from calltriage.cli.servers import ended_by_signals  # noqa: PLC0415
    from calltriage.serving import listen, serve_app  # noqa: PLC0415  brings uvicorn
    from calltriage.wiring import open_client  # noqa: PLC0415

    with listen(*at) as listening:
        bound = listening.getsockname()
        own = [f"http://{in_brackets(name.partition('%')[0])}:{bound[1]}" for name in (at[0], bound[0]) if name]
        async with ended_by_signals() as ending, open_client(settings) as client, loaded.watching(client) as watching:
            door = Doorkeeper(watching.app(), [*THIS_MACHINE, *own, *names], "Name it with --allowed-host.")
            async with background() as tasks:
                tasks.start_soon(watching.carry_out)
                ready = watching.work.ledger.database.is_usable
                await serve_app(door, listening, on_ready, ready=ready, ending=ending)
