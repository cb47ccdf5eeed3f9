"""The one place that knows every part: settings in, a wired server, client or desk out."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import secrets
import stat
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import TaskGroup
from pydantic import SecretStr

from calltriage.client import client as over_http
from calltriage.client.assertions import SigningKey, read_signing_key
from calltriage.client.client import Client
from calltriage.client.dialects import ApiKey, ClientCredentials, Endpoint, check_base_url, check_key
from calltriage.client.in_process import InProcess, background
from calltriage.client.limits import Breaker, Rate
from calltriage.client.network import Network
from calltriage.client.retries import RetryPolicy
from calltriage.desk import CLIENT_ID
from calltriage.errors import SettingsError, StoreError
from calltriage.leaves.ending import Ending
from calltriage.leaves.hosts import THIS_MACHINE, Doorkeeper, in_brackets
from calltriage.leaves.seals import Seals
from calltriage.operations import SCOPES
from calltriage.operations.attachments import DeleteAttachment
from calltriage.operations.base import Api, Tool
from calltriage.settings import SHORTEST_KEY, TALKDESK_HOSTS, Settings, load_settings

if TYPE_CHECKING:
    from datetime import timedelta

    from filelock import BaseFileLock

    from calltriage.desk.app import Desk
    from calltriage.desk.bytes.blobs import Blobs
    from calltriage.desk.database.backup import Others
    from calltriage.desk.operating.tenants import End, NewKey, Tenants
    from calltriage.journal.heads import HeadNote
    from calltriage.journal.journal import Journal
    from calltriage.server.files.handover import Handover
    from calltriage.server.files.local import FileRoots

T = TypeVar("T")

DESK_IN_PROCESS = "http://desk.calltriage.invalid"
"""Where the embedded desk is when it is reached inside the process; no name server knows the name."""

OWN_KEY_FILE = "desk.key"
NEXT_KEY_FILE = "desk.key.next"
"""Holds the key that a rotation is about to make the desk's own."""

EVERY_ADDRESS = ("0.0.0.0", "::", "::ffff:0.0.0.0")  # noqa: S104  named to be refused


@cache
def installed_version() -> str:
    return version("calltriage")


def build_desk(settings: Settings, public_url: str, key: SecretStr) -> Desk:
    """The desk on the data folder. It imports its database library now and opens the folder at the first request."""
    from calltriage.desk.app import Desk  # noqa: PLC0415  half a second that a server on the vendors never needs

    limit, blobs = settings.max_file_mib * 2**20, _object_store(settings)
    return Desk(settings.data_dir, key, public_url, blobs=blobs, limit=limit, database_url=settings.database_url)


def _object_store(settings: Settings) -> Blobs | None:
    """Where the desk keeps file bytes instead of its folder. Raises SettingsError for an address that cannot be one."""
    if settings.blobs_url is None:
        return None
    from calltriage.desk.bytes.objects import open_objects  # noqa: PLC0415

    return open_objects(settings.blobs_url)


def desk_key(settings: Settings) -> SecretStr:
    """The key that `desk serve` accepts: the configured one, or one made at the first start and kept for its owner."""
    return settings.desk_api_key or _kept_secret(
        _made_folder(settings),
        OWN_KEY_FILE,
        "check that the folder belongs to this user, or set CALLTRIAGE_DESK_API_KEY",
    )


def sealing_key(settings: Settings) -> SecretStr:
    """The secret that seals handles and the state of questions: the configured one, or one made in the data folder, so that
    all servers on the folder share it. Nobody else ever has it; least of all a holder of the HTTP token."""
    _made_folder(settings)
    return _sealing_key(settings)


def _sealing_key(settings: Settings) -> SecretStr:
    return settings.sealing_key or _kept_secret(
        settings.data_dir, "sealing.key", "check that the folder belongs to this user, or set CALLTRIAGE_SEALING_KEY"
    )


def _made_folder(settings: Settings) -> Path:
    """The data folder, made if it is not there. For a start, never for a server that is up: a folder that was moved away
    under it could not be put back into the place of a new one."""
    from calltriage.storage.folders import make_folder  # noqa: PLC0415

    make_folder(settings.data_dir)
    return settings.data_dir


def _kept_secret(folder: Path, name: str, advice: str) -> SecretStr:
    """A secret in a file of the data folder, made when it is first asked for. Raises StoreError with the advice; for a
    missing folder, too."""
    file = folder / name
    try:
        if not file.exists():
            _make_key(file)
        key = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StoreError(f"The key in {folder} cannot be read or made ({type(error).__name__}): {advice}.") from None
    if len(key) < SHORTEST_KEY:
        raise StoreError(
            f"The key in {file} is empty or too short. Remove the file: another key is made at the next start."
        )
    return SecretStr(key)


def _make_key(file: Path) -> None:
    """Write a new key unless another process is first."""
    with _key_lock(file):
        if not file.exists():
            _write_key(file, secrets.token_urlsafe(32))


def _key_lock(file: Path) -> BaseFileLock:
    """Held while a key's file is made or replaced. Not every file system has links, which would do as well."""
    from calltriage.storage.folders import file_lock  # noqa: PLC0415

    return file_lock(file.with_name(f"{file.name}.lock"), 30)


def _write_key(file: Path, key: str) -> None:
    """Put a key into a file, for its owner alone. Nobody ever reads half of one: it is renamed into its place."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(handle, "w") as out:
            out.write(key)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


async def _give_sample(desk: Desk, settings: Settings) -> None:
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
                await _give_sample(self._desk, self.settings)
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


def _triage(settings: Settings, desk: DeskInside) -> Endpoint:
    if settings.bland_api_key is None:
        return Endpoint(DESK_IN_PROCESS, ApiKey(desk.key), desk, in_flight=16)
    # 429: from 1 s doubling to 30 s; 4 requests in flight (bland-triage, section 2; our choice).
    return Endpoint(
        settings.bland_base_url,
        ApiKey(settings.bland_api_key, settings.bland_auth_scheme, _newer(settings, _checked_key)),
        retry=RetryPolicy(first_s=1.0, cap_s=30.0),
        rate=Rate(settings.vendor_rate, settings.vendor_burst),
        breaker=Breaker(),
    )


def _attachments(settings: Settings, desk: DeskInside, scopes: tuple[str, ...]) -> Endpoint:
    proof = _proof(settings)
    if settings.talkdesk_client_id is None or proof is None:
        inside = ClientCredentials(f"{DESK_IN_PROCESS}/oauth/token", CLIENT_ID, desk.key, scopes)
        return Endpoint(DESK_IN_PROCESS, inside, desk, in_flight=16)
    gateway, identity = TALKDESK_HOSTS[settings.talkdesk_region]
    token_url = settings.talkdesk_token_url or f"https://{settings.talkdesk_account}.{identity}/oauth/token"
    check_base_url(token_url)
    newer = _newer(settings, _proof)
    credentials = ClientCredentials(token_url, settings.talkdesk_client_id, proof, scopes, newer=newer)
    # 5 calls in flight per account (talkdesk-attachments, section 10; our choice).
    return Endpoint(
        settings.talkdesk_base_url or gateway,
        credentials,
        in_flight=5,
        rate=Rate(settings.vendor_rate, settings.vendor_burst),
        breaker=Breaker(),
    )


def _newer(settings: Settings, take: Callable[[Settings], T | None]) -> Callable[[], T | None]:
    """Reads a credential again from its file; None when nothing changed there. It is taken only while the settings
    send it to the same place."""
    before = settings.model_dump()

    def read() -> T | None:
        nonlocal before
        try:
            now = settings.read_again()
            if now is None or now.model_dump() == before or _places(now) != _places(settings):
                return None
            taken, before = take(now), now.model_dump()
            return taken
        except SettingsError as error:
            logging.getLogger(__name__).warning("the settings could not be read again: %s", error)
        return None

    return read


def _places(settings: Settings) -> tuple[str | None, ...]:
    """What says where credentials are sent, and for whom."""
    return (
        settings.bland_base_url,
        settings.talkdesk_account,
        settings.talkdesk_client_id,
        settings.talkdesk_region,
        settings.talkdesk_base_url,
        settings.talkdesk_token_url,
    )


def _checked_key(settings: Settings) -> SecretStr | None:
    return None if settings.bland_api_key is None else check_key(settings.bland_api_key)


def _proof(settings: Settings) -> SecretStr | SigningKey | None:
    """What the client shows at the token endpoint: its secret, or signatures with its key."""
    if settings.talkdesk_private_key is None or settings.talkdesk_key_id is None:
        return settings.talkdesk_client_secret
    return read_signing_key(settings.talkdesk_key_id, settings.talkdesk_private_key.get_secret_value())


def offered_tools(settings: Settings) -> tuple[type[Tool], ...]:
    """What of all tools the operator's selection offers. Raises SettingsError for an unknown name."""
    from calltriage.server.toolsets import select  # noqa: PLC0415  brings the MCP SDK

    return select(
        settings.toolsets,
        settings.exclude_tools,
        read_only=settings.read_only,
        may_remove=settings.confirm != "deny",
    )


def _scopes(tools: Sequence[type[Tool]] | None) -> tuple[str, ...]:
    """For a server the least that will do, to delete only where the tool for it is offered (talkdesk-attachments, section
    3.2); for a program without tools none by name, which means all that its registration has."""
    if tools is None:
        return ()
    return tuple(scope for scope in SCOPES if scope != DeleteAttachment.scope or DeleteAttachment in tools)


def build_journal(settings: Settings) -> Journal:
    """The journal in the data folder; its file is opened at the first write.

    Its records belong to a place and an account, never to a secret, so that they stand when a credential is changed. A
    Bland account is known by nothing but its keys: there the data folder and the base URL say whose records they are.
    """
    from calltriage.journal.journal import SHARED_TOKEN, Journal  # noqa: PLC0415

    token = settings.http_token
    return Journal(
        settings.data_dir,
        _organisation(settings),
        keep_s=settings.idempotency_hours * 3600,
        note=head_note(settings.data_dir),
        # Earlier versions took the header that brought the token for the caller, and credentials for the organisation.
        former={} if token is None else {SHARED_TOKEN: f"Bearer {token.get_secret_value()}"},
        former_organisation=_former_organisation(settings),
        former_others=(_former_organisation(Settings.model_construct(bland_base_url=settings.bland_base_url)),),
    )


def _organisation(settings: Settings) -> str:
    """Where writes go, and for which account."""
    triage = "the desk" if settings.triage_on_desk else settings.bland_base_url
    attachments = [
        settings.talkdesk_base_url or TALKDESK_HOSTS[settings.talkdesk_region][0],
        settings.talkdesk_token_url or settings.talkdesk_account or "",
        settings.talkdesk_client_id or "",
    ]
    return "\n".join([triage, *(["the desk"] if settings.attachments_on_desk else attachments)])


def _former_organisation(settings: Settings) -> str:
    secrets_used = (settings.bland_api_key, settings.talkdesk_client_secret)
    told = [settings.bland_base_url, settings.talkdesk_client_id or ""]
    told += ["" if secret is None else secret.get_secret_value() for secret in secrets_used]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def head_note(folder: Path) -> HeadNote:
    """Where the head of a folder's journal is noted, sealed with a secret of the folder that is made at the first note."""
    from calltriage.journal import heads  # noqa: PLC0415

    advice = "check that the folder belongs to this user"
    key = cache(lambda: _kept_secret(folder, heads.KEY, advice).get_secret_value().encode())
    return heads.HeadNote(folder, key)


@asynccontextmanager
async def open_wired_client(
    settings: Settings, tools: Sequence[type[Tool]] | None = None
) -> AsyncGenerator[tuple[Client, DeskInside, Journal]]:
    """A client on the vendors whose credentials are set, and on the embedded desk for the rest. `tools` are those that it
    is for, if it is for tools.

    The desk's in-process key is made for this process and known to nobody else.
    """
    desk = DeskInside(settings, SecretStr(secrets.token_urlsafe(32)))
    endpoints = {Api.TRIAGE: _triage(settings, desk), Api.ATTACHMENTS: _attachments(settings, desk, _scopes(tools))}
    journal = build_journal(settings)
    network = Network(None if settings.proxy is None else settings.proxy.get_secret_value())
    try:
        async with (
            over_http.open_client(endpoints, deadline_s=settings.deadline_s, ledger=journal, network=network) as client,
            background() as desk.tasks,
        ):
            yield client, desk, journal
    finally:
        with anyio.CancelScope(shield=True):
            await journal.close()


@asynccontextmanager
async def open_client(settings: Settings | None = None) -> AsyncGenerator[Client]:
    """A client without MCP, on whatever the settings say; they are read from the environment unless given."""
    async with open_wired_client(settings or load_settings()) as (client, _, _):
        yield client


def _file_roots(settings: Settings, *, over_stdio: bool) -> FileRoots:
    """Files that tools may read and make: over stdio below the operator's folders, or else below the working folder and
    those that the host declares."""
    from calltriage.server.files.local import FileRoots, without_homes  # noqa: PLC0415  brings the MCP SDK

    closed = FileRoots(
        private=(settings.data_dir,), limit=settings.max_file_mib * 2**20, writable=not settings.read_only
    )
    if not over_stdio:  # whoever asks sits elsewhere: these would be the server's files, not theirs
        return closed
    if settings.allowed_roots is not None:
        return replace(closed, roots=settings.allowed_roots)
    try:
        return replace(closed, roots=without_homes([Path.cwd()]), asks=True)
    except OSError:  # a working folder that is gone
        return replace(closed, asks=True)


def _handover(settings: Settings, client: Client, seals: Seals, base_url: str) -> Handover:
    """Files to and from remote clients."""
    from calltriage.server.files.handover import Handover  # noqa: PLC0415

    _made_folder(settings)
    seals.secret()  # a folder without room for one ends the start, not the first call
    return Handover(base_url, settings.data_dir / "uploads", seals, settings.max_file_mib * 2**20, client)


@contextmanager
def _nothing_collected() -> Generator[None]:
    """Around imports: what they make stays for good, and looking through it for garbage again and again would cost a tenth
    of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@asynccontextmanager
async def open_server(settings: Settings, *, over_stdio: bool, base_url: str = "") -> AsyncGenerator[Any]:
    """The MCP server, wired; its handover where it has an HTTP side, at `base_url`; whether its stores can be used and the
    APIs answered last. The desk is warmed up once a client
    has listed the tools."""
    with _nothing_collected():
        from calltriage.server.app import build_server  # noqa: PLC0415

        tools = offered_tools(settings)
    needs_desk = settings.triage_on_desk or settings.attachments_on_desk
    if needs_desk:
        _object_store(settings)  # a wrong address ends the start, not the first call
    async with AsyncExitStack() as stack:
        client, desk, journal = await stack.enter_async_context(open_wired_client(settings, tools))
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        listed = anyio.Event()
        group.start_soon(_warm_up, desk if needs_desk else None, journal, listed)
        seals = Seals(cache(lambda: _sealing_key(settings).get_secret_value().encode()))
        handover = None if over_stdio else _handover(settings, client, seals, base_url)
        if handover is not None:
            group.start_soon(handover.keep_swept)
        server = build_server(
            client,
            version=installed_version(),
            tools=tools,
            excluded=settings.exclude_tools,
            confirm=settings.confirm,
            handover=handover,
            seals=seals,
            files=_file_roots(settings, over_stdio=over_stdio),
            journal=journal,
            writes_per_minute=settings.writes_per_minute,
            duplex=over_stdio,
            on_listed=listed.set,
        )

        async def is_ready() -> bool:
            stores = (not needs_desk or await desk.is_ready()) and await journal.database.is_usable()
            return stores and client.last_answers.are_good

        yield server, handover, is_ready


async def _warm_up(desk: DeskInside | None, journal: Journal, listed: anyio.Event) -> None:
    """Open desk and journal once the client has its list: a moment later, so that the import does not compete with the
    answer."""
    await listed.wait()
    await anyio.sleep(0.05)
    if desk is not None:
        await desk.warm_up()
    try:
        await journal.database.open()
    except StoreError as error:
        logging.getLogger(__name__).warning("%s", error)


@asynccontextmanager
async def _ended_by_signals() -> AsyncGenerator[Ending]:
    """Around a server, from where it begins to make things until all of it is closed. After a signal the process ends here
    with status 0, so that no further signal meets a process that is half gone."""
    ending = Ending()
    async with background() as listening:
        await listening.start(ending.listen)
        yield ending
        if ending.asked:
            logging.shutdown()
            os._exit(0)  # a thread may still wait for a line of input that nobody will send


async def serve_stdio(settings: Settings) -> None:
    """MCP over standard input and output, UTF-8 both ways, until the input ends or a signal comes (SIGINT, SIGTERM).

    A signal cuts reads; a write that was begun is seen through and recorded, if that takes no longer than DRAIN_SECONDS.
    """
    with _nothing_collected():
        from calltriage.server.transports import stdio  # noqa: PLC0415  brings the MCP SDK: most of the start
    async with _ended_by_signals() as ending, open_server(settings, over_stdio=True) as (server, *_):
        with anyio.CancelScope() as serving:
            ending.then(serving.cancel, stdio.DRAIN_SECONDS)
            if not ending.asked:
                await stdio.run_over_stdio(server)


async def serve_http(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """MCP over Streamable HTTP at `/mcp`, stateless, both protocol generations, until a signal ends it."""
    from calltriage.server.transports.http import build_http_app  # noqa: PLC0415
    from calltriage.serving import address_of, listen, serve_app  # noqa: PLC0415  brings uvicorn, not for stdio

    hosts = tuple(settings.http_allowed_hosts)
    with listen(host, port) as listening:
        public = settings.http_public_url or (f"https://{hosts[0]}" if hosts else address_of(listening))
        async with (
            _ended_by_signals() as ending,
            open_server(settings, over_stdio=False, base_url=public.rstrip("/")) as (server, handover, is_ready),
        ):
            app = build_http_app(
                server,
                host=host,
                token=settings.http_token,
                allowed_hosts=hosts,
                public_url=settings.http_public_url,
                handover=handover,
            )
            await serve_app(
                app,
                listening,
                lambda address: on_ready(f"{address}/mcp"),
                on_stop=server.end_streams,
                ready=is_ready,
                ending=ending,
            )


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


async def serve_desk(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """The desk's HTTP contracts on a port, until a signal ends it.

    The links that it hands out begin with the public URL; without one, with the address that it listens on.
    """
    from calltriage.serving import address_of, listen, serve_app  # noqa: PLC0415  brings uvicorn

    known_as = settings.desk_public_url
    with listen(host, port) as listening:
        if known_as is None and listening.getsockname()[0] in EVERY_ADDRESS:  # which has many names: 0, 0.0, ::0
            raise SettingsError(
                f"{host} is every address of this machine and none that a client could be sent to. Say where clients reach "
                "the desk with --public-url or CALLTRIAGE_DESK_PUBLIC_URL, or choose one address with --host."
            )
        address = address_of(listening)
        desk = build_desk(settings, known_as or address, SecretStr(secrets.token_urlsafe(32)))
        door = _door_of_desk(desk, settings, host, listening.getsockname())
        async with _ended_by_signals() as ending:
            try:
                await _start_desk(desk, settings)
                async with background() as tasks:
                    tasks.start_soon(desk.files.keep_swept)
                    await serve_app(
                        door,
                        listening,
                        lambda address: on_ready(f"{address} (known as {known_as})" if known_as else address),
                        ready=desk.is_ready,
                        ending=ending,
                    )
            finally:
                with anyio.CancelScope(shield=True):
                    await desk.close()


async def _start_desk(desk: Desk, settings: Settings) -> None:
    """Open the desk, let it know its own key, and load the sample calls where they are asked for."""
    await desk.warm_up()
    await _settle_own_key(settings, desk.tenants)
    if not await desk.tenants.keep_own_key(desk_key(settings).get_secret_value()):
        raise StoreError(
            "The desk's own key was revoked or has expired. Set another CALLTRIAGE_DESK_API_KEY or, if unset, "
            f"remove {settings.data_dir / OWN_KEY_FILE}: the next start makes another."
        )
    await _give_sample(desk, settings)


def back_up(settings: Settings, target: Path) -> int:
    """Write the desk in the data folder to a file, without the bytes that an object store keeps; the number of attachments
    that it speaks of."""
    from calltriage.desk.database import backup  # noqa: PLC0415

    folder, with_bytes = _own_folder(settings, "pg_dump"), settings.blobs_url is None
    return backup.back_up(folder, target, _beside_the_desk(), with_bytes=with_bytes)


def restore(settings: Settings, source: Path, *, overwrite: bool) -> int:
    """Make the desk in a file the one in the data folder; the number of attachments that it speaks of."""
    from calltriage.desk.database import backup  # noqa: PLC0415

    folder, with_bytes = _own_folder(settings, "pg_restore"), settings.blobs_url is None
    return backup.restore(source, folder, _beside_the_desk(), overwrite=overwrite, with_bytes=with_bytes)


def _beside_the_desk() -> Others:
    """The databases of a data folder that a backup holds besides the desk's."""
    from calltriage.desk.database.backup import Other  # noqa: PLC0415
    from calltriage.journal import heads  # noqa: PLC0415
    from calltriage.journal.checking import refuse_unsound  # noqa: PLC0415
    from calltriage.journal.rows import FILE  # noqa: PLC0415

    return {FILE: Other(refuse_unsound, spoken_in=(heads.NOTE,))}


def _own_folder(settings: Settings, tool: str) -> Path:
    if settings.database_url is not None:
        and_bytes = (
            f"copy the folder blobs of {settings.data_dir}"
            if settings.blobs_url is None
            else "copy the bucket of CALLTRIAGE_BLOBS_URL with the store's own tools"
        )
        raise SettingsError(f"The desk is on PostgreSQL (CALLTRIAGE_DATABASE_URL): use {tool}, then {and_bytes}.")
    return settings.data_dir


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncGenerator[Desk]:
    """The desk on the data folder, for an operator's own work on it; nobody else has its key."""
    desk = build_desk(settings, DESK_IN_PROCESS, SecretStr(secrets.token_urlsafe(32)))
    try:
        yield desk
    finally:
        with anyio.CancelScope(shield=True):
            await desk.close()


@asynccontextmanager
async def open_tenants(settings: Settings) -> AsyncGenerator[Tenants]:
    """Organisations, users and keys of the desk on the data folder, the desk's own key among them."""
    async with open_desk(settings) as desk:
        await _settle_own_key(settings, desk.tenants)
        # A server may have been given another key than this command: only its start replaces the desk's own.
        if not await desk.tenants.has_own_key():
            await desk.tenants.keep_own_key(desk_key(settings).get_secret_value())
        yield desk.tenants


async def own_key(settings: Settings) -> SecretStr:
    """The desk's own key, for its operator to read."""
    if settings.desk_api_key is None and (settings.data_dir / NEXT_KEY_FILE).exists():
        async with open_tenants(settings):  # settles which key it is
            pass
    return desk_key(settings)


async def rotate_key(settings: Settings, key_id: str, overlap: timedelta, expires: End = None) -> NewKey:
    """Make a key in the place of another one. The desk's own is replaced in its file, too."""
    from calltriage.desk.operating.tenants import OWN_KEY  # noqa: PLC0415

    if key_id == OWN_KEY and settings.desk_api_key is not None:
        raise SettingsError(
            "The desk's own key is set by CALLTRIAGE_DESK_API_KEY. Make another key with `calltriage desk keys add`, give "
            "it to the clients, then change the variable."
        )
    async with open_tenants(settings) as tenants:
        if key_id != OWN_KEY:
            return await tenants.rotate(key_id, overlap, expires)
        made = secrets.token_urlsafe(32)
        with _key_lock(settings.data_dir / OWN_KEY_FILE):
            _write_key(settings.data_dir / NEXT_KEY_FILE, made)
            try:
                return await tenants.rotate(key_id, overlap, expires, made)
            finally:
                await _take_next_key(settings.data_dir, tenants)


async def _settle_own_key(settings: Settings, tenants: Tenants) -> None:
    """Complete or undo a rotation of the desk's own key that was cut off between the database and the file."""
    if (settings.data_dir / NEXT_KEY_FILE).exists():
        with _key_lock(settings.data_dir / OWN_KEY_FILE):
            await _take_next_key(settings.data_dir, tenants)


async def _take_next_key(folder: Path, tenants: Tenants) -> None:
    """Let the key of a rotation be the one in the file if the database has taken it, else forget it."""
    draft = folder / NEXT_KEY_FILE
    if not draft.exists():
        return
    if await tenants.is_own_key(draft.read_text(encoding="ascii", errors="replace").strip()):
        draft.replace(folder / OWN_KEY_FILE)
    else:
        draft.unlink()


async def revoke_key(settings: Settings, key_id: str) -> bool:
    """End a key for good; False when that was done before. The file of the desk's own goes, so that another one is made."""
    from calltriage.desk.operating.tenants import OWN_KEY  # noqa: PLC0415

    async with open_tenants(settings) as tenants:
        is_new = await tenants.revoke("keys", key_id)
    if key_id == OWN_KEY and settings.desk_api_key is None:
        (settings.data_dir / OWN_KEY_FILE).unlink(missing_ok=True)
    return is_new


__all__ = [
    "back_up",
    "build_desk",
    "desk_key",
    "installed_version",
    "offered_tools",
    "open_client",
    "open_desk",
    "open_server",
    "open_tenants",
    "open_wired_client",
    "own_key",
    "restore",
    "revoke_key",
    "rotate_key",
    "sealing_key",
    "serve_desk",
    "serve_http",
    "serve_stdio",
]
