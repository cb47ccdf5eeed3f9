"""The host of one call: what it can be asked, how, and what it brought as replies.

The newer protocol (2026-07-28) answers a call with questions and gets the replies with the same call made again; the older
ones ask while the call waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import mcp_types
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from calltriage.server.call.views import EXTENSION
from calltriage.server.files.local import FileRoots

ROOTS = "roots"
CONFIRMED = "calltriage/confirmed"
"""Key of a call's metadata under which a view passes what it got with the question that its person agreed to."""
PATIENCE_S = 10.0
"""Seconds that a host has to name its folders; no person is asked for them."""


@dataclass(frozen=True)
class Host:
    """The host of one call.

    Attributes:
        session: the way to it.
        replies: what it answers to the questions of the call before, by their names.
        state: what question the reply is to; sealed on the wire, so that it is one of ours.
        agreed: what a view passes when its person agreed; a handle of ours, or anything.
    """

    session: ServerSession
    replies: Mapping[str, mcp_types.InputResponse] = field(default_factory=dict[str, mcp_types.InputResponse])
    state: str | None = None
    agreed: str | None = None

    @classmethod
    def of(
        cls, session: ServerSession, params: mcp_types.CallToolRequestParams, meta: Mapping[str, Any] | None
    ) -> Host:
        agreed = (meta or {}).get(CONFIRMED)
        replies = params.input_responses or {}
        return cls(session, replies, params.request_state, agreed if isinstance(agreed, str) else None)

    @property
    def is_modern(self) -> bool:
        return self.session.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def can_be_asked(self) -> bool:
        """Whether it can put a question to a person."""
        capabilities = self.session.client_capabilities
        able = capabilities and capabilities.elicitation
        has_form = able is not None and (able.form is not None or able.url is None)
        return has_form and not self.has_no_way_back

    @property
    def has_no_way_back(self) -> bool:
        """Whether its transport lets the server ask nothing: stateless HTTP on an older wire, whatever the host can do."""
        return not self.is_modern and not self.session.can_send_request

    @property
    def opens_pages(self) -> bool:
        """Whether it can send a person to a page, and make the call again after that."""
        capabilities = self.session.client_capabilities
        able = capabilities and capabilities.elicitation
        return self.is_modern and able is not None and able.url is not None

    @property
    def shows_views(self) -> bool:
        """Whether it says that it shows views (MCP Apps)."""
        capabilities = self.session.client_capabilities
        return EXTENSION in ((capabilities and capabilities.extensions) or {})

    @property
    def declares_folders(self) -> bool:
        """Whether it says which folders its agent works in."""
        capabilities = self.session.client_capabilities
        declares = capabilities is not None and capabilities.roots is not None
        return declares and not self.has_no_way_back


async def opened_for(path: str, files: FileRoots, host: Host) -> FileRoots | mcp_types.InputRequiredResult:
    """The files that a call may use. If `path` is in none of the server's folders, those that the host declares are added.
    A host of the newer protocol is asked for them first: then the request is returned."""
    if not files.asks or not host.declares_folders or await anyio.to_thread.run_sync(files.reach, path):
        return files
    if not host.is_modern:
        return files.and_of_host(_folders(await _asked_at_once(host.session)))
    if not host.replies:
        asked: mcp_types.InputRequests = {ROOTS: mcp_types.ListRootsRequest()}
        return mcp_types.InputRequiredResult(input_requests=asked)
    reply = host.replies.get(ROOTS)
    return files.and_of_host(_folders(reply)) if isinstance(reply, mcp_types.ListRootsResult) else files


async def _asked_at_once(session: ServerSession) -> mcp_types.ListRootsResult:
    """The host's answer. Empty if the host declared roots but does not answer."""
    try:
        with anyio.move_on_after(PATIENCE_S):  # session.list_roots would warn that later protocols lack it
            return await session.send_request(mcp_types.ListRootsRequest(), mcp_types.ListRootsResult)
    except (MCPError, ValueError):
        pass
    return mcp_types.ListRootsResult(roots=[])


def _folders(said: mcp_types.ListRootsResult) -> list[Path]:
    """The folders of this machine among the roots."""
    from urllib.request import url2pathname  # noqa: PLC0415  brings an HTTP client

    found = list[Path]()
    for root in said.roots:
        parts = urlsplit(str(root.uri))
        if parts.scheme == "file" and parts.hostname in {None, "localhost"} and "\0" not in unquote(parts.path):
            found.append(Path(url2pathname(parts.path)))
    return [folder for folder in found if folder.is_absolute()]
