"""Output schemas as programs read them: rendered as TypeScript, they name every member of a result."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest

from calltriage.offering import ALL
from calltriage.operations.base import Effect, Tool
from calltriage.server.call.result_schemas import result_schema
from calltriage.server.toolsets import select

OPEN = {
    "arguments": "of any tool",
    "metadata": "labels of a file, or what a vendor knows of evidence and of an entry",
    "payload": "what a vendor's agent made",
    "external_urls": "links in no documented form",
    "external_link": "the vendor shows it as null alone",
    "latest_agent_session": "the vendor shows it as null alone",
    "provider": "where a vendor keeps bytes",
    "actor": "its kinds are an open set",
    "resources": "evidence as the feed shows it, in no documented form",
    "variables": "what a pathway knows of a conversation",
    "citation_variables": "what a pathway knows of a conversation, and where from",
    "pathway_tags": "in no documented form",
    "attachments": "media of a message, in no documented form",
    "disposition_logs": "in no documented form",
    "referenced_issues": "issues as the feed shows them, in no documented form",
}
"""Members whose values an API leaves open, and why."""
FURTHER = {
    "get_call": {"facts"},
    "get_sms_conversation": {"conversation", "messages"},
    "get_affected_context": {"items"},
    "get_call_event_stream": {"items"},
}
"""Objects in which an API's further members stand beside the documented ones, by tool."""
TOOLS = {tool.tool_name(): tool for tool in select([ALL])}


@dataclass
class TypeScript:
    """Renders a schema as a host does that lets models write code.

    Attributes:
        definitions: the schema's own.
        unknown: members whose values have no type.
        further: objects that have further members.
    """

    definitions: dict[str, Any]
    unknown: set[str] = field(default_factory=set[str])
    further: set[str] = field(default_factory=set[str])

    def of(self, node: dict[str, Any], name: str) -> str:
        """The type of a member's value."""
        if "$ref" in node:
            return self.of(self.definitions[node["$ref"].removeprefix("#/$defs/")], name)
        if "enum" in node:
            return " | ".join(map(json.dumps, node["enum"]))
        if "anyOf" in node:
            return " | ".join(self.of(one, name) for one in node["anyOf"])
        if "properties" in node:
            return self._object(node, name)
        match node.get("type"):
            case list(several):
                return " | ".join(self.of({"type": one}, name) for one in several)
            case "array":
                return f"({self.of(node.get('items', {}), name)})[]"
            case "object":
                return f"{{ [name: string]: {self.of(node.get('additionalProperties', {}), name)} }}"
            case "integer" | "number":
                return "number"
            case "string" | "boolean" | "null" as kind:
                return kind
            case _:
                self.unknown.add(name)
                return "unknown"

    def _object(self, node: dict[str, Any], name: str) -> str:
        always = node.get("required", ())
        members = [
            f"{member}{'' if member in always else '?'}: {self.of(one, member)};"
            for member, one in node["properties"].items()
        ]
        if node.get("additionalProperties"):
            self.further.add(name)
            members.append("[name: string]: unknown;")
        return f"{{ {' '.join(members)} }}"


def rendered(tool: type[Tool]) -> tuple[str, TypeScript]:
    schema = result_schema(tool)
    renderer = TypeScript(schema.get("$defs", {}))
    return renderer.of(schema, "result"), renderer


@pytest.mark.parametrize("name", TOOLS)
def test_a_result_as_typescript_has_no_unknown_but_what_an_api_leaves_open(name: str) -> None:
    text, renderer = rendered(TOOLS[name])
    assert renderer.unknown <= OPEN.keys()
    assert renderer.further == FURTHER.get(name, set())
    assert ("unknown" in text.replace('"unknown"', "")) is bool(renderer.unknown | renderer.further)


def test_every_member_that_is_said_to_be_open_is_one() -> None:
    assert {name for tool in TOOLS.values() for name in rendered(tool)[1].unknown} == OPEN.keys()


def test_a_type_names_each_member_and_whether_it_is_always_there() -> None:
    text, _ = rendered(TOOLS["mark_issue_viewed"])
    issues = "({ id?: string; triage_id?: string; updated_at?: string; })[]"
    view = f"{{ issue_id?: string; last_viewed_at?: string; outcome: string; issues?: {issues}; }}"
    assert text == f"{view} | {{ error: {{ code?: string; message?: string; }}; }}"


@pytest.mark.parametrize("name", TOOLS)
def test_an_output_schema_is_an_object_whose_references_stay_inside_it(name: str) -> None:
    schema = result_schema(TOOLS[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    result, error = schema["anyOf"]
    assert error["required"] == ["error"]
    assert (result["required"] == ["outcome"]) is (TOOLS[name].effect is not Effect.READ)
    text = json.dumps(schema)
    names = set(re.findall(r'"\$ref": "#/\$defs/(\w+)"', text))
    assert names == set(schema.get("$defs", {}))
    assert text.count('"$ref"') >= 2 * len(names)  # what stands once needs no definition
    assert not re.search(r'"(title|description|pattern|format|default|minLength|maxLength)": ["0-9]', text)
