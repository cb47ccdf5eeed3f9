"""Every operation of the catalogue against bad input of every kind. The catalogue is walked: a new operation is covered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from conftest import CALLS, DESK_URL, KEY, read_lines
from contract.described import DOCUMENT, resolved
from pydantic import ValidationError
from uuid_utils import uuid4

from calltriage.desk.app import Desk
from calltriage.desk.http.openapi import refusals
from calltriage.desk.importing.loading import load_import
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Api, Operation
from calltriage.operations.fields import UUID_PATTERN

AnyOperation = type[Operation[Any]]
CONVERSATION = {
    "kind": "sms_conversation",
    "conversation_id": "convo",
    "created_at": "2026-05-01T10:00:00Z",
    "messages": [],
}


def named(operations: list[AnyOperation]) -> Any:
    return pytest.mark.parametrize("operation", operations, ids=[one.tool_name() for one in operations])


WITH_PATH = [one for one in CATALOGUE if one.path_fields()]
WITH_BODY = [one for one in CATALOGUE if one.method != "GET" and set(one.model_fields) - set(one.path_fields())]
WITH_CURSOR = [one for one in CATALOGUE if "cursor" in one.model_fields]
WITH_QUERY = [one for one in CATALOGUE if one.method == "GET" and set(one.model_fields) - set(one.path_fields())]


def described(operation: AnyOperation) -> dict[str, Any]:
    return DOCUMENT["paths"][operation.path][operation.method.lower()]


def smallest(schema: dict[str, Any]) -> Any:
    """A small value that a schema takes."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return smallest(schema["anyOf"][0])
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "string":
            return str(uuid4()) if schema.get("pattern") == UUID_PATTERN else "a" * max(1, schema.get("minLength", 1))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [smallest(schema["items"])] * schema.get("minItems", 0)
        case _:
            return {name: smallest(schema["properties"][name]) for name in schema.get("required", ())}


def body_of(operation: AnyOperation) -> dict[str, Any]:
    """The schema of the body."""
    found = described(operation).get("requestBody")
    return {"properties": {}} if found is None else resolved(found["content"]["application/json"]["schema"])


@dataclass
class Caller:
    """One organisation's way to the desk: its key, its token, and ids of its own things by the path field that names
    them."""

    http: httpx2.AsyncClient
    key: str
    token: str = ""
    ids: dict[str, str] = field(default_factory=dict[str, str])

    async def send(
        self, operation: AnyOperation, /, *, path: dict[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """The operation with the smallest body that it takes, on things that are there, but for `path` and `more`."""
        ids = {name: quote(value, safe="") for name, value in {**self.ids, **(path or {})}.items()}
        if operation.method != "GET" and not {"json", "content"} & more.keys():
            more["json"] = smallest({"type": "object", **body_of(operation)})
        key = self.key if operation.api is Api.TRIAGE else f"Bearer {self.token}"
        headers = {"authorization": key, "content-type": "application/json"}
        return await self.http.request(operation.method, operation.path.format(**ids), headers=headers, **more)

    async def prepare(self) -> None:
        form = {"grant_type": "client_credentials"}
        self.token = (await self.http.post("/oauth/token", data=form, auth=("desk", self.key))).json()["access_token"]
        issue, other = [await self.made("/v1/triage/issues", title="t", severity="low", category="c") for _ in "ab"]
        here = f"/v1/triage/issues/{issue}"
        listed = await self.http.get("/v1/triage/issues", headers={"authorization": self.key})
        self.ids = {
            "org_id": listed.json()["data"]["items"][0]["org_id"],
            "issue_id": issue,
            "call_id": "call-card",
            "conversation_id": "convo",
            "resource_link_id": await self.made(f"{here}/resources", resource_type="call", resource_id="call-card"),
            "flag_id": await self.made(f"{here}/flags", call_id="call-card", type="x"),
            "relation_id": await self.made(f"{here}/relations", related_issue_id=other, relation_type="blocks"),
            "session_id": await self.made(f"{here}/agent-sessions"),
            "attachment_id": await self._file(),
        }

    async def made(self, path: str, **body: Any) -> str:
        answer = await self.http.post(path, json=body, headers={"authorization": self.key})
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]["id"]

    async def _file(self) -> str:
        bearer, here = {"authorization": f"Bearer {self.token}"}, "/attachments/2023-03"
        link = (await self.http.post(f"{here}/upload-link", json={}, headers=bearer)).json()
        assert (await self.http.put(link["url"], content=b"abc")).status_code == 200
        made = {"name": "a.txt", "request_id": link["request_id"]}
        return (await self.http.post(here, json=made, headers=bearer)).json()["id"]


@pytest.fixture
async def callers(the_desk: Desk) -> AsyncIterator[tuple[Caller, Caller]]:
    """Two organisations, each with one thing of every kind; their calls and conversations have the same ids."""
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
        pair = (Caller(http, KEY), Caller(http, (await the_desk.tenants.add_organisation("B")).key))
        entries, _ = read_lines([*CALLS, json.dumps(CONVERSATION)], skip_bad=False)
        for caller in pair:
            who = await the_desk.access.by_key(caller.key, the_desk.clock())
            assert who is not None
            await load_import(the_desk, entries, org_id=who.org_id)
            await caller.prepare()
        yield pair


def check(operation: AnyOperation, answer: httpx2.Response, status: int | None = None) -> None:
    """The answer is one that the document knows, a refusal has the contract's body, and nothing of the inside shows."""
    known = {*operation.success, *refusals(operation)}
    assert answer.status_code in known - {500, 503}, (answer.status_code, answer.text)
    if status is not None:
        assert answer.status_code == status, answer.text
    if answer.status_code >= 400:
        body = answer.json()
        if operation.api is Api.TRIAGE:
            assert body["data"] is None
            assert set(body["errors"][0]) == {"error", "message"}
        else:
            assert set(body) <= {"code", "message", "fields"}
        assert len(answer.content) < 10_000
    for word in ("Traceback", "sqlalchemy", "pydantic", "canary"):
        assert word not in answer.text


MALFORMED = ["x", "T-1001", "not-a-uuid-canary", "a/b", "%2e%2e", "\x00", "🙂", "x" * 200, "'; --"]


@pytest.mark.slow
@named(WITH_PATH)
async def test_an_id_of_no_form_names_nothing(callers: tuple[Caller, Caller], operation: AnyOperation) -> None:
    for name in operation.path_fields():
        for value in MALFORMED:
            answer = await callers[0].send(operation, path={name: value})
            if "/" in value:  # another path, which no route of the desk has
                assert answer.status_code in {404, 405, 501}
            else:
                too_long = operation.api is Api.ATTACHMENTS and len(value) > 64
                check(operation, answer, 400 if too_long else 404)


@pytest.mark.slow
@named(WITH_PATH)
async def test_an_unknown_id_and_another_organisations_are_the_same(
    callers: tuple[Caller, Caller], operation: AnyOperation
) -> None:
    ours, theirs = callers
    for name in operation.path_fields():
        if name in {"call_id", "conversation_id"}:  # both organisations have things of these ids, each its own
            check(operation, await ours.send(operation, path={name: "unknown"}), 404)
            continue
        unknown = await ours.send(operation, path={name: str(uuid4())})
        foreign = await ours.send(operation, path={name: theirs.ids[name]})
        check(operation, unknown, 404)
        assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)


@named(WITH_CURSOR)
async def test_a_cursor_of_another_list_or_organisation_is_refused(
    callers: tuple[Caller, Caller], operation: AnyOperation, the_desk: Desk
) -> None:
    ours, theirs = callers
    for caller in callers:
        for _ in range(2):
            await caller.made("/v1/triage/issues", title="t", severity="low", category=f"c{uuid4().hex[:6]}")
    pages = [
        (await caller.http.get(path, params={"limit": 1, **more}, headers={"authorization": caller.key})).json()
        for caller, path, more in (
            (theirs, "/v1/triage/issues", {}),
            (ours, "/v1/triage/issues", {"sort": "severity"}),
            (theirs, "/v1/triage/categories", {}),
        )
    ]
    foreign = [page["data"]["next_cursor"] for page in pages]
    assert all(foreign)
    if operation.tool_name() == "list_categories":  # whose cursor is a name, and both organisations have this one
        assert foreign.pop() == "Bug"
    for cursor in ("garbage", "AAAA", "🙂", "x" * 512, "x" * 600, "\x00", *foreign):
        check(operation, await ours.send(operation, params={"cursor": cursor}), 400)
    check(operation, await ours.send(operation, params={"cursor": ""}), 400)


@pytest.mark.slow
@named(WITH_QUERY)
async def test_query_values_out_of_range_or_of_another_type_are_refused(
    callers: tuple[Caller, Caller], operation: AnyOperation
) -> None:
    for parameter in described(operation)["parameters"]:
        if parameter["in"] != "query":
            continue
        schema, name = resolved(parameter["schema"]), parameter["name"]
        bad = ["x" * 20_000]
        if schema.get("type") in {"integer", "number"}:
            bad += ["x", "", "canary", "9" * 400, "NaN", "Infinity", "1e999"]
            bad += ["1.5", "true"] if schema["type"] == "integer" else []
            bad += [str(schema["minimum"] - 1)] if "minimum" in schema else []
            bad += [str(schema["maximum"] + 1)] if "maximum" in schema else []
        elif "enum" in schema or schema.get("type") == "boolean":
            bad += ["canary", "", "\x00"]
        for value in bad:
            check(operation, await callers[0].send(operation, params={name: value}), 400)
        for value in ("", "\x00", "\ud7ff\u202e", "{", "[" * 5000, "2026-99-99", "0001-01-01", "9999-12-31"):
            check(operation, await callers[0].send(operation, params={name: value}))


@pytest.mark.slow
@named([one for one in CATALOGUE if one.method != "GET"])
async def test_a_body_that_is_no_object_is_refused(callers: tuple[Caller, Caller], operation: AnyOperation) -> None:
    bodies = [
        b"{",
        b"[]",
        b'"canary"',
        b"5",
        b"null",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        "{}".encode("utf-16"),
        b"[" * 50_000,
        b'{"a":' * 5000,
    ]
    for body in bodies:
        check(operation, await callers[0].send(operation, content=body), 400)
    check(operation, await callers[0].send(operation, content=b'{"a": "' + b"x" * 2**20 + b'"}'), 413)


@named([one for one in WITH_BODY if one.api is Api.TRIAGE])
async def test_an_unknown_member_of_a_body_is_refused(callers: tuple[Caller, Caller], operation: AnyOperation) -> None:
    good = smallest({"type": "object", **body_of(operation)})
    for name in ("surplus", "org_id", "__class__", "\x00", "x" * 5000):
        answer = await callers[0].send(operation, json={**good, name: "canary"})
        check(operation, answer, 400)
        assert (f"{name}: is not a field" in answer.text) == (len(name) < 65 and name.isprintable())


@named(WITH_BODY)
async def test_a_member_of_another_type_or_size_is_refused(
    callers: tuple[Caller, Caller], operation: AnyOperation
) -> None:
    good = smallest({"type": "object", **body_of(operation)})
    values: list[Any] = [
        None, 5, -1, 1.5, 10**30, True, "", "x" * 129, "x" * 20_000, "x" * 200_000, "\x00", "a\x1bb", [], ["canary"] * 200,
        [[]], {}, {"canary": {"canary": 1}}, "🙂" * 70,
    ]  # fmt: skip
    for name in body_of(operation)["properties"]:
        for value in values:
            answer = await callers[0].send(operation, json={**good, name: value})
            good_enough = taken(operation, callers[0].ids, {**good, name: value})
            check(operation, answer, None if good_enough or answer.status_code == 413 else 400)
        for surrogate in (b'"\\ud800"', b'"\\udfff canary"'):
            rest = json.dumps({key: item for key, item in good.items() if key != name}).encode()
            comma = b", " if rest != b"{}" else b""
            content = rest[:-1] + comma + json.dumps(name).encode() + b": " + surrogate + b"}"
            check(operation, await callers[0].send(operation, content=content), 400)


def taken(operation: AnyOperation, ids: dict[str, str], body: dict[str, Any]) -> bool:
    """Whether the declaration takes such a body; null is taken where it clears."""
    if any(value is None and name not in operation.clearable_fields() for name, value in body.items()):
        return False
    path = {name: ids[name] for name in operation.path_fields()}
    try:
        operation.model_validate({**path, **body}, strict=True)
    except ValidationError:
        return False
    return True
