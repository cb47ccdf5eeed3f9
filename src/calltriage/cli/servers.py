"""Serve MCP over standard input and output or over HTTP, or the desk on a port, until a signal ends it."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import SecretStr

from calltriage.client.in_process import background
from calltriage.embedded import build_desk, give_sample
from calltriage.errors import SettingsError, StoreError, first_of
from calltriage.leaves.collecting import nothing_collected
from calltriage.leaves.host_headers import THIS_MACHINE, Doorkeeper, in_brackets
from calltriage.leaves.shutdown import Ending
from calltriage.opening import Opening
from calltriage.settings import Settings
from calltriage.wiring import open_server

if TYPE_CHECKING:
    import socket

    from calltriage.desk.app import Desk

EVERY_ADDRESS = ("0.0.0.0", "::", "::ffff:0.0.0.0")  # noqa: S104  named to be refused


@asynccontextmanager
async def ended_by_signals() -> AsyncGenerator[Ending]:
    """Around a server, from where it begins to make things until all of it is closed. After a signal the process ends here
    with status 0, so that no further signal meets a process that is half gone."""
    ending = Ending()
    async with background() as listening:
        await listening.start(ending.listen)
        yield ending
        if ending.asked:
            logging.shutdown()
            os._exit(0)  # a thread may still wait for a line of input that nobody will send


async def serve_stdio(settings: Settings, opening: Opening) -> None:
    """MCP over standard input and output, UTF-8 both ways, until the input ends or a signal comes (SIGINT, SIGTERM, SIGHUP).

    A signal cuts reads; a write that was begun is seen through and recorded, if that takes no longer than DRAIN_SECONDS.
    """
    with nothing_collected():
        from calltriage.server.transports import stdio  # noqa: PLC0415  brings the MCP SDK: most of the start
    async with (
        ended_by_signals() as ending,
        open_server(settings, over_stdio=True) as (server, *_),
    ):
        with anyio.CancelScope() as serving:
            ending.then(serving.cancel, stdio.DRAIN_SECONDS)
            if not ending.asked:
                await stdio.run_over_stdio(server, opening)


async def serve_http(settings: Settings, host: str, port: int, on_ready: Callable[[str, str], None]) -> None:
    """MCP over Streamable HTTP at `/mcp`, stateless, both protocol generations, until a signal ends it; the board for people
    at `/ui`. `on_ready` hears the server's address, and the board's with a code that signs one person in."""
    from calltriage.server.questions import QUESTIONS, Questions  # noqa: PLC0415
    from calltriage.server.transports.board_page import BoardPage  # noqa: PLC0415
    from calltriage.server.transports.http import build_http_app  # noqa: PLC0415
    from calltriage.serving import address_of, listen, serve_app  # noqa: PLC0415  brings uvicorn, not for stdio

    hosts = tuple(settings.http_allowed_hosts)
    with listen(host, port) as listening:
        public = settings.http_public_url or (f"https://{hosts[0]}" if hosts else address_of(listening))
        async with (
            ended_by_signals() as ending,
            open_server(settings, over_stdio=False, base_url=public.rstrip("/")) as (server, handover, is_ready),
        ):
            questions = Questions(settings.data_dir / QUESTIONS, handover.seals)
            page = BoardPage(handover.seals, settings.http_token, questions)
            app = build_http_app(
                server,
                host=host,
                token=settings.http_token,
                allowed_hosts=hosts,
                public_url=settings.http_public_url,
                handover=handover,
                page=page,
            )
            board = f"{public.rstrip('/')}/ui#{page.new_code()}"
            await serve_app(
                app,
                listening,
                lambda address: on_ready(f"{address}/mcp", board),
                on_stop=server.end_streams,
                ready=is_ready,
                ending=ending,
            )


async def serve_board(
    settings: Settings, port: int, on_ready: Callable[[str], None], question: str | None = None
) -> None:
    """The board for the person at this machine, with every tool that is not excluded. Nobody else gets in: the server's
    token is made for this process and told to nobody. It begins with a question that waits, if one is named."""
    at = f".{question}" if question else ""
    own = {
        "toolsets": ("all",),
        "http_token": SecretStr(secrets.token_urlsafe(32)),
        "http_public_url": None,
        "http_allowed_hosts": (),
    }
    await serve_http(settings.model_copy(update=own), "127.0.0.1", port, lambda _, board: on_ready(board + at))


def _door_of_desk(desk: Desk, settings: Settings, host: str, bound: tuple[Any, ...]) -> Doorkeeper:
    """The desk behind the check of Host and Origin: this machine, the address it is bound to, and the names that are set."""
    own = [f"http://{in_brackets(name.partition('%')[0])}:{bound[1]}" for name in (host, bound[0]) if name]
    named = [*settings.desk_allowed_hosts, *([settings.desk_public_url] if settings.desk_public_url else [])]
    try:
        advice = "The operator can add it to CALLTRIAGE_DESK_ALLOWED_HOSTS."
        # The server dates answers itself: the desk's own date would be a second one.
        return Doorkeeper(desk.app, [*THIS_MACHINE, *own, *named], advice)
    except ValueError as error:
        raise SettingsError(f"CALLTRIAGE_DESK_ALLOWED_HOSTS and CALLTRIAGE_DESK_PUBLIC_URL: each {error}.") from None


async def serve_desk(
    settings: Settings, host: str, port: int, on_ready: Callable[[str], None], inherited: int | None = None
) -> None:
    """The desk's HTTP contracts on a port, until a signal ends it.

    The links that it hands out begin with the public URL; without one, with the address that it listens on. `inherited` is
    the number of a listening socket that the first of several processes handed over.
    """
    from calltriage.cli import workers  # noqa: PLC0415
    from calltriage.serving import address_of, serve_app  # noqa: PLC0415  brings uvicorn

    known_as = settings.desk_public_url
    with _desk_socket(settings, host, port) if inherited is None else workers.inherited(inherited) as listening:
        desk = build_desk(settings, known_as or address_of(listening), SecretStr(secrets.token_urlsafe(32)))
        door = _door_of_desk(desk, settings, host, listening.getsockname())
        async with ended_by_signals() as ending:
            try:
                async with background() as tasks:
                    if inherited is not None:
                        tasks.start_soon(workers.end_with_first, ending)
                    await _start_desk(desk, settings)
                    tasks.start_soon(desk.files.keep_swept)
                    await serve_app(
                        door, listening, lambda address: on_ready(_told(address, known_as)), ready=desk.is_ready,
                        ending=ending,
                    )  # fmt: skip
            finally:
                with anyio.CancelScope(shield=True):
                    await desk.close()


def _desk_socket(settings: Settings, host: str, port: int) -> socket.socket:
    """What the desk listens on. Raises SettingsError for an address that no link could begin with."""
    from calltriage.serving import listen  # noqa: PLC0415

    listening = listen(host, port)
    if settings.desk_public_url is None and listening.getsockname()[0] in EVERY_ADDRESS:  # many names: 0, 0.0, ::0
        listening.close()
        raise SettingsError(
            f"{host} is every address of this machine and none that a client could be sent to. Say where clients reach "
            "the desk with --public-url or CALLTRIAGE_DESK_PUBLIC_URL, or choose one address with --host."
        )
    return listening


def _told(address: str, known_as: str | None) -> str:
    return f"{address} (known as {known_as})" if known_as else address


async def serve_desk_by_several(
    settings: Settings, host: str, port: int, on_ready: Callable[[str], None], count: int
) -> int:
    """The desk on one port by so many processes, until a signal ends them all. The status of one that could not start, or 0.

    Each of them is this command again, with the socket's number behind it.
    """
    from calltriage.cli.workers import FirstStartFailedError, Workers  # noqa: PLC0415
    from calltriage.serving import GRACE_SECONDS, address_of  # noqa: PLC0415

    command = [sys.executable, "-m", "calltriage", *sys.argv[1:], "--inherited"]
    with _desk_socket(settings, host, port) as listening:
        address = _told(address_of(listening), settings.desk_public_url)
        async with ended_by_signals() as ending:
            processes = Workers(command, listening, lambda: on_ready(f"{address} by {count} processes"))
            try:
                await processes.serve(count, ending, 3 * GRACE_SECONDS)
            except BaseException as error:
                first = first_of(error)
                if not isinstance(first, FirstStartFailedError):
                    raise
                return first.status
    return 0


async def _start_desk(desk: Desk, settings: Settings) -> None:
    """Open the desk, let it know its own key, and load the sample calls where they are asked for."""
    from calltriage.cli.own_key import OWN_KEY_FILE, desk_key, settle_own_key  # noqa: PLC0415  brings the database library

    await desk.warm_up()
    await settle_own_key(settings, desk.tenants)
    if not await desk.tenants.keep_own_key(desk_key(settings).get_secret_value()):
        raise StoreError(
            "The desk's own key was revoked or has expired. Set another CALLTRIAGE_DESK_API_KEY or, if unset, "
            f"remove {settings.data_dir / OWN_KEY_FILE}: the next start makes another."
        )
    await give_sample(desk, settings)
