"""What agents read before they call: flat, small, and true."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import jsonschema
import pytest
from pydantic import StringConstraints
from tokens import real_tokens

from calltriage.offering import ALL
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import WireOnly
from calltriage.server.call.schemas import arguments_model
from calltriage.server.call.table import describe
from calltriage.server.context import Workflow
from calltriage.server.toolsets import DEFAULT, OFFERING, TOOLSETS, select

TOOLS = select([ALL])
LISTED = [describe(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in TOOLS]


FREE_IDS = {"owner_id", "assignee_id", "node_id", "agent_id", "agent_version_id"}
"""Ids that may be any text: the contract says no form of theirs."""
MORE = {"create_issue": 600}
"""Tokens that a tool may cost where they are more than others may."""
CORE, EVERYTHING = 4_400, 10_000
"""Tokens that the surface costs; what grows it by more than a twentieth raises them here."""


IN_CORE = {tool.tool_name() for tool in TOOLSETS["core"]}


def visible(tool: dict[str, Any]) -> str:
    shown = {name: tool[name] for name in ("name", "description", "inputSchema")}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def whole(tools: list[dict[str, Any]]) -> str:
    return json.dumps(tools, ensure_ascii=False, separators=(",", ":"))


def walk(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in cast("list[Any]", node) for found in walk(item)]
    if not isinstance(node, dict):
        return []
    members = cast("dict[str, Any]", node)
    return [members, *(found for member in members.values() for found in walk(member))]


@pytest.mark.parametrize("tool", LISTED, ids=lambda tool: tool["name"])
def test_an_input_schema_is_flat_closed_and_bounded(tool: dict[str, Any]) -> None:
    schema = tool["inputSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    for node in walk(schema):
        assert not {"$ref", "anyOf", "oneOf", "allOf"} & set(node)
        match node.get("type"):
            case "string":
                assert "enum" in node or "maxLength" in node, node
            case "integer":
                assert "maximum" in node, node
            case "array":
                assert "items" in node, node
            case _:
                pass
    for name, node in schema["properties"].items():
        assert "title" not in node
        if name.endswith("_id") and name not in FREE_IDS:
            assert "pattern" in node, name


@pytest.mark.parametrize("tool", LISTED, ids=lambda tool: tool["name"])
def test_an_output_schema_accepts_a_result_or_an_error(tool: dict[str, Any]) -> None:
    schema = tool["outputSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    jsonschema.validate({"error": {"code": "x", "message": "y", "retryable": False}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema)


def test_hints_follow_from_the_effect_and_effects_from_the_http_verb() -> None:
    for tool in TOOLS:
        hints = describe(tool).annotations
        assert hints is not None
        saves = issubclass(tool, Workflow) and tool.saves
        assert hints.read_only_hint is (tool.effect is Effect.READ and not saves)
        # Its second success says that a repeat finds what is there (bland-triage, section 8, our choice).
        assert hints.idempotent_hint is (tool.effect is not Effect.ADD or tool.tool_name() == "link_issue")
        assert hints.destructive_hint is (tool.effect in {Effect.CHANGE, Effect.REMOVE})
    verbs = {
        Effect.READ: {"GET"}, Effect.ADD: {"POST"}, Effect.ENSURE: {"POST", "PUT"}, Effect.CHANGE: {"PATCH"},
        Effect.REMOVE: {"DELETE"},
    }  # fmt: skip
    for operation in CATALOGUE:
        assert operation.method in verbs[operation.effect], operation


def test_the_surface_stays_within_its_budget() -> None:
    costs = {tool["name"]: real_tokens(visible(tool)) for tool in LISTED}
    assert {name: cost for name, cost in costs.items() if cost > MORE.get(name, 450)} == {}
    core = sum(costs[tool.tool_name()] for tool in TOOLSETS["core"])
    assert core <= 4_500
    assert sum(costs.values()) <= 11_000
    assert core <= CORE * 1.05, "core grew: raise the number on purpose"
    assert sum(costs.values()) <= EVERYTHING * 1.05, "the surface grew: raise the number on purpose"
    assert len(TOOLSETS["core"]) <= 14
    assert real_tokens(whole(LISTED)) <= 24_000
    assert real_tokens(whole([tool for tool in LISTED if tool["name"] in IN_CORE])) <= 9_000
    assert max(real_tokens(OFFERING.instructions(OFFERING.offered(named))) for named in ([ALL], DEFAULT)) <= 400


def test_descriptions_are_short_enough_for_every_host() -> None:
    assert max(len(tool["description"]) for tool in LISTED) <= 600
    assert max(len(OFFERING.instructions(OFFERING.offered(named))) for named in ([ALL], DEFAULT)) <= 2_048


class Partly(Operation[None], http="GET /parts", effect=Effect.READ):
    """Has a field that no tool offers."""

    offered: Annotated[str | None, StringConstraints(max_length=9)] = None
    hidden: Annotated[str | None, WireOnly()] = None


def test_fields_that_only_the_wire_knows_are_not_offered() -> None:
    assert set(arguments_model(Partly).model_fields) == {"offered"}
