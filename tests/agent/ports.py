"""ASGI apps on a port of this machine."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn

from calltriage.serving import Server, address_of


@asynccontextmanager
async def served(app: Any, listening: socket.socket) -> AsyncGenerator[str]:
    """Serve an app on a listening socket while the block runs; its address."""
    ready = anyio.Event()
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    server = Server(config, ready.set, lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listening])
        await ready.wait()
        try:
            yield address_of(listening)
        finally:
            server.end()
