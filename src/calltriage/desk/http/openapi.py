"""The desk's own description in OpenAPI 3.1, made from the catalogue; served at `/openapi.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import CATALOGUE, SCOPES
from calltriage.operations.base import Operation
from calltriage.operations.results import answered

REFS = "#/components/schemas/{model}"

REFUSALS = {
    400: "An input breaks a rule; the message names each path at fault.",
    401: "No key or token, or not a good one.",
    403: "The token's scopes do not cover this.",
    404: "Something that is named does not exist in the caller's organisation.",
    409: "Something stands against it.",
    413: "The body is too large.",
    500: "The desk failed; its log says why.",
    503: "The desk's storage cannot be used.",
}


@cache
def description() -> JsonObject:
    """The whole document. It is the same for every caller and names no address."""
    fixed = _fixed()
    schemas, shared = _schemas()
    paths: dict[str, JsonObject] = {}
    for operation in CATALOGUE:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    fixed["info"]["version"] = version("calltriage")
    fixed["paths"] = paths | fixed["paths"]
    fixed["components"]["schemas"] = shared | fixed["components"]["schemas"]
    fixed["components"]["securitySchemes"]["token"]["flows"]["clientCredentials"]["scopes"] = dict.fromkeys(SCOPES, "")
    return fixed


def _fixed() -> JsonObject:
    """The parts that no operation declares: routes of tokens, bytes and imports, error bodies, and ways to authenticate."""
    return json.loads(files("calltriage.desk.http").joinpath("openapi.json").read_bytes())


def _schemas() -> tuple[dict[tuple[str, str], JsonObject], JsonObject]:
    """Schemas of all operations by tool name and `input` or `result`, and the definitions that they share."""
    wanted: list[tuple[tuple[str, str], Any, TypeAdapter[Any]]] = []
    for operation in CATALOGUE:
        name = operation.tool_name()
        wanted.append(((name, "input"), "validation", TypeAdapter(operation)))
        if operation.result_type() is not None:
            wanted.append(((name, "result"), "validation", TypeAdapter(answered(operation.result_type()))))
    found, rest = TypeAdapter.json_schemas(cast("Any", wanted), ref_template=REFS, schema_generator=GenerateJsonSchema)
    shared: JsonObject = rest.get("$defs", {})
    schemas = {cast("tuple[str, str]", key): value for (key, _), value in found.items()}
    for key in [key for key in schemas if key[1] == "input"]:  # an input is spread over path, query and body
        reference = schemas[key].get("$ref")
        if reference is not None:
            schemas[key] = shared.pop(reference.removeprefix(REFS.format(model="")))
    return schemas, shared


def _operation(operation: type[Operation[object]], schemas: dict[tuple[str, str], JsonObject]) -> JsonObject:
    name = operation.tool_name()
    taken = schemas[name, "input"]
    properties, required = taken.get("properties", {}), set(taken.get("required", ()))
    path = operation.path_fields()
    rest = {field: schema for field, schema in properties.items() if field not in path}
    parameters = [{"name": field, "in": "path", "required": True, "schema": properties[field]} for field in path]
    described: JsonObject = {
        "operationId": name,
        "summary": (operation.__doc__ or "").partition("\n")[0],
        "security": [{way: list[str]()} for way in operation.contract.security],
    }
    if operation.method == "GET":
        parameters += [
            {"name": field, "in": "query", "required": field in required, "schema": _without_null(schema)}
            for field, schema in rest.items()
        ]
    elif rest:
        clearable = operation.clearable_fields()
        body: JsonObject = {
            "type": "object",
            "properties": {
                field: schema if field in clearable else _without_null(schema) for field, schema in rest.items()
            },
            "required": sorted(required & set(rest)),
        }
        if operation.contract.refuses_unknown:
            body["additionalProperties"] = False
        needed = bool(body["required"])
        described["requestBody"] = {"required": needed, "content": {"application/json": {"schema": body}}}
    return described | {"parameters": parameters, "responses": _responses(operation, schemas.get((name, "result")))}


def _without_null(schema: JsonObject) -> JsonObject:
    """The schema of an optional field. It may be left out; null is a value that only clearable fields take."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    if len(options) == 1:
        return {**rest, **options[0]}
    return {**rest, "anyOf": options} if options else rest


def _responses(operation: type[Operation[object]], result: JsonObject | None) -> JsonObject:
    responses: JsonObject = {}
    for status in operation.success:
        answer: JsonObject = {"description": "Done." if status == operation.success[0] else "Was there already."}
        if result is not None:
            schema = result
            if operation.envelope:
                schema = {
                    "type": "object",
                    "required": ["data", "errors"],
                    "properties": {"data": result, "errors": {"type": "null"}},
                }
            answer["content"] = {operation.contract.media_type: {"schema": schema}}
        responses[str(status)] = answer
    error = {"application/json": {"schema": {"$ref": REFS.format(model=f"{operation.api.value}_error")}}}
    for status in refusals(operation):
        responses[str(status)] = {"description": REFUSALS[status], "content": error}
    return responses


def refusals(operation: type[Operation[object]]) -> tuple[int, ...]:
    """Statuses of refusals: those that follow from the declaration, and those in the operation's `refuses`."""
    path, rest = operation.path_fields(), set(operation.model_fields) - set(operation.path_fields())
    found = {401, 500, 503, *operation.refuses}
    if rest:
        found.add(400)
    if path:
        found.add(404)
    if operation.scope is not None:
        found.add(403)
    if operation.contract.refuses_malformed_ids:  # of reads, too
        found.add(400)
    if operation.method != "GET":
        found |= {400, 413}  # a body that is no JSON object, or too large, also where none is needed
    return tuple(sorted(found))
