"""Who is told when a write of ours changed a resource: `subscriptions/listen` streams of the 2026-07-28 wire, and clients of
the handshake generations that sent `resources/subscribe`.

Which resources a write changes follows from its operation: those of the issues and attachments that its fields name, and of
what it says it also changes; a new title stands in the evidence of linked issues, too. Every message is a trigger to read
again, so that a resource changed twice is told once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from calltriage.errors import CallError
from calltriage.operations.base import Operation
from calltriage.operations.fields import named_kind
from calltriage.operations.issues import UpdateIssue
from calltriage.operations.relations import ListRelations
from calltriage.server.call.write_record import who
from calltriage.server.context import LOOK_UP_SECONDS, ServerParts
from calltriage.server.surfaces import mcp_resources

MOST_URIS = 100
"""Resources that one stream, or one connection of the handshake generations, may watch (our choice)."""
MOST_STREAMS = 64
"""Streams that one caller may have open at once (our choice). One more ends the caller's most idle one."""
MOST_IN_ALL = 256
"""Streams of all callers that may be open at once (our choice). One more ends the most idle one of whoever has most."""


@dataclass
class Connection:
    """What a connection of the handshake generations watches, and what of it changed since it was told last."""

    watched: set[str] = field(default_factory=set[str])
    changed: dict[str, None] = field(default_factory=dict[str, None])
    session: ServerSession | None = None
    """Reaches the client; known once it has subscribed."""
    woken: anyio.Event = field(default_factory=anyio.Event)

    def hear(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self.watched:
            self.changed[event.uri] = None
            self.woken.set()

    async def tell(self) -> None:
        """Tell the client of each change, as long as the connection lasts; a slow client holds up nobody else."""
        while True:
            await self.woken.wait()
            self.woken = anyio.Event()
            changed, self.changed = self.changed, {}
            for uri in changed:
                if self.session is not None and uri in self.watched:
                    await self.session.send_resource_updated(uri)


@dataclass(frozen=True, eq=False)
class Stream:
    """One `subscriptions/listen` stream that is open."""

    caller: str
    watched: frozenset[str]
    handler: ListenHandler
    """Serves this stream alone, so that it can be ended alone."""


Context: TypeAlias = ServerRequestContext[Connection]
"""What a handler is given: its connection is the lifespan's context."""


class Subscriptions:
    """Everything that is watched on this server."""

    def __init__(self, server: ServerParts) -> None:
        self._server = server
        self._bus = InMemorySubscriptionBus()
        self._streams = OrderedDict[Stream, None]()
        """Those that are open, the most idle one first: the one that was opened, or told of a change, longest ago."""
        self._subjects: dict[str, mcp_resources.Subject] = {}
        self._watchers = Counter[str]()
        server.client.watch(self._written)

    @asynccontextmanager
    async def connection(self, _server: Server[Connection]) -> AsyncGenerator[Connection]:
        """The server's lifespan: over stdio it is the connection's, and what the connection watches ends with it."""
        connection = Connection()
        stop_hearing = self._bus.subscribe(connection.hear)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(connection.tell)
                yield connection
                group.cancel_scope.cancel()
        finally:
            stop_hearing()
            for uri in connection.watched:
                self._forget(uri)

    async def listen(
        self, ctx: Context, params: mcp_types.SubscriptionsListenRequestParams
    ) -> mcp_types.SubscriptionsListenResult:
        """Serve one stream. Raises MCPError if one of its URIs names nothing that can be watched."""
        uris = frozenset(params.notifications.resource_subscriptions or ())
        _refuse_too_many(uris)
        subjects = dict[str, mcp_resources.Subject]()
        with anyio.move_on_after(LOOK_UP_SECONDS):  # for all of them, as each may have to be looked up
            for uri in uris:
                subjects[uri] = await mcp_resources.subject(uri, self._server)
        if len(subjects) < len(uris):
            raise MCPError(mcp_types.INTERNAL_ERROR, "Looking the issues up took too long. Watch fewer at once.")
        with self._watching(subjects), self._place(who(ctx.request), uris) as stream:
            return await stream.handler(ctx, params)

    async def subscribe(self, ctx: Context, params: mcp_types.SubscribeRequestParams) -> mcp_types.EmptyResult:
        connection, uri = ctx.lifespan_context, str(params.uri)
        found = await mcp_resources.subject(uri, self._server)
        _refuse_too_many(connection.watched | {uri})
        if uri not in connection.watched:
            connection.session = ctx.session
            connection.watched.add(uri)
            self._remember(uri, found)
        return mcp_types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: mcp_types.UnsubscribeRequestParams) -> mcp_types.EmptyResult:
        connection, uri = ctx.lifespan_context, str(params.uri)
        if uri in connection.watched:
            connection.watched.remove(uri)
            self._forget(uri)
        return mcp_types.EmptyResult()

    def close(self) -> None:
        """End every stream as the protocol has it: its clients are told that it ended on purpose."""
        for stream in self._streams:
            stream.handler.close()

    def watched(self) -> int:
        """How many resources somebody watches."""
        return len(self._subjects)

    @contextmanager
    def _place(self, caller: str, uris: frozenset[str]) -> Generator[Stream]:
        """Around a stream, which takes one of its caller's places and one of all. If none is free, another stream is
        ended."""
        self._make_room(caller)
        stream = Stream(caller, uris, ListenHandler(self._bus))
        self._streams[stream] = None
        try:
            yield stream
        finally:
            self._streams.pop(stream, None)

    def _make_room(self, caller: str) -> None:
        """End the caller's most idle stream if all its places are taken; if all places are, that of the caller with most.

        Its place is free at once: a client that reads nothing would never hear of the end.
        """
        count = Counter(stream.caller for stream in self._streams)
        if count[caller] >= MOST_STREAMS:
            losers = {caller}
        elif count.total() >= MOST_IN_ALL:
            losers = {name for name, number in count.items() if number == max(count.values())}
        else:
            return
        idle = next(stream for stream in self._streams if stream.caller in losers)
        del self._streams[idle]
        idle.handler.close()

    @contextmanager
    def _watching(self, subjects: dict[str, mcp_resources.Subject]) -> Generator[None]:
        for uri, found in subjects.items():
            self._remember(uri, found)
        try:
            yield
        finally:
            for uri in subjects:
                self._forget(uri)

    def _remember(self, uri: str, found: mcp_resources.Subject) -> None:
        self._subjects[uri] = found
        self._watchers[uri] += 1

    def _forget(self, uri: str) -> None:
        self._watchers[uri] -= 1
        if not self._watchers[uri]:
            del self._watchers[uri], self._subjects[uri]

    async def _written(self, operation: Operation[object]) -> None:
        named = set(_named(operation))
        if isinstance(operation, UpdateIssue) and operation.title is not None:
            named |= await self._linked(operation.issue_id)
        for uri, found in list(self._subjects.items()):
            if found in named or found[0] in {"writes", *operation.also_changes}:
                await self._tell(uri)

    async def _tell(self, uri: str) -> None:
        for stream in [one for one in self._streams if uri in one.watched]:
            self._streams.move_to_end(stream)
        await self._bus.publish(ResourceUpdated(uri))

    async def _linked(self, issue_id: str) -> set[mcp_resources.Subject]:
        """The watched issues that are linked to this one; every watched issue if one page of links does not tell."""
        others = {found for found in self._subjects.values() if found[0] == "issue"} - {("issue", issue_id)}
        if not others:
            return set()
        try:
            page = await self._server.client.send(ListRelations(issue_id=issue_id, limit=100))
        except CallError:
            return others
        linked = {one for relation in page.items for one in (relation.issue_id, relation.related_issue_id)}
        return {found for found in others if found[1] in linked} if page.is_last else others


def _named(operation: Operation[object]) -> Generator[tuple[str, str]]:
    """The things that a write changes by naming them. A call is only pointed at: no write changes what was said in it."""
    for name, info in type(operation).model_fields.items():
        kind = named_kind(info)
        if kind in {"issue", "attachment"}:
            yield kind, getattr(operation, name)


def _refuse_too_many(uris: Iterable[str]) -> None:
    if len(set(uris)) > MOST_URIS:
        raise MCPError(mcp_types.INVALID_PARAMS, f"At most {MOST_URIS} resources can be watched at once.")
