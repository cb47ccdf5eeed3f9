"""Which tools an operator's selection offers, and that what is hidden is as good as absent."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tool_calls import refused

import calltriage
from calltriage.client.client import Client as ApiClient
from calltriage.errors import SettingsError
from calltriage.offering import ALL
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Effect, Tool
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues
from calltriage.server.app import build_server
from calltriage.server.call.table import describe
from calltriage.server.files.local import FileRoots
from calltriage.server.surfaces import pipeline_prompts
from calltriage.server.toolsets import DEFAULT, OFFERING, TOOLSETS, select

EVERY = [tool.tool_name() for tool in chain.from_iterable(TOOLSETS.values())]


def names(*tools: type[Tool]) -> set[str]:
    return {tool.tool_name() for tool in tools}


@asynccontextmanager
async def offered(
    client: ApiClient, *toolsets: str, forbidden: tuple[str, ...] = (), **more: Any
) -> AsyncGenerator[Client]:
    """An agent whose operator chose so. `forbidden` is what no argument does either."""
    tools = select(toolsets or DEFAULT, **more)
    async with Client(build_server(client, version="0", tools=tools, excluded=forbidden)) as agent:
        yield agent


async def protocol_error(agent: Client, tool: str, **arguments: Any) -> tuple[int, str, Any]:
    with pytest.raises(MCPError) as caught:
        await agent.call_tool(tool, arguments)
    return caught.value.code, str(caught.value), caught.value.data


def test_each_tool_stands_in_exactly_one_toolset() -> None:
    assert sorted(EVERY) == sorted(set(EVERY))


def test_a_tool_and_the_operation_that_it_wraps_have_different_names() -> None:
    """`AddFlag` is the request, `AddFlagTool` the tool `add_flag`."""
    tools = set(chain.from_iterable(TOOLSETS.values())) - set(CATALOGUE)
    assert not {tool.__name__ for tool in tools} & {operation.__name__ for operation in CATALOGUE}
    assert {tool.__name__ for tool in tools if not tool.__name__.endswith("Tool")} == set()


TOOLSET_OF = {tool.tool_name(): toolset for toolset, tools in TOOLSETS.items() for tool in tools}
A_TOOL = re.compile(rf"\b({'|'.join(EVERY)})\b")


@pytest.mark.parametrize("tool", select([ALL]), ids=lambda tool: tool.tool_name())
def test_a_description_names_no_tool_that_may_be_hidden_from_who_reads_it(tool: type[Tool]) -> None:
    told = describe(tool)
    named = set(A_TOOL.findall(json.dumps([told.description, told.input_schema]))) - {told.name}
    assert {TOOLSET_OF[name] for name in named} <= {"core", TOOLSET_OF[told.name]}, named


def test_no_sentence_in_the_code_names_a_tool_that_may_be_hidden_from_who_reads_it() -> None:
    """Errors, notes and advice. A module of tools may name those of the toolset that it is part of."""
    package = Path(calltriage.__file__).parent
    homes = dict[str, set[str]]()
    for toolset, tools in TOOLSETS.items():
        for tool in tools:
            homes.setdefault(tool.__module__, set()).add(toolset)
    homes[pipeline_prompts.__name__] = {"pipelines"}  # offered with the toolset alone
    seen = 0
    for path in chain.from_iterable((package / part).rglob("*.py") for part in ("operations", "client", "server")):
        module = ".".join(("calltriage", *path.relative_to(package).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                for name in A_TOOL.findall(node.value):
                    seen += 1
                    assert TOOLSET_OF[name] in {"core", *homes.get(module, ())}, f"{module}:{node.lineno}: {name}"
    assert seen > 20


def test_without_a_choice_core_is_offered_and_all_is_everything() -> None:
    assert select() == TOOLSETS["core"]
    assert names(*select([ALL])) == names(*select(TOOLSETS)) == set(EVERY)


def test_an_excluded_tool_is_never_there_then_read_only_then_the_toolsets() -> None:
    for toolset, tools in TOOLSETS.items():
        readers = {tool.tool_name() for tool in tools if tool.effect is Effect.READ}
        if readers:
            assert names(*select([toolset], read_only=True)) == readers
    assert "get_issue" not in names(*select([ALL], ["get_issue"], read_only=True))
    assert names(*select(["core", "evidence"], ["list_flags"])) == names(*TOOLSETS["core"], *TOOLSETS["evidence"]) - {
        "list_flags"
    }


@pytest.mark.parametrize(
    ("toolsets", "excluded", "said"),
    [
        (["cores"], [], "Did you mean core?"),
        (["Cleanup"], [], "Did you mean cleanup?"),
        (["core"], ["add-flag"], "Did you mean add_flag?"),
        (["core"], ["get_isue"], "Did you mean get_issue?"),
        (["core"], ["canary"], "There are: list_issues"),
        (["canary"], [], "There are: core"),
        ([], [], "leaves no tool"),
        (["core"], names(*TOOLSETS["core"]), "leaves no tool"),
    ],
)
def test_a_wrong_selection_is_refused_with_the_nearest_name(toolsets: Any, excluded: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        select(toolsets, excluded)
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_hidden_tool_is_neither_listed_nor_callable_and_answers_as_an_unknown_name_does(
    client: ApiClient,
) -> None:
    async with offered(client, "core", read_only=True) as agent:
        listed = {tool.name for tool in (await agent.list_tools()).tools}
        unknown = await protocol_error(agent, "no_such_tool", x=1)
        assert unknown[0] == mcp_types.INVALID_PARAMS
        for hidden in set(EVERY) - listed:
            assert await protocol_error(agent, hidden) == unknown
            assert await protocol_error(agent, hidden, issue_id="T-1") == unknown
    assert listed == {tool.tool_name() for tool in TOOLSETS["core"] if tool.effect is Effect.READ}


async def test_no_advice_names_a_tool_that_is_not_offered(client: ApiClient) -> None:
    """In an error, in what a bundle left out, and in an error within a result."""
    async with offered(client) as agent:
        filed = await agent.call_tool("create_issue", {"title": "T", "severity": "low", "category": "Bug"})
        issue = {"issue_id": (filed.structured_content or {})["id"]}
    flag = {**issue, "call_id": "call-card", "type": "x"}
    without = ("attach_resource", "list_issues", "get_evidence")
    async with offered(client, "core", excluded=without, forbidden=without) as agent:
        for tool, arguments in (("add_flag", flag), ("get_issue", {"issue_id": "T-9999"})):
            answer = await agent.call_tool(tool, arguments)
            assert answer.is_error
            assert "try_next" not in json.dumps(answer.structured_content)
    async with offered(client, "core", "evidence") as agent:
        for number in range(30):
            more = {"attach_if_missing": True, "note": f"{number} " * 100}
            await agent.call_tool("add_flag", {**flag, **more})
        bundle = await agent.call_tool("get_evidence", {**issue, "max_tokens": 1000})
        assert "try_next" in json.dumps((bundle.structured_content or {})["omitted"])
    async with offered(client, "core", "evidence", excluded=["get_evidence", "list_activity"]) as agent:
        read = await agent.read_resource(f"triage://issues/{issue['issue_id']}/evidence")
        text = getattr(read.contents[0], "text", "")
        assert '"omitted"' in text
        assert '"tool":"get_evidence"' not in text
        assert '"tool":"list_activity"' not in text


async def test_a_server_that_only_reads_offers_no_folder_to_save_into(client: ApiClient, tmp_path: Path) -> None:
    for files in (FileRoots((tmp_path,)), FileRoots((tmp_path,), writable=False)):
        server = build_server(client, version="0", tools=select([ALL], read_only=True), files=files)
        async with Client(server) as agent:
            listed = {tool.name: tool for tool in (await agent.list_tools()).tools}
            for name, given in {
                "download_attachment": {"attachment_id": "a"}, "get_call_recording": {"call_id": "call-card"},
            }.items():  # fmt: skip
                hints = listed[name].annotations
                told = (listed[name].description, listed[name].input_schema["properties"])
                assert ("save_to" in str(told)) is files.writable
                assert hints is not None
                assert hints.read_only_hint is not files.writable
                if not files.writable:
                    error = await refused(agent, name, **given, save_to=str(tmp_path))
                    assert error["code"] == "unknown_argument"


@pytest.mark.parametrize("selection", [{"read_only": True}, {"excluded": ["create_issue", "list_issues"]}])
def test_the_instructions_name_only_what_is_offered(selection: dict[str, Any]) -> None:
    for toolsets in [[ALL], *([name] for name in TOOLSETS if name in {"core", "evidence"})]:
        tools = select(toolsets, **selection)
        text = OFFERING.instructions(names(*tools))
        assert not {name for name in EVERY if name in text} - names(*tools)
    assert "outcome" not in OFFERING.instructions(names(*select(read_only=True)))


def test_the_instructions_say_which_toolset_has_what_is_not_offered() -> None:
    text = OFFERING.instructions(names(*select()))
    assert "removing and deleting (cleanup)" in text
    assert all(f"({toolset})" in text for toolset in TOOLSETS.keys() - {"core"}), "each toolset that is not offered"
    assert "Not offered" not in OFFERING.instructions(names(*select([ALL])))
    assert "(cleanup)" not in OFFERING.instructions(names(*select(["core", "cleanup"])))


def test_a_description_sends_an_agent_only_to_tools_of_its_own_toolset_or_core() -> None:
    core = names(*TOOLSETS["core"])
    for toolset, tools in TOOLSETS.items():
        for tool in tools:
            named = {name for name in EVERY if name in (describe(tool).description or "").replace("-", " ").split()}
            assert named <= core | names(*tools), (toolset, tool)


ROUNDABOUT = [
    ("attach_resource", "create_issue", {"title": "T", "severity": "low", "category": "B", "resource_links": [
        {"resource_type": "call", "resource_id": "call-card"}]}, "resource_links"),
    ("attach_resource", "add_flag", {"call_id": "call-card", "type": "x", "attach_if_missing": True}, "attach_if_missing"),
    ("attach_resource", "create_attachment", {"name": "n", "text": "x", "attach_to": "T-1001"}, "attach_to"),
    ("link_issue", "create_issue", {"title": "T", "severity": "low", "category": "B", "on_duplicate": "link"},
     "on_duplicate"),
    ("prompt_norm", "add_comment", {"detail": "@norm mend it", "allow_agent_run": True}, "allow_agent_run"),
]  # fmt: skip


@pytest.mark.parametrize(("excluded", "tool", "arguments", "argument"), ROUNDABOUT)
async def test_no_argument_does_what_an_excluded_tool_does(
    client: ApiClient, excluded: str, tool: str, arguments: dict[str, Any], argument: str
) -> None:
    issue = await client.send(CreateIssue(title="T", severity="low", category="B"))
    tools = select([ALL], [excluded])
    async with Client(build_server(client, version="0", tools=tools, excluded=[excluded])) as agent:
        if tool in {"add_flag", "add_comment"}:
            arguments = {"issue_id": issue.id, **arguments}
        error = ((await agent.call_tool(tool, arguments)).structured_content or {})["error"]
    assert (error["code"], error["field"], error["outcome"]) == ("tool_excluded", argument, "not_committed")
    assert await client.send(GetIssue(issue_id=issue.id)) == issue
    assert len((await client.send(ListIssues())).items) == 1


async def test_no_resource_and_no_prompt_shows_what_an_excluded_tool_reads(client: ApiClient) -> None:
    excluded = ["get_transcript", "list_flag_types"]
    async with Client(build_server(client, version="0", tools=select([ALL], excluded), excluded=excluded)) as agent:
        assert "triage://flag-types" not in {one.uri for one in (await agent.list_resources()).resources}
        templates = (await agent.list_resource_templates()).resource_templates
        assert "triage://calls/{call_id}/transcript" not in {one.uri_template for one in templates}
        for uri in ("triage://calls/call-card/transcript", "triage://flag-types"):
            with pytest.raises(MCPError):
                await agent.read_resource(uri)
        with pytest.raises(MCPError):
            await agent.get_prompt("triage_call", {"call_id": "call-card"})


async def test_a_prompt_goes_with_the_tool_that_it_rests_on(client: ApiClient) -> None:
    without = ["get_evidence"]
    async with Client(build_server(client, version="0", tools=select(DEFAULT, without), excluded=without)) as agent:
        assert [prompt.name for prompt in (await agent.list_prompts()).prompts] == ["triage_call"]
        with pytest.raises(MCPError, match="Unknown prompt"):
            await agent.get_prompt("investigate_issue", {"issue_id": "T-1001"})
