"""The desk's own OpenAPI, made from the catalogue, against the contracts', operation by operation."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import yaml
from contract.openapi_differences import DIFFERENCES, NOT_SERVED

CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts"
FILES = ("bland-triage.openapi.yaml", "talkdesk-attachments.openapi.yaml")
METHODS = ("get", "post", "put", "patch", "delete")
RULES = (
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)


class Document:
    """An OpenAPI document, its references followed and what means the same written the same."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By method and path; the names of path parameters are not part of a wire."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for path, item in self.root["paths"].items():
            for method in METHODS:
                if method in item:
                    parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                    found[method.upper(), re.sub(r"\{\w+\}", "{}", path)] = {**item[method], "parameters": parameters}
        return found

    def rules(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What a schema asks of a value: types, limits and words, those of its items and members included."""
        schema = self.resolved(schema)
        for part in schema.get("allOf", ()):
            schema = {**self.resolved(part), **schema}
        found = {name: schema[name] for name in RULES if name in schema}
        if "const" in found:
            found["enum"] = [found.pop("const")]
        options = [self.rules(option) for option in schema.get("anyOf", ())]
        types = {kind for option in options for kind in option.get("type", ())}
        for option in options:
            found |= {name: value for name, value in option.items() if name != "type"}
        own = found.get("type", [])
        types |= set(own if isinstance(own, list) else [own])
        if "string" in types and "enum" in found:
            found["enum"] = sorted(found["enum"])
        if "items" in schema:
            found["items"] = self.rules(schema["items"])
        if "properties" in schema:
            found["members"] = self.members(schema)
        return {**found, "type": sorted(types)}

    def members(self, schema: dict[str, Any]) -> dict[str, Any]:
        schema = self.resolved(schema)
        required = set(schema.get("required", ()))
        return {
            name: {**self.rules(member), "required": name in required} for name, member in schema["properties"].items()
        }

    def inputs(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Query parameters and members of the body by name; of path parameters only their number is a fact of the wire."""
        found: dict[str, Any] = {}
        in_path = 0
        for raw in operation["parameters"]:
            parameter = self.resolved(raw)
            if parameter["in"] == "path":
                in_path += 1
                continue
            schema = parameter.get("schema") or {"type": "string"}  # JSON in a query is text
            found[f"{parameter['in']} {parameter['name']}"] = {
                **self.rules(schema), "required": parameter.get("required", False)
            }  # fmt: skip
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = self.resolved(content["schema"])
            if "properties" in schema:
                found |= {f"body {name}": member for name, member in self.members(schema).items()}
                found["body"] = {"closed": schema.get("additionalProperties", True) is False}
        return {**found, "path": {"count": in_path}}

    def statuses(self, operation: dict[str, Any]) -> set[str]:
        return set(operation["responses"])


def flat(facts: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested facts under dotted names."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        inner = cast("dict[str, Any]", value) if isinstance(value, dict) else None
        found |= {f"{before}{name}": value} if inner is None else flat(inner, f"{before}{name}.")
    return found


def differences(theirs: Document, ours: Document) -> list[str]:
    """Everything that differs, with both sides."""
    found: list[str] = []
    served = ours.operations()
    for key, wanted in theirs.operations().items():
        name = wanted["operationId"]
        if key not in served:
            continue
        here = served[key]
        left, right = flat(theirs.inputs(wanted)), flat(ours.inputs(here))
        left["statuses"], right["statuses"] = theirs.statuses(wanted), ours.statuses(here)
        for what in sorted(left.keys() | right.keys()):
            if what == "statuses":
                for status in sorted(left[what] ^ right[what]):
                    where = "contract" if status in left[what] else "desk"
                    found.append(f"{name}: {where} has {status}")
            elif left.get(what) != right.get(what):
                found.append(f"{name} {what}: contract {left.get(what)!r}, desk {right.get(what)!r}")
    return found


@pytest.fixture
async def ours(desk: httpx2.AsyncClient) -> Document:
    answer = await desk.get("/openapi.json", headers={"authorization": ""})
    assert answer.status_code == 200
    return Document(answer.json())


@pytest.fixture
def theirs() -> list[Document]:
    if not CONTRACTS.is_dir():
        pytest.skip("the contracts are not here")
    return [Document(yaml.safe_load((CONTRACTS / name).read_text(encoding="utf-8"))) for name in FILES]


async def test_every_operation_of_the_contracts_is_served_or_left_out_on_purpose(
    ours: Document, theirs: list[Document]
) -> None:
    wanted = {key: found["operationId"] for document in theirs for key, found in document.operations().items()}
    served = ours.operations().keys()
    assert {name for key, name in wanted.items() if key not in served} == set(NOT_SERVED)
    assert set(served) - set(wanted) == {("POST", "/v1/calls/import"), ("GET", "/v1/calltriage/calls")}, (
        "our own way in for calls, our own search in them, and nothing else"
    )


async def test_inputs_and_statuses_differ_from_the_contracts_only_where_it_is_meant(
    ours: Document, theirs: list[Document]
) -> None:
    found = [line for document in theirs for line in differences(document, ours)]
    assert [line for line in found if not any(fnmatchcase(line, meant) for meant in DIFFERENCES)] == []
    idle = [meant for meant in DIFFERENCES if not any(fnmatchcase(line, meant) for line in found)]
    assert idle == [], "these do not differ any more"
