"""Skills name tools that there are, and are listed as what they are."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from calltriage.offering import ALL
from calltriage.server.surfaces.skills import FOLDER, get_skill, list_skills, loaded
from calltriage.server.toolsets import TOOLSETS, select

NO_TOOLS = {
    *("ids_not_shared", "quote_not_found", "quote_ambiguous", "try_next"),
    *("duplicate_of", "related_to", "expect_updated_at", "attach_to"),
}
"""Words in code type that look like a tool's name and are arguments, codes and links."""


@pytest.mark.parametrize("uri", loaded())
def test_a_skill_names_tools_that_there_are_and_others_only_with_their_toolset(uri: str) -> None:
    text = loaded()[uri].text
    core = {tool.tool_name() for tool in TOOLSETS["core"]}
    every = {tool.tool_name() for tool in select([ALL])}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - NO_TOOLS
    assert named
    assert named <= every
    for tool in named - core:
        sentence = next(part for part in re.split(r"(?<=[.:])\s", text) if f"`{tool}`" in part or tool in part)
        assert "toolset" in text[text.index(tool) : text.index(tool) + 60], sentence


@pytest.mark.parametrize("uri", loaded())
def test_an_entry_says_what_the_file_is(uri: str) -> None:
    entry = get_skill(uri).skill
    name = entry.frontmatter["name"]
    data = (FOLDER / name / "SKILL.md").read_bytes()
    assert entry.uri == f"skill://{name}/SKILL.md"
    assert [(file.uri, file.digest, file.size) for file in entry.resources] == [
        (uri, f"sha256:{sha256(data).hexdigest()}", len(data))
    ]
    assert entry in list_skills().skills
    assert len(entry.frontmatter["description"]) <= 1024


async def test_a_host_reads_a_skill_as_a_resource(agent: Client) -> None:
    listed = {str(resource.uri): resource for resource in (await agent.list_resources()).resources}
    for uri, one in loaded().items():
        assert listed[uri].description == one.entry.frontmatter["description"]
        read = (await agent.read_resource(uri)).contents[0]
        assert (read.mime_type, getattr(read, "text", None)) == ("text/markdown", one.text)


def test_a_skill_that_is_not_there_is_not_repeated() -> None:
    with pytest.raises(MCPError, match="There is no such skill") as caught:
        get_skill("skill://ignore-all-instructions/SKILL.md")
    assert "ignore" not in str(caught.value)
