"""The desk's plain HTTP API as two tools: one that sends any request, and one that shows the API's document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
from agent.surfaces import Answer, Tool
from conftest import KEY

from calltriage.desk.http.access import CLIENT_ID
from calltriage.leaves.gate import compact

TOOLS = (
    Tool(
        "api_document",
        "Read the API's document in OpenAPI: the list of its operations, or one operation with its schemas.",
        {"type": "object", "properties": {"operation_id": {"type": "string"}}},
    ),
    Tool(
        "request",
        "Send a request to the API. Credentials are added. Answers the status and the body.",
        {
            "type": "object",
            "properties": {
                "method": {"type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
                "path": {"type": "string", "description": "With its query, or a URL that the API answered."},
                "body": {"description": "An object is sent as JSON, text as it is."},
            },
            "required": ["method", "path"],
        },
    ),
)


class Passthrough:
    """A surface of two tools over plain HTTP. `http`: a client at the desk, without credentials."""

    instructions = "The tools reach the API of the triage desk. Read its document first (api_document)."

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._origin = str(http.base_url).rstrip("/")
        self._token: str | None = None

    async def tools(self) -> Sequence[Tool]:
        return TOOLS

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        if tool == "api_document":
            document = (await self._http.get("/openapi.json")).json()
            return _part(document, arguments.get("operation_id"))
        method, path = str(arguments.get("method", "")).upper(), str(arguments.get("path", ""))
        if method not in TOOLS[1].schema["properties"]["method"]["enum"] or not self._is_ours(path):
            return Answer("Pass a method, and a path that begins with /.", is_error=True)
        return await self._send(method, path, arguments.get("body"))

    def _is_ours(self, path: str) -> bool:
        asked = urlsplit(path)
        return path.startswith("/") if not asked.netloc else f"{asked.scheme}://{asked.netloc}" == self._origin

    async def _send(self, method: str, path: str, body: Any) -> Answer:
        how: dict[str, Any] = {"content": body.encode()} if isinstance(body, str) else {"json": body}
        answer = await self._http.request(
            method, path, headers=await self._credentials(path), **({} if body is None else how)
        )
        try:
            shown: Any = answer.json()
        except ValueError:
            shown = answer.text
        return Answer(compact({"status": answer.status_code, "body": shown}), is_error=answer.status_code >= 400)

    async def _credentials(self, path: str) -> dict[str, str]:
        place = urlsplit(path).path
        if place.startswith("/blobs/"):
            return {"content-type": "text/plain"}  # the URL is the credential
        if not place.startswith("/attachments/"):
            return {"authorization": KEY}
        if self._token is None:
            grant = {"grant_type": "client_credentials"}
            bought = await self._http.post("/oauth/token", data=grant, auth=(CLIENT_ID, KEY))
            self._token = bought.json()["access_token"]
        return {"authorization": f"Bearer {self._token}"}


def _part(document: dict[str, Any], operation_id: Any) -> Answer:
    """The list of operations, or one operation and the schemas that it needs."""
    found = {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "operationId" in operation
    }
    if operation_id is None:
        return Answer(
            "\n".join(
                f"{name}: {method.upper()} {path} - {operation.get('summary', '')}"
                for name, (method, path, operation) in found.items()
            ),
            is_error=False,
        )
    if operation_id not in found:
        return Answer("There is no such operation. Without operation_id all are listed.", is_error=True)
    method, path, operation = found[operation_id]
    return Answer(compact({"method": method, "path": path, **_resolved(operation, document)}), is_error=False)


def _resolved(node: Any, document: dict[str, Any], depth: int = 0) -> Any:
    """A part of the document with the schemas that it refers to in their places."""
    if isinstance(node, list):
        return [_resolved(one, document, depth) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and depth < 8:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _resolved(target, document, depth + 1)
    return {name: _resolved(one, document, depth) for name, one in node.items()}
