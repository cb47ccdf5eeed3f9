"""Who hears of a change: those that watch a resource which one of our own writes changed, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import httpx2
import mcp_types
import pytest
from conftest import endpoints_to
from faults import Scripted, answers, loses_the_answer
from mcp.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.offering import ALL
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Effect
from calltriage.operations.fields import named_kind
from calltriage.server.app import build_server
from calltriage.server.surfaces import subscriptions as subscriptions_module
from calltriage.server.surfaces.subscriptions import MOST_URIS, Subscriptions
from calltriage.server.toolsets import select

PATIENCE = 10
MARKED = {"trust": "untrusted", "origin": "the request"}
UNKNOWN = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"


async def ask(agent: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await agent.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    return result.structured_content or {}


async def filed(agent: Client, title: str = "T") -> dict[str, Any]:
    new = {"title": title, "severity": "low", "category": "Bug", "on_duplicate": "create"}
    return await ask(agent, "create_issue", **new)


@asynccontextmanager
async def watching(
    agent: Client, era: str, queue: list[str], *uris: str
) -> AsyncGenerator[Callable[[int], Awaitable[list[str]]]]:
    """Watch resources; yields a wait for a number of messages, which are returned in order and taken off the queue."""
    async with anyio.create_task_group() as group:
        arrived = anyio.Event()

        def hear(uri: str) -> None:
            nonlocal arrived
            queue.append(uri)
            arrived.set()
            arrived = anyio.Event()

        async def told(count: int) -> list[str]:
            with anyio.fail_after(PATIENCE):
                while len(queue) < count:
                    await arrived.wait()
            found, queue[:] = queue[:], []
            return found

        if era == "legacy":
            HEAR.append(hear)
            for uri in uris:
                await subscribe(agent, uri)
            yield told
            for uri in uris:
                await unsubscribe(agent, uri)
            HEAR.remove(hear)
        else:
            async with agent.listen(resource_subscriptions=uris) as stream:
                assert stream.honored.resource_subscriptions is not None
                assert sorted(stream.honored.resource_subscriptions) == sorted(uris)

                async def listen() -> None:
                    async for event in stream:
                        assert isinstance(event, ResourceUpdated)
                        hear(event.uri)

                group.start_soon(listen)
                yield told
                group.cancel_scope.cancel()


HEAR: list[Callable[[str], None]] = []


async def on_message(message: Any) -> None:
    if isinstance(message, mcp_types.ResourceUpdatedNotification):
        for hear in HEAR:
            hear(message.params.uri)


async def subscribe(agent: Client, uri: str) -> None:
    params = mcp_types.SubscribeRequestParams(uri=uri)
    await agent.session.send_request(mcp_types.SubscribeRequest(params=params), mcp_types.EmptyResult)


async def unsubscribe(agent: Client, uri: str) -> None:
    params = mcp_types.UnsubscribeRequestParams(uri=uri)
    await agent.session.send_request(mcp_types.UnsubscribeRequest(params=params), mcp_types.EmptyResult)


async def tried(agent: Client, era: str, *uris: str) -> None:
    """Begin to watch."""
    if era == "legacy":
        for uri in uris:
            await subscribe(agent, uri)
    else:
        async with agent.listen(resource_subscriptions=uris):
            pass


@pytest.fixture
def server(client: ApiClient) -> Server[Any]:
    return build_server(client, version="0", tools=select([ALL]), confirm="allow")


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Literal["legacy", "auto"]:
    return request.param


@pytest.fixture
async def either(server: Server[Any], era: Literal["legacy", "auto"]) -> AsyncGenerator[Client]:
    """An agent of each generation with every tool."""
    async with Client(server, mode=era, message_handler=on_message) as agent:
        yield agent


async def test_a_watcher_is_told_of_the_resources_that_a_write_changed_and_of_no_other(
    either: Client, era: str
) -> None:
    one, two, other = [await filed(either) for _ in range(3)]
    base = [f"triage://issues/{issue['id']}" for issue in (one, two, other)]
    catalogue = "triage://flag-types"
    watched = [uri for issue in base for uri in (issue, f"{issue}/evidence")] + [catalogue]
    watched.append("triage://calls/call-card/transcript")
    here, there = ([uri, f"{uri}/evidence"] for uri in base[:2])
    link = {"issue_id": one["id"], "resource_type": "call", "resource_id": "call-card"}
    relation = {"issue_id": one["id"], "related_issue_id": two["triage_id"], "relation_type": "blocks"}
    async with watching(either, era, [], *watched) as told:
        attached = await ask(either, "attach_resource", **link)
        assert sorted(await told(2)) == sorted(here)
        await ask(either, "add_flag", issue_id=one["triage_id"], call_id="call-card", type="x", message_index=1)
        assert sorted(await told(3)) == sorted([*here, catalogue])
        await ask(either, "link_issue", **relation)
        assert sorted(await told(4)) == sorted([*here, *there])
        await ask(either, "mark_issue_viewed", issue_id=two["id"])
        assert sorted(await told(2)) == sorted(there)
        await ask(either, "remove_resource", issue_id=one["id"], resource_link_id=attached["id"])
        assert sorted(await told(3)) == sorted([*here, catalogue])


async def test_who_watches_the_latest_writes_is_told_of_each(either: Client, era: str) -> None:
    issue, writes = await filed(either), "triage://journal/recent"
    async with watching(either, era, [], writes, "triage://flag-types") as told:
        await ask(either, "update_issue", issue_id=issue["id"], status="done")
        assert await told(1) == [writes]
        await ask(either, "mark_issue_viewed", issue_id=issue["id"])
        assert await told(1) == [writes]


async def test_nobody_is_told_of_a_replay_or_a_failure(either: Client, era: str) -> None:
    issue, mark = await filed(either), await filed(either)
    link = {"issue_id": issue["id"], "resource_type": "call", "resource_id": "call-card"}
    await ask(either, "attach_resource", **link)
    watched = (f"triage://issues/{issue['id']}", f"triage://issues/{mark['id']}")
    async with watching(either, era, [], *watched) as told:
        assert (await ask(either, "attach_resource", **link))["outcome"] == "replayed"
        for tool, arguments in (
            ("add_flag", {"issue_id": issue["id"], "call_id": "call-hours", "type": "x"}),
            ("attach_resource", {**link, "resource_id": "absent"}),
            ("link_issue", {"issue_id": issue["id"], "related_issue_id": UNKNOWN, "relation_type": "blocks"}),
        ):
            assert (await either.call_tool(tool, arguments)).is_error
        await ask(either, "mark_issue_viewed", issue_id=mark["id"])
        assert await told(1) == [watched[1]]


async def test_a_watcher_is_told_of_a_write_whose_outcome_is_not_known(
    the_desk: Desk, era: Literal["legacy", "auto"]
) -> None:
    """And of one that the API says it did, in an answer that cannot be read."""
    desk = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)

    def is_flag(request: httpx2.Request) -> bool:
        return request.url.path.endswith("/flags") and request.method == "POST"

    network = Scripted(loses_the_answer(), answers(201, b"<html>"), inner=desk, only=is_flag)
    async with open_client(endpoints_to(network)) as client:
        server = build_server(client, version="0", tools=select([ALL]), confirm="allow")
        async with Client(server, mode=era, message_handler=on_message) as agent:
            issue = await filed(agent)
            flag = {"issue_id": issue["id"], "call_id": "call-card", "type": "x", "message_index": 1}
            await ask(agent, "attach_resource", issue_id=issue["id"], resource_type="call", resource_id="call-card")
            async with watching(agent, era, [], f"triage://issues/{issue['id']}") as told:
                await agent.call_tool("add_flag", flag)
                assert await told(1) == [f"triage://issues/{issue['id']}"]
                await agent.call_tool("add_flag", flag)
                assert await told(1) == [f"triage://issues/{issue['id']}"]


async def test_a_watcher_is_told_under_the_name_it_used(either: Client, era: str) -> None:
    issue = await filed(either)
    names = [f"triage://issues/{form}/evidence" for form in (issue["triage_id"], issue["id"].upper())]
    async with watching(either, era, [], *names) as told:
        await ask(either, "mark_issue_viewed", issue_id=issue["id"])
        assert sorted(await told(2)) == sorted(names)


async def test_the_other_end_of_a_removed_link_is_told(either: Client, era: str) -> None:
    one, two = await filed(either), await filed(either)
    link = {"issue_id": one["id"], "related_issue_id": two["id"], "relation_type": "blocks"}
    relation = await ask(either, "link_issue", **link)
    async with watching(either, era, [], f"triage://issues/{two['id']}") as told:
        await ask(either, "remove_relation", issue_id=one["id"], relation_id=relation["id"])
        assert await told(1) == [f"triage://issues/{two['id']}"]


async def test_a_new_title_is_told_to_who_watches_a_linked_issue_and_to_no_other(either: Client, era: str) -> None:
    one, source, target, apart = [await filed(either) for _ in range(4)]
    for ends in ((source, one), (one, target)):
        link = {"issue_id": ends[0]["id"], "related_issue_id": ends[1]["id"], "relation_type": "blocks"}
        await ask(either, "link_issue", **link)
    uris = [f"triage://issues/{issue['id']}/evidence" for issue in (one, source, target, apart)]
    async with watching(either, era, [], *uris) as told:
        await ask(either, "update_issue", issue_id=one["id"], title="Another title")
        assert sorted(await told(3)) == sorted(uris[:3])
        await ask(either, "update_issue", issue_id=one["id"], status="in_progress")  # stands in its own evidence alone
        await ask(either, "update_issue", issue_id=apart["id"], title="Apart")
        assert sorted(await told(2)) == sorted([uris[0], uris[3]])
        await ask(either, "delete_issue", issue_id=one["id"])
        assert set(uris[1:3]) <= set(await told(4))


class Deaf(httpx2.AsyncBaseTransport):
    """A wire on which no links are listed."""

    def __init__(self, desk: Desk) -> None:
        self._inner = httpx2.ASGITransport(desk, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and request.url.path.endswith("/relations"):
            return httpx2.Response(403, json={"data": None, "errors": [{"error": "forbidden", "message": "No"}]})
        return await self._inner.handle_async_request(request)


async def test_where_links_cannot_be_read_a_new_title_is_told_to_all_and_the_write_stands(
    the_desk: Desk, era: Literal["legacy", "auto"]
) -> None:
    async with open_client(endpoints_to(Deaf(the_desk))) as client:
        server = build_server(client, version="0", tools=select([ALL]), confirm="allow")
        async with Client(server, mode=era, message_handler=on_message) as agent:
            one, other = await filed(agent), await filed(agent)
            async with watching(agent, era, [], f"triage://issues/{other['id']}") as told:
                written = await ask(agent, "update_issue", issue_id=one["id"], title="Another title")
                assert written["outcome"] == "committed"
                assert await told(1) == [f"triage://issues/{other['id']}"]


async def test_one_agent_hears_of_what_another_wrote(server: Server[Any]) -> None:
    async with Client(server, mode="legacy", message_handler=on_message) as one, Client(server) as two:
        issue = await filed(two)
        async with watching(one, "legacy", [], f"triage://issues/{issue['id']}") as told:
            await ask(two, "mark_issue_viewed", issue_id=issue["id"])
            assert await told(1) == [f"triage://issues/{issue['id']}"]


@pytest.mark.parametrize(
    "uri",
    [
        "triage://nothing",
        "triage://issues/%2e%2e",
        "triage://issues/T-99999",
        f"triage://issues/{UNKNOWN}/evidence",
        "triage://calls/a%2Fb/transcript",
        "x:y",
        "",
    ],
)
async def test_what_cannot_be_is_not_watched(either: Client, era: str, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        await tried(either, era, "triage://flag-types", uri)
    assert caught.value.code == mcp_types.INVALID_PARAMS
    assert caught.value.data == ({"uri": uri} | MARKED if "://" in uri and "%" not in uri else None)


async def test_looking_up_all_that_a_stream_names_has_one_deadline(
    server: Server[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions_module, "LOOK_UP_SECONDS", 0.0)
    async with Client(server) as agent:
        uris = [f"triage://issues/{(await filed(agent, f'Title {number}'))['triage_id']}" for number in range(3)]
        with anyio.fail_after(60), pytest.raises(MCPError) as caught:
            await tried(agent, "modern", *uris)
        assert caught.value.code == mcp_types.INTERNAL_ERROR
        assert "fewer" in caught.value.message


async def test_what_one_connection_watches_is_bounded(either: Client, era: str) -> None:
    uris = [f"triage://calls/call-{number}/transcript" for number in range(MOST_URIS + 1)]
    with pytest.raises(MCPError) as caught:
        await tried(either, era, *uris)
    assert caught.value.code == mcp_types.INVALID_PARAMS
    assert str(MOST_URIS) in caught.value.message


async def test_one_stream_more_than_a_caller_may_have_ends_its_most_idle_one(
    server: Server[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was opened, or told of a change, longest ago. Its client hears that it ended on purpose."""
    monkeypatch.setattr(subscriptions_module, "MOST_STREAMS", 3)
    async with Client(server) as agent, AsyncExitStack() as held:
        first, second = [(await filed(agent))["id"] for _ in range(2)]
        about = [f"triage://issues/{first}", f"triage://issues/{second}", "triage://flag-types"]
        streams = [await held.enter_async_context(agent.listen(resource_subscriptions=[uri])) for uri in about]
        await ask(agent, "mark_issue_viewed", issue_id=first)
        with anyio.fail_after(PATIENCE):
            assert await anext(streams[0]) == ResourceUpdated(about[0])
            streams.append(await held.enter_async_context(agent.listen(resource_subscriptions=about)))
            assert [event async for event in streams[1]] == []
            await ask(agent, "mark_issue_viewed", issue_id=second)
            await ask(agent, "mark_issue_viewed", issue_id=first)
            assert await anext(streams[0]) == ResourceUpdated(about[0])
            assert [await anext(streams[3]) for _ in range(2)] == [ResourceUpdated(uri) for uri in about[1::-1]]
            streams.append(await held.enter_async_context(agent.listen(resource_subscriptions=about)))
            assert [event async for event in streams[2]] == []


async def test_a_connection_that_is_gone_leaves_nothing_behind(client: ApiClient) -> None:
    server = build_server(client, version="0", tools=select([ALL]), confirm="allow")
    async with Client(server) as other:
        issue = await filed(other)
        watched = f"triage://issues/{issue['id']}"
        async with Client(server, mode="legacy", message_handler=on_message) as agent:
            await subscribe(agent, watched)
        async with other.listen(resource_subscriptions=[watched]):
            pass
        handler = server.get_request_handler("resources/subscribe")
        assert handler is not None
        subscriptions = getattr(handler.handler, "__self__", None)
        assert isinstance(subscriptions, Subscriptions)
        with anyio.fail_after(PATIENCE):
            while subscriptions.watched():  # the end of a stream takes the server a few turns
                await anyio.lowlevel.checkpoint()
        assert (await ask(other, "mark_issue_viewed", issue_id=issue["id"]))["outcome"] == "committed"


async def test_where_nothing_can_be_sent_subscribing_is_not_offered(client: ApiClient) -> None:
    server = build_server(client, version="0", duplex=False)
    async with Client(server, mode="legacy") as agent:
        assert agent.server_capabilities.resources is not None
        assert not agent.server_capabilities.resources.subscribe
        with pytest.raises(MCPError) as caught:
            await subscribe(agent, "triage://flag-types")
        assert caught.value.code == mcp_types.METHOD_NOT_FOUND


def test_every_write_that_names_no_issue_says_what_else_it_changes_or_makes_something_new() -> None:
    """What a write makes is nobody's yet, so that only the others must say what they change."""
    new = {"create_issue", "create_category", "create_attachment", "request_upload_link"}
    for operation in CATALOGUE:
        if operation.effect is Effect.READ or operation.tool_name() in new:
            continue
        kinds = {named_kind(info) for info in operation.model_fields.values()}
        assert kinds & {"issue", "attachment"} or operation.also_changes, operation.__name__


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_lists_that_never_change_are_not_said_to(client: ApiClient, mode: Any) -> None:
    """The SDK says so of every server that lets itself be listened to."""
    async with Client(build_server(client, version="0"), mode=mode) as agent:
        said = agent.server_capabilities
        assert (said.tools, said.prompts, said.resources) != (None, None, None)
        for lists in (said.tools, said.prompts, said.resources):
            assert lists is not None
            assert not lists.list_changed
