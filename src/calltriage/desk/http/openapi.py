"""The desk's own description in OpenAPI 3.1, made from the catalogue; served at `/openapi.json`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from calltriage.desk.http.tokens import ASSERTION_TYPE
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import CATALOGUE, SCOPES
from calltriage.operations.base import Api, Operation

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
ERRORS = {
    Api.TRIAGE: {
        "type": "object",
        "required": ["data", "errors"],
        "properties": {
            "data": {"type": "null"},
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["error", "message"],
                    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
                },
            },
        },
    },
    Api.ATTACHMENTS: {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "fields": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "description"],
                    "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
                },
            },
        },
    },
}
SECURITY: dict[Api, list[dict[str, list[str]]]] = {
    Api.TRIAGE: [{"key": []}, {"bearer_key": []}],
    Api.ATTACHMENTS: [{"token": []}],
}


@cache
def description() -> JsonObject:
    """The whole document. It is the same for every caller and names no address: the desk is wherever it was read."""
    schemas, shared = _schemas()
    paths: dict[str, JsonObject] = {}
    for operation in CATALOGUE:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "calltriage desk",
            "version": version("calltriage"),
            "description": "Bland AI's triage contract and Talkdesk's attachments contract, embedded.",
        },
        "servers": [{"url": "/"}],
        "paths": paths | _byte_plane() | _arriving(),
        "components": {
            "schemas": shared | {f"{api.value}_error": schema for api, schema in ERRORS.items()},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "authorization"},
                "bearer_key": {"type": "http", "scheme": "bearer"},
                "token": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": dict.fromkeys(SCOPES, "")}},
                },
                "client": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _schemas() -> tuple[dict[tuple[str, str], JsonObject], JsonObject]:
    """Inputs and results of all operations by (tool name, what), and the definitions that they share."""
    wanted: list[tuple[tuple[str, str], Any, TypeAdapter[Any]]] = []
    for operation in CATALOGUE:
        name = operation.tool_name()
        wanted.append(((name, "input"), "validation", TypeAdapter(operation)))
        if operation.result_type() is not None:
            wanted.append(((name, "result"), "validation", TypeAdapter(operation.result_type())))
    found, rest = TypeAdapter.json_schemas(cast("Any", wanted), ref_template=REFS, schema_generator=GenerateJsonSchema)
    shared: JsonObject = rest.get("$defs", {})
    schemas = {cast("tuple[str, str]", key): value for (key, _), value in found.items()}
    for key in [key for key in schemas if key[1] == "input"]:  # an input is spread over path, query and body
        reference = schemas[key].get("$ref")
        if reference is not None:
            schemas[key] = shared.pop(reference.removeprefix(REFS.format(model="")))
    return schemas, shared


def _operation(operation: type[Operation[Any]], schemas: dict[tuple[str, str], JsonObject]) -> JsonObject:
    name = operation.tool_name()
    taken = schemas[name, "input"]
    properties, required = taken.get("properties", {}), set(taken.get("required", ()))
    path = operation.path_fields()
    rest = {field: schema for field, schema in properties.items() if field not in path}
    parameters = [{"name": field, "in": "path", "required": True, "schema": properties[field]} for field in path]
    described: JsonObject = {
        "operationId": name,
        "summary": (operation.__doc__ or "").partition("\n")[0],
        "security": SECURITY[operation.api],
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
        if operation.api is Api.TRIAGE:
            body["additionalProperties"] = False
        needed = bool(body["required"])
        described["requestBody"] = {"required": needed, "content": {"application/json": {"schema": body}}}
    return described | {"parameters": parameters, "responses": _responses(operation, schemas.get((name, "result")))}


def _without_null(schema: JsonObject) -> JsonObject:
    """A field that may be left out is optional; null is a value of its own, and only some fields take it."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    if len(options) == 1:
        return {**rest, **options[0]}
    return {**rest, "anyOf": options} if options else rest


def _responses(operation: type[Operation[Any]], result: JsonObject | None) -> JsonObject:
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
            media_type = "application/hal+json" if operation.api is Api.ATTACHMENTS else "application/json"
            answer["content"] = {media_type: {"schema": schema}}
        responses[str(status)] = answer
    error = {"application/json": {"schema": {"$ref": REFS.format(model=f"{operation.api.value}_error")}}}
    for status in refusals(operation):
        responses[str(status)] = {"description": REFUSALS[status], "content": error}
    return responses


def refusals(operation: type[Operation[Any]]) -> tuple[int, ...]:
    """Statuses that are no success: what follows from the declaration, and what the operation says besides."""
    path, rest = operation.path_fields(), set(operation.model_fields) - set(operation.path_fields())
    found = {401, 500, 503, *operation.refuses}
    if rest:
        found.add(400)
    if path:
        found.add(404)
    if operation.scope is not None:
        found.add(403)
    if operation.api is Api.ATTACHMENTS:  # an id that is too long, even of a read
        found.add(400)
    if operation.method != "GET":
        found |= {400, 413}  # a body that is no JSON object, or too large, also where none is needed
    return tuple(sorted(found))


def _arriving() -> JsonObject:
    """The route by which calls come in."""
    data = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    texts = {"type": "array", "items": {"type": "string"}}
    counts = {name: {"type": "integer", "minimum": 0} for name in ("added", "changed", "unchanged", "skipped")}
    loaded = {
        "type": "object",
        "required": [*counts, "complaints", "notes"],
        "properties": {**counts, "complaints": texts, "notes": texts},
    }
    envelope = {
        "type": "object",
        "required": ["data", "errors"],
        "properties": {"data": loaded, "errors": {"type": "null"}},
    }
    given = {"format": {"type": "string"}, "time_zone": {"type": "string"}, "skip_bad": {"type": "boolean"}}
    refused = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Api.TRIAGE.value}_error"}}}
    answers = {
        str(status): {"description": REFUSALS[status], "content": refused} for status in (400, 401, 413, 500, 503)
    }
    return {
        "/v1/calls/import": {
            "post": {
                "operationId": "import_calls",
                "summary": "Load calls, conversations and files in any format of `calltriage desk import`",
                "security": [{"key": []}, {"bearer_key": []}],
                "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in given.items()],
                "requestBody": {"required": True, "content": data},
                "responses": {
                    "200": {"description": "Loaded.", "content": {"application/json": {"schema": envelope}}},
                    **answers,
                },
            }
        }
    }


def _byte_plane() -> JsonObject:
    """The two routes that are no operations: tokens, and the bytes behind signed URLs."""
    signed: list[JsonObject] = [
        {"name": "object_key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
        {"name": "expires", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 0}},
        {"name": "signature", "in": "query", "required": True,
         "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
    ]  # fmt: skip
    xml = {"application/xml": {"schema": {"type": "string"}}}
    data = {"*/*": {"schema": {"type": "string", "format": "binary"}}}

    def answers(content: JsonObject | None, good: tuple[int, ...], *bad: int) -> JsonObject:
        done = {str(status): {"description": "Done."} | ({"content": content} if content else {}) for status in good}
        return done | {str(status): {"description": "Refused.", "content": xml} for status in bad}

    form = {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"type": "string", "enum": ["client_credentials"]},
            "scope": {"type": "string"},
            "client_assertion_type": {"type": "string", "enum": [ASSERTION_TYPE]},
            "client_assertion": {"type": "string"},
        },
    }
    token = {
        "type": "object",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {
            "access_token": {"type": "string"},
            "token_type": {"type": "string"},
            "expires_in": {"type": "integer"},
            "scope": {"type": "string"},
        },
    }
    refused = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    }

    def as_json(text: str, schema: JsonObject) -> JsonObject:
        return {"description": text, "content": {"application/json": {"schema": schema}}}

    issue: JsonObject = {
        "operationId": "issue_access_token",
        "summary": "Trade client credentials for a token.",
        "security": [{"client": []}, {}],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {
            "200": as_json("The token.", token),
            "400": as_json(REFUSALS[400], refused),
            "401": as_json(REFUSALS[401], refused),
            "408": {"description": "The form came too slowly."},
            "413": {"description": REFUSALS[413]},
        },
    }
    put: JsonObject = {
        "operationId": "put_upload_bytes",
        "summary": "Store the bytes of an upload link.",
        "security": [],
        "requestBody": {"required": True, "content": data},
        "responses": answers(None, (200,), 400, 403, 411, 503),
    }
    get: JsonObject = {
        "operationId": "get_download_bytes",
        "summary": "Read the bytes behind a download link.",
        "security": [],
        "parameters": [{"name": "Range", "in": "header", "required": False, "schema": {"type": "string"}}],
        "responses": answers(data, (200, 206), 400, 403, 404, 416, 503),
    }
    return {
        "/oauth/token": {"post": issue},
        "/blobs/{object_key}": {"parameters": signed, "put": put, "get": get},
    }
