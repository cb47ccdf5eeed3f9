"""The board's documents, as hosts find and read them. How they behave in a browser is tested in tests/board."""

from __future__ import annotations

import json
import re
from typing import Any

import mcp_types
import pytest
from mcp.client import Client

from calltriage.client.client import Client as ApiClient
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.call.table import describe
from calltriage.server.call.views import BOARD, EXTENSION, FINDINGS
from calltriage.server.surfaces.board import FOLDER, MEDIA_TYPE, META, SCREENS, VIEWS, Board, Form, script
from calltriage.server.toolsets import select

NEVER = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\b|setTimeout\(\s*[\"'`]|http"
)
"""What makes code or markup of text, and addresses of anything elsewhere."""
NAMES = ("http://www.w3.org/2000/svg", "http-equiv")
"""A namespace, which is no address, and an attribute's name."""


both = pytest.mark.parametrize("uri", [BOARD, FINDINGS])


def document(uri: str) -> str:
    return Board(frozenset(tool.tool_name() for tool in select([ALL])), "1.2.3").view(uri)


async def contents(agent: Client, uri: str) -> mcp_types.TextResourceContents:
    found = (await agent.read_resource(uri)).contents[0]
    assert isinstance(found, mcp_types.TextResourceContents)
    return found


async def test_tool_listing_and_contents_name_the_same_view(full_agent: Client) -> None:
    views = {tool.name: (tool.meta or {}).get("ui") for tool in (await full_agent.list_tools()).tools}
    assert {name: view for name, view in views.items() if view} == {
        "get_issue": {"resourceUri": BOARD}, "get_evidence": {"resourceUri": BOARD},
        "list_findings": {"resourceUri": FINDINGS}, "get_finding": {"resourceUri": FINDINGS},
    }  # fmt: skip
    listed = {str(one.uri): one for one in (await full_agent.list_resources()).resources}
    for uri in VIEWS:
        read = await contents(full_agent, uri)
        assert (listed[uri].mime_type, listed[uri].meta) == (read.mime_type, read.meta) == (MEDIA_TYPE, META)
        assert str(read.uri) == uri


async def test_the_extension_is_declared_to_hosts_of_the_newer_protocol(client: ApiClient) -> None:
    async with Client(build_server(client, version="0.0.0"), mode="auto") as host:
        assert (host.server_capabilities.extensions or {})[EXTENSION] == {}


@both
async def test_a_document_knows_the_tools_that_are_offered_and_that_it_calls(client: ApiClient, uri: str) -> None:
    for read_only in (False, True):
        tools = select([ALL], read_only=read_only)
        async with Client(build_server(client, version="3.2.1", tools=tools)) as host:
            text = (await contents(host, uri)).text
        known: dict[str, Any] = json.loads(
            re.findall(r'<script type="application/json" id="offer">(.*)</script>', text)[0]
        )
        called = sorted(tool.tool_name() for tool in tools if f'"{tool.tool_name()}"' in script(VIEWS[uri].form))
        assert known == {"version": "3.2.1", "tools": called}
        writes, reads = {BOARD: ("update_issue", "list_issues"), FINDINGS: ("review_finding", "list_findings")}[uri]
        assert (writes in called, reads in called) == (not read_only, True)


@both
def test_a_document_is_small_and_makes_nothing_of_text(uri: str) -> None:
    text = document(uri)
    assert len(text.encode()) <= 40_000
    for name in NAMES:
        assert text.count(name) == 1
        text = text.replace(name, "")
    assert NEVER.findall(text) == []


@both
def test_a_document_is_one_file_whose_own_policy_lets_it_load_nothing(uri: str) -> None:
    text = document(uri)
    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert len(policy) == 1
    rules = dict(rule.split(" ", 1) for rule in policy[0].split("; "))
    assert rules == {
        "default-src": "'none'", "script-src": "'unsafe-inline'", "style-src": "'unsafe-inline'", "base-uri": "'none'",
        "form-action": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    assert not re.search(r"<(link|img|iframe|object|embed|form|base)\b|\bsrc=|url\(|@import", text)
    assert (text.count("<script"), text.count("</script>"), text.count("<style>")) == (2, 2, 1)


def test_nothing_that_a_server_is_called_ends_the_data_of_the_document() -> None:
    text = Board(frozenset({"list_issues"}), "<!--</script><script>alert(1)").view(BOARD)
    assert text.count("</script>") == 2
    kept = '{"version": "\\u003c!--\\u003c/script>\\u003cscript>alert(1)", "tools": ["list_issues"]}'
    assert "alert" not in text.replace(kept, "")


def test_each_part_of_a_script_is_in_a_form_and_short_enough_to_read() -> None:
    forms = tuple(script(form) for form in SCREENS)
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400
        functions = re.findall(r"^(?:async )?function (\w+)", text, re.MULTILINE)
        assert any(all(f"function {function}(" in whole for function in functions) for whole in forms)


def test_the_page_has_the_screens_of_all_views() -> None:
    assert set(SCREENS["page"]) == {name for view in VIEWS.values() for name in SCREENS[view.form]}


@pytest.mark.parametrize("form", SCREENS)
def test_no_two_parts_of_a_script_give_one_name_to_two_things(form: Form) -> None:
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script(form), re.MULTILINE)
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))


def test_no_text_of_a_script_loses_a_blank_when_it_is_made_small() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        templates = re.findall(r"`[^`]*`", text)
        assert not [one for one in templates if one.count("${") != one.count("}")], "a template inside of a template"
        whole = "".join(script(form) for form in SCREENS)
        assert [one for one in templates if re.sub(r"\$\{.*?\}", "", one) not in re.sub(r"\$\{.*?\}", "", whole)] == []


def test_the_view_of_a_tool_costs_an_agent_nothing_that_it_reads() -> None:
    listed = describe(next(tool for tool in select() if tool.tool_name() == "get_evidence")).model_dump(by_alias=True)
    assert "ui://" not in json.dumps([listed[name] for name in ("name", "description", "inputSchema")])
