"""The embedded desk: built on the data folder, and reached inside the process by a transport."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import TaskGroup
from pydantic import SecretStr

from calltriage.client.in_process import InProcess
from calltriage.errors import SettingsError, StoreError
from calltriage.settings import Settings

if TYPE_CHECKING:
    from calltriage.desk.app import Desk
    from calltriage.desk.bytes.blobs import Blobs

DESK_IN_PROCESS = "http://desk.calltriage.invalid"
"""Where the embedded desk is when it is reached inside the process; no name server knows the name."""


def build_desk(settings: Settings, public_url: str, key: SecretStr) -> Desk:
    """The desk on the data folder. It imports its database library now and opens the folder at the first request."""
    from calltriage.desk.app import Desk  # noqa: PLC0415  half a second that a server on the vendors never needs

    limit, blobs = settings.max_file_mib * 2**20, object_store(settings)
    return Desk(settings.data_dir, key, public_url, blobs=blobs, limit=limit, database_url=settings.database_url)


def object_store(settings: Settings) -> Blobs | None:
    """Where the desk keeps file bytes instead of its folder. Raises SettingsError for an address that cannot be one."""
    if settings.blobs_url is None:
        return None
    from calltriage.desk.bytes.object_store import open_objects  # noqa: PLC0415

    return open_objects(settings.blobs_url)


async def give_sample(desk: Desk, settings: Settings) -> None:
    """Load the sample calls where the settings ask for them and the desk has no call. A desk that cannot be used says so at
    the request that needs it."""
    if not (settings.sample and settings.triage_on_desk):
        return
    from calltriage.desk.importing.sample import load_sample_if_empty  # noqa: PLC0415

    try:
        await load_sample_if_empty(desk)
    except StoreError as error:
        logging.getLogger(__name__).warning("the sample calls could not be loaded: %s", error)


@dataclass
class DeskInside(httpx2.AsyncBaseTransport):
    """A transport to a desk in this process, which is built at the first request."""

    settings: Settings
    key: SecretStr
    tasks: TaskGroup | None = None
    """What runs behind the requests; set before the first of them."""
    _desk: Desk | None = None
    _inner: InProcess | None = None
    _building: anyio.Lock = field(default_factory=anyio.Lock)

    async def _opened(self) -> InProcess:
        async with self._building:
            if self.tasks is None:
                raise httpx2.ConnectError("the desk in this process is closed")
            if self._inner is None:
                self._desk = await anyio.to_thread.run_sync(build_desk, self.settings, DESK_IN_PROCESS, self.key)
                await give_sample(self._desk, self.settings)
                self._inner = InProcess(self._desk, self.tasks)
        return self._inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await (self._inner or await self._opened()).handle_async_request(request)

    async def warm_up(self) -> None:
        """Build the desk, open its folder ahead of the first request and keep house from now on; a failure is left for
        that request to tell."""
        await self._opened()
        if self._desk is not None and self.tasks is not None:
            try:
                await self._desk.warm_up()
            except StoreError as error:
                logging.getLogger(__name__).warning("%s", error)
            except Exception as error:  # noqa: BLE001  whatever it is, it must not end the server
                logging.getLogger(__name__).warning("the desk could not be opened: %s", type(error).__name__)
            self.tasks.start_soon(self._desk.files.keep_swept)

    async def is_ready(self) -> bool:
        """Whether the desk's store can be used at this moment; its first look opens it."""
        await self._opened()
        return self._desk is not None and await self._desk.is_ready()

    async def opened(self) -> Desk:
        """The desk itself, for its operator. Raises SettingsError where it cannot be built."""
        await self._opened()
        if self._desk is None:
            raise SettingsError("The desk in this process is closed.")
        return self._desk

    async def aclose(self) -> None:
        """Called by each HTTP client on this transport when it closes; the first call closes the desk."""
        desk, self._desk, self._inner = self._desk, None, None
        if desk is not None:
            with anyio.CancelScope(shield=True):
                await desk.close()


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncGenerator[Desk]:
    """The desk on the data folder, for an operator's own work on it; nobody else has its key."""
    desk = build_desk(settings, DESK_IN_PROCESS, SecretStr(secrets.token_urlsafe(32)))
    try:
        yield desk
    finally:
        with anyio.CancelScope(shield=True):
            await desk.close()
