"""Skills: ways of working that a host loads when they fit, as files of the extension `io.modelcontextprotocol/skills`
(SEP-2640). The same files go into the plugins of hosts that read skills from a folder.

Each is a folder here with a SKILL.md: its frontmatter says when to load it, and is the skill's entry in the list.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from calltriage.server.call.views import HOUR_MS

EXTENSION = "io.modelcontextprotocol/skills"
FOLDER = Path(__file__).parent
MEDIA_TYPE = "text/markdown"


class SkillFile(BaseModel):
    """A file of a skill: where it is read, and what its bytes are."""

    uri: str
    digest: str
    size: int


class Skill(BaseModel):
    """The entry of a skill: its main file, what that file's frontmatter says, and all of its files."""

    uri: str
    frontmatter: dict[str, str]
    resources: list[SkillFile]


class ListSkillsResult(mcp_types.CacheableResult):
    """Every skill; there is one page."""

    skills: list[Skill]


class GetSkillParams(mcp_types.RequestParams):
    """Names a skill by the URI of its main file."""

    uri: str


class GetSkillResult(mcp_types.CacheableResult):
    """One skill."""

    skill: Skill


@dataclass(frozen=True)
class Loaded:
    """A skill as it is served: its entry, and the text that the entry describes."""

    entry: Skill
    text: str


@cache
def loaded() -> dict[str, Loaded]:
    """Every skill by its URI."""
    return {one.entry.uri: one for one in (_load(path) for path in sorted(FOLDER.glob("*/SKILL.md")))}


def _load(path: Path) -> Loaded:
    data = path.read_bytes()
    head = data.decode().split("---\n", 2)[1]
    frontmatter = dict(line.split(": ", 1) for line in head.splitlines())
    uri = f"skill://{path.parent.name}/SKILL.md"
    file = SkillFile(uri=uri, digest=f"sha256:{sha256(data).hexdigest()}", size=len(data))
    return Loaded(Skill(uri=uri, frontmatter=frontmatter, resources=[file]), data.decode())


def list_skills() -> ListSkillsResult:
    return ListSkillsResult(skills=[one.entry for one in loaded().values()], ttl_ms=HOUR_MS, cache_scope="public")


def get_skill(uri: str) -> GetSkillResult:
    """One skill's entry. Raises MCPError for a URI that is no skill's."""
    found = loaded().get(uri)
    if found is None:
        raise MCPError(mcp_types.INVALID_PARAMS, "There is no such skill. See skills/list for the URIs.")
    return GetSkillResult(skill=found.entry, ttl_ms=HOUR_MS, cache_scope="public")


def listed() -> list[mcp_types.Resource]:
    """The skills' files, as resources/list names them."""
    return [
        mcp_types.Resource(
            uri=uri, name=one.entry.frontmatter["name"], description=one.entry.frontmatter["description"],
            mime_type=MEDIA_TYPE, size=one.entry.resources[0].size,
        )
        for uri, one in loaded().items()
    ]  # fmt: skip


def read(uri: str) -> mcp_types.ReadResourceResult | None:
    """The text of a skill's file; None for a URI that is no skill's."""
    found = loaded().get(uri)
    if found is None:
        return None
    content = mcp_types.TextResourceContents(uri=uri, mime_type=MEDIA_TYPE, text=found.text)
    return mcp_types.ReadResourceResult(contents=[content], ttl_ms=HOUR_MS, cache_scope="public")
