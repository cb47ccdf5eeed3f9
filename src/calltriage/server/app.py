"""The MCP server: one object for both protocol generations and both transports."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import mcp_types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from calltriage.client.client import Client
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.offering import Policy
from calltriage.operations.base import Effect, Tool
from calltriage.server.call import views
from calltriage.server.call.answering import ANSWER, Answer
from calltriage.server.call.host import Host
from calltriage.server.call.question_states import QuestionStates
from calltriage.server.call.table import ToolTable
from calltriage.server.call.write_record import who
from calltriage.server.context import Invocation, ServerParts
from calltriage.server.files.handover import Handover
from calltriage.server.files.local import FileRoots
from calltriage.server.questions import Questions
from calltriage.server.quota import Quota
from calltriage.server.surfaces import board, completions, mcp_resources, prompts, skills
from calltriage.server.surfaces.subscriptions import Connection, Context, Subscriptions
from calltriage.server.toolsets import OFFERING, select

SAME_FOR_ALL: tuple[CacheableMethod, ...] = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
)
"""Requests whose answer is the same for each caller as long as the server runs."""

Paging: TypeAlias = mcp_types.PaginatedRequestParams | None


async def _without_echo(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Answer an unknown method without its name, which the SDK repeats."""
    try:
        return await call_next(ctx)
    except MCPError as error:
        if error.error.code != mcp_types.METHOD_NOT_FOUND:
            raise
        raise MCPError(mcp_types.METHOD_NOT_FOUND, "There is no such method on this server.") from None


def icon() -> mcp_types.Icon:
    """The server's icon, as a data URL."""
    svg = Path(__file__).with_name("icon.svg").read_bytes().strip()
    source = f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    return mcp_types.Icon(src=source, mime_type="image/svg+xml", sizes=["any"])


class TriageServer(Server[Connection]):
    """The MCP server, and how to end the streams that it has open, and what takes long."""

    end_streams: Callable[[], None]
    answers: dict[str, Answer]
    """Answers on their way out, by the ids of their requests; filled by a transport with one client."""

    def get_capabilities(self, *args: Any, **kwargs: Any) -> mcp_types.ServerCapabilities:
        """What the SDK derives, without the lists' changes: tools, prompts and resources are the same as long as the server
        runs."""
        found = super().get_capabilities(*args, **kwargs)
        for lists in (found.tools, found.prompts, found.resources):
            if lists is not None:
                lists.list_changed = None
        return found


@dataclass(frozen=True)
class _Requests:
    """Answers the requests of MCP, each method one of them.

    Attributes:
        server: what every invocation uses.
        table: the tools.
        board: the views for people.
        on_listed: called after each tools/list.
        answers: those on their way out, by the ids of their requests; for a transport with one client.
    """

    server: ServerParts
    table: ToolTable
    board: board.Board
    on_listed: Callable[[], None]
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])

    async def list_tools(self, _c: Context, _p: Paging) -> mcp_types.ListToolsResult:
        self.on_listed()
        return mcp_types.ListToolsResult(tools=self.table.listed)

    async def call_tool(
        self, ctx: Context, params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        host = Host.of(ctx.session, params, ctx.meta)
        arguments, report = params.arguments or {}, ctx.session.report_progress
        answer = self.answers.get(str(ctx.request_id)) if ctx.request is None else ctx.request.scope.get(ANSWER)
        return await self.table.call(
            params.name, arguments, report, host, request=ctx.request, meta=ctx.meta, answer=answer
        )

    async def list_resources(self, _c: Context, _p: Paging) -> mcp_types.ListResourcesResult:
        return mcp_types.ListResourcesResult(
            resources=[*mcp_resources.listed(self.server), *skills.listed(), *self.board.listed()]
        )

    async def list_templates(self, _c: Context, _p: Paging) -> mcp_types.ListResourceTemplatesResult:
        return mcp_types.ListResourceTemplatesResult(resource_templates=mcp_resources.templates(self.server))

    async def read_resource(
        self, ctx: Context, params: mcp_types.ReadResourceRequestParams
    ) -> mcp_types.ReadResourceResult:
        own = skills.read(str(params.uri)) or self.board.read(str(params.uri))
        if own is not None:
            return own
        return await mcp_resources.read(str(params.uri), Invocation(self.server, self.server.files, who(ctx.request)))

    async def list_skills(self, _c: Context, _p: mcp_types.PaginatedRequestParams) -> skills.ListSkillsResult:
        return skills.list_skills()

    async def get_skill(self, _c: Context, params: skills.GetSkillParams) -> skills.GetSkillResult:
        return skills.get_skill(params.uri)

    async def list_prompts(self, _c: Context, _p: Paging) -> mcp_types.ListPromptsResult:
        return mcp_types.ListPromptsResult(prompts=prompts.listed(self.server))

    async def get_prompt(self, _c: Context, params: mcp_types.GetPromptRequestParams) -> mcp_types.GetPromptResult:
        return await prompts.get(params.name, params.arguments or {}, Invocation(self.server, self.server.files))

    async def complete(self, _c: Context, params: mcp_types.CompleteRequestParams) -> mcp_types.CompleteResult:
        return await completions.complete(params, self.server)


def build_server(
    client: Client,
    *,
    version: str,
    tools: Sequence[type[Tool]] | None = None,
    excluded: Iterable[str] = (),
    files: FileRoots | None = None,
    confirm: Policy = "ask",
    handover: Handover | None = None,
    questions: Questions | None = None,
    seals: Seals | None = None,
    journal: Journal | None = None,
    writes_per_minute: int = 0,
    duplex: bool = True,
    on_listed: Callable[[], None] = lambda: None,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> TriageServer:
    """Put tools, resources, prompts, completions and subscriptions on an MCP server.

    Args:
        client: reaches the two APIs, wherever they are.
        version: shown to clients.
        tools: what `toolsets.select` chose; the default toolset unless given.
        excluded: names of excluded tools. No argument of another tool and no resource does what they do, either.
        files: local files that tools may read and make; none by default.
        confirm: what becomes of a call that removes something where the host cannot ask a person.
        handover: files to and from remote clients; None where the server has no HTTP side.
        questions: what waits for a person to answer on the board; None where there is no data folder.
        seals: make handles and the state of questions, as the handover's do; by default good in this process alone.
        journal: keeps writes on record; without one there are no idempotency keys.
        writes_per_minute: calls of one tool that a caller may make, see Quota; 0 is no limit.
        duplex: whether the transport carries messages of the server's own to a client of the handshake generations, as stdio
            does and stateless HTTP does not; only then can such a client subscribe.
        on_listed: called after each tools/list, when the client has what it needs to begin.
        sleep: waits so many seconds; for tools that wait.
    """
    tools, seals = select() if tools is None else tools, seals or Seals()
    parts = ServerParts(
        client,
        files or FileRoots(),
        journal=journal,
        offered=frozenset(tool.tool_name() for tool in tools),
        excluded=frozenset(excluded),
        seals=seals,
        handover=handover,
        questions=questions,
        quota=Quota(writes_per_minute),
        sleep=sleep,
    )
    table, watched = ToolTable(tools, parts, confirm), Subscriptions(parts)
    requests = _Requests(parts, table, board.Board(parts.offered, version), on_listed)
    server = _server_of(requests, watched, version, OFFERING.instructions(parts.offered), duplex=duplex)
    if any(tool.effect is Effect.REMOVE for tool in tools):
        server.middleware.append(QuestionStates(seals))
    server.middleware.append(_without_echo)
    return server


def _server_of(
    requests: _Requests, watched: Subscriptions, version: str, instructions: str, *, duplex: bool
) -> TriageServer:
    """The SDK's server, with each request given to the method that answers it."""
    server = TriageServer(
        "calltriage",
        version=version,
        title="calltriage",
        icons=[icon()],
        instructions=instructions,
        lifespan=watched.connection,
        get_tool_input_schema=requests.table.input_schema,
        on_list_tools=requests.list_tools,
        on_call_tool=requests.call_tool,
        on_list_resources=requests.list_resources,
        on_list_resource_templates=requests.list_templates,
        on_read_resource=requests.read_resource,
        on_list_prompts=requests.list_prompts,
        on_get_prompt=requests.get_prompt,
        on_completion=requests.complete,
        on_subscriptions_listen=watched.listen,
        on_subscribe_resource=watched.subscribe if duplex else None,
        on_unsubscribe_resource=watched.unsubscribe if duplex else None,
        cache_hints=dict.fromkeys(SAME_FOR_ALL, CacheHint(views.HOUR_MS, "public")),
    )
    server.extensions[skills.EXTENSION] = {}
    server.extensions[views.EXTENSION] = {}
    server.add_request_handler("skills/list", mcp_types.PaginatedRequestParams, requests.list_skills)
    server.add_request_handler("skills/get", skills.GetSkillParams, requests.get_skill)

    def end() -> None:
        requests.server.ending.set()
        watched.close()

    server.end_streams, server.answers = end, requests.answers
    return server
