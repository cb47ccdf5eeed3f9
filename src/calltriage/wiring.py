"""The one place that knows every part: settings in, a wired server, client or desk out."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from pydantic import SecretStr

from calltriage.client import client as over_http
from calltriage.client.client import Client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint, check_base_url, check_key
from calltriage.client.home import Home
from calltriage.client.in_process import background
from calltriage.client.limits import Breaker, Rate
from calltriage.client.long_cursors import cursors_in
from calltriage.client.network import Network
from calltriage.client.retries import RetryPolicy
from calltriage.client.signing_keys import SigningKey, read_signing_key
from calltriage.client.transcripts import FOLDER, Transcripts, account_of
from calltriage.desk import CLIENT_ID
from calltriage.embedded import DESK_IN_PROCESS, DeskInside, object_store
from calltriage.errors import SettingsError, StoreError
from calltriage.leaves.collecting import nothing_collected
from calltriage.leaves.seals import Seals
from calltriage.operations import SCOPES
from calltriage.operations.attachments import DeleteAttachment
from calltriage.operations.base import Api, Tool
from calltriage.settings import TALKDESK_HOSTS, Settings, load_settings
from calltriage.storage.folders import make_folder
from calltriage.storage.kept_secrets import kept_secret

if TYPE_CHECKING:
    from calltriage.journal.head_notes import HeadNote
    from calltriage.journal.journal import Journal
    from calltriage.pipelines.ledger import Ledger
    from calltriage.server.files.handover import Handover
    from calltriage.server.files.local import FileRoots

T = TypeVar("T")


@cache
def installed_version() -> str:
    return version("calltriage")


def sealing_key(settings: Settings) -> SecretStr:
    """The secret that seals handles and the state of questions: the configured one, or one made in the data folder, so that
    all servers on the folder share it. Nobody else ever has it; least of all a holder of the HTTP token."""
    make_folder(settings.data_dir)
    return _sealing_key(settings)


def _sealing_key(settings: Settings) -> SecretStr:
    return settings.sealing_key or kept_secret(
        settings.data_dir, "sealing.key", "check that the folder belongs to this user, or set CALLTRIAGE_SEALING_KEY"
    )


def _triage(settings: Settings, desk: DeskInside) -> Endpoint:
    if settings.bland_api_key is None:
        is_file = settings.database_url is None
        return Endpoint(DESK_IN_PROCESS, ApiKey(desk.key), desk, in_flight=64, one_clock=is_file, searches_calls=True)
    key = ApiKey(settings.bland_api_key, settings.bland_auth_scheme, _newer(settings, _checked_key))
    keeps = settings.transcript_cache == "on"
    folder, account = transcripts_folder(settings), lambda: account_of(settings.bland_base_url, key.key)
    # 429: from 1 s doubling to 30 s; 4 requests in flight (bland-triage, section 2; our choice).
    return Endpoint(
        settings.bland_base_url,
        key,
        retry=RetryPolicy(first_s=1.0, cap_s=30.0),
        rate=Rate(settings.vendor_rate, settings.vendor_burst),
        breaker=Breaker(),
        transcripts=Transcripts(folder, account) if keeps else None,
    )


def transcripts_folder(settings: Settings) -> Path:
    """Where transcripts that were read of a vendor's calls are kept."""
    return settings.data_dir / FOLDER


def _attachments(settings: Settings, desk: DeskInside, scopes: tuple[str, ...]) -> Endpoint:
    proof = _proof(settings)
    if settings.talkdesk_client_id is None or proof is None:
        inside = ClientCredentials(f"{DESK_IN_PROCESS}/oauth/token", CLIENT_ID, desk.key, scopes)
        return Endpoint(DESK_IN_PROCESS, inside, desk, in_flight=64)
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

    return select(settings.toolsets, settings.exclude_tools, read_only=settings.read_only, confirm=settings.confirm)


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
    without_account = Settings.model_construct(bland_base_url=settings.bland_base_url, data_dir=settings.data_dir)
    return Journal(
        settings.data_dir,
        _organisation(settings),
        keep_s=settings.idempotency_hours * 3600,
        note=head_note(settings.data_dir),
        # Earlier versions took the header that brought the token for the caller, and credentials for the organisation.
        former={} if token is None else {SHARED_TOKEN: f"Bearer {token.get_secret_value()}"},
        former_organisation=_former_organisation(settings),
        former_others=(_former_organisation(without_account),),
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
    from calltriage.journal import head_notes  # noqa: PLC0415

    advice = "check that the folder belongs to this user"
    key = cache(lambda: kept_secret(folder, head_notes.KEY, advice).get_secret_value().encode())
    return head_notes.HeadNote(folder, key)


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
    cursors = cursors_in(settings.data_dir)
    network = Network(None if settings.proxy is None else settings.proxy.get_secret_value())
    try:
        async with (
            over_http.open_client(
                endpoints,
                deadline_s=settings.deadline_s,
                ledger=journal,
                network=network,
                cursors=cursors,
                home=_home(settings),
            ) as client,
            background() as desk.tasks,
        ):
            yield client, desk, journal
    finally:
        with anyio.CancelScope(shield=True):
            await journal.close()


def _home(settings: Settings) -> Home:
    """Where a program on the client keeps what it has to remember."""
    account = hashlib.sha256(_organisation(settings).encode()).hexdigest()[:16]
    secret = cache(lambda: sealing_key(settings).get_secret_value().encode())
    return Home(settings.data_dir, account, settings.database_url, secret, settings.proxy)


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncGenerator[Ledger]:
    """What pipelines have done on the account that the settings name."""
    from calltriage.pipelines import ledger  # noqa: PLC0415

    home = _home(settings)
    async with ledger.open_ledger(home.folder, home.account, home.database_url) as opened:
        yield opened


@asynccontextmanager
async def open_client(settings: Settings | None = None) -> AsyncGenerator[Client]:
    """A client without MCP, on whatever the settings say; they are read from the environment unless given."""
    async with open_wired_client(settings or load_settings()) as (client, _, _):
        yield client


REMOTE = (
    "This server is reached over HTTP and reads no local files: yours are not on its machine. Pass text or base64, or call "
    "with upload new for a URL to PUT the file to."
)
"""Why a path leads nowhere over HTTP, and what does."""


def _file_roots(settings: Settings, *, over_stdio: bool) -> FileRoots:
    """Files that tools may read and make: over stdio below the operator's folders, or else below the working folder and
    those that the host declares."""
    from calltriage.server.files.local import FileRoots, without_homes  # noqa: PLC0415  brings the MCP SDK

    closed = FileRoots(
        private=(settings.data_dir,), limit=settings.max_file_mib * 2**20, writable=not settings.read_only
    )
    if not over_stdio:  # whoever asks sits elsewhere: these would be the server's files, not theirs
        return replace(closed, closed=REMOTE)
    if settings.allowed_roots is not None:
        return replace(closed, roots=settings.allowed_roots)
    try:
        return replace(closed, roots=without_homes([Path.cwd()]), asks=True)
    except OSError:  # a working folder that is gone
        return replace(closed, asks=True)


def _handover(settings: Settings, client: Client, seals: Seals, base_url: str) -> Handover:
    """Files to and from remote clients."""
    from calltriage.server.files.handover import Handover  # noqa: PLC0415

    make_folder(settings.data_dir)
    seals.secret()  # a folder without room for one ends the start, not the first call
    return Handover(base_url, settings.data_dir / "uploads", seals, settings.max_file_mib * 2**20, client)


@asynccontextmanager
async def open_server(settings: Settings, *, over_stdio: bool, base_url: str = "") -> AsyncGenerator[Any]:
    """The MCP server, wired; its handover where it has an HTTP side, at `base_url`; whether its stores can be used and the
    APIs answered last. The desk is warmed up once a client has listed the tools."""
    with nothing_collected():
        from calltriage.server.app import build_server  # noqa: PLC0415
        from calltriage.server.questions import QUESTIONS, Questions  # noqa: PLC0415

        tools = offered_tools(settings)
    needs_desk = settings.triage_on_desk or settings.attachments_on_desk
    if needs_desk:
        object_store(settings)  # a wrong address ends the start, not the first call
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
            questions=Questions(settings.data_dir / QUESTIONS, seals, None if over_stdio else f"{base_url}/ui"),
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
