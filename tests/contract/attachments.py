"""The desk's attachments side, spoken to with the vendor's literal JSON: never through an operation class."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from conftest import DESK_URL

from calltriage.desk.app import Desk

ATTACHMENTS = "/attachments/2023-03"
LINK = f"{ATTACHMENTS}/upload-link"
UNKNOWN = "123e4567e89b12d3a456426655440010"
HAL = "application/hal+json"


def basic(secret: str, client_id: str = "desk") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def token_of(http: httpx2.AsyncClient, secret: str, scope: str | None = None) -> str:
    form = {"grant_type": "client_credentials", **({} if scope is None else {"scope": scope})}
    answer = await http.post("/oauth/token", data=form, headers=basic(secret))
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


@asynccontextmanager
async def account_with(the_desk: Desk, secret: str) -> AsyncGenerator[httpx2.AsyncClient]:
    """Raw HTTP with a fresh token of the account that has this secret."""
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
        http.headers["authorization"] = f"Bearer {await token_of(http, secret)}"
        yield http


async def reserved(account: httpx2.AsyncClient, *allowed: str) -> dict[str, str]:
    answer = await account.post(LINK, json={"allowed_mime_types": allowed} if allowed else {})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def put(http: httpx2.AsyncClient, url: str, content: Any, method: str = "PUT", **headers: str) -> httpx2.Response:
    """Bytes to a signed URL, without the account's token."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = http.build_request(method, url, content=content, headers=named)
    del request.headers["authorization"]
    return await http.send(request)


async def uploaded(
    account: httpx2.AsyncClient, *allowed: str, content: bytes = b"RIFF", media_type: str = "audio/wav"
) -> str:
    """A request_id whose bytes are there."""
    link = await reserved(account, *allowed)
    answer = await put(account, link["url"], content, content_type=media_type)
    assert (answer.status_code, answer.content) == (200, b"")
    return link["request_id"]


async def create(account: httpx2.AsyncClient, name: str, request_id: str, **more: Any) -> httpx2.Response:
    return await account.post(ATTACHMENTS, json={"name": name, "request_id": request_id, **more})


async def looked_up(account: httpx2.AsyncClient, attachment_id: str) -> httpx2.Response:
    return await account.get(f"{ATTACHMENTS}/{attachment_id}")


def refused(answer: httpx2.Response, status: int, code: str, message: str, *fields: str) -> None:
    """Check an error of the JSON plane and, for a validation error, the names of the refused inputs."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["code"], body["message"]) == (code, message)
    assert set(body) <= {"code", "message", "description", "fields"}
    entries = body.get("fields", [])
    assert all(set(entry) == {"name", "description"} and entry["description"] for entry in entries)
    assert tuple(entry["name"] for entry in entries) == fields


def bad_request(answer: httpx2.Response, *fields: str) -> None:
    refused(answer, 400, "2320000", "Bad request error", *fields)


def conflict(answer: httpx2.Response) -> None:
    refused(answer, 409, "2320004", "Attachments name exist")


def byte_error(answer: httpx2.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text.startswith('<?xml version="1.0" encoding="UTF-8"?><Error><Code>')
    assert re.findall("<Code>(.*?)</Code>", answer.text) == [code]
    assert re.search("<Message>.+</Message>", answer.text)
