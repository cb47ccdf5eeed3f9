"""The desk's triage side, spoken to with the vendor's literal JSON: never through an operation class."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock, enrol
from sqlalchemy import delete
from uuid_utils import uuid4

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import calls

ISSUES = "/v1/triage/issues"
NOWHERE = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
MINIMAL = {"title": "Agent skipped the verification step", "severity": "high", "category": "Routing"}
CARD = {"resource_type": "call", "resource_id": "call-card"}
HOURS = {"resource_type": "call", "resource_id": "call-hours"}
SUB_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("POST", "/resources", CARD),
    ("GET", "/resources", None),
    ("POST", "/flags", {"call_id": "call-card", "type": "Missed handoff"}),
    ("GET", "/flags", None),
    ("POST", "/relations", {"related_issue_id": NOWHERE, "relation_type": "duplicate_of"}),
    ("GET", "/relations", None),
    ("GET", "/activity", None),
]
ROUTES = [
    ("POST", ISSUES, MINIMAL),
    ("GET", ISSUES, None),
    ("GET", "/v1/triage/flag-types", None),
    ("GET", "/v1/calls/call-card", None),
    *((method, f"{ISSUES}/{NOWHERE}{path}", body) for method, path, body in SUB_ROUTES),
]
LISTS = ["", "/resources", "/flags", "/relations", "/activity"]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

ISSUE_KEYS = {
    "id", "triage_id", "org_id", "number", "title", "description", "status", "severity", "source", "category",
    "owner_id", "assignee_id", "author_id", "external_link", "created_at", "updated_at", "last_activity_at",
    "resource_count", "flag_count", "relation_count", "latest_agent_session", "is_processing", "has_unread_activity",
}  # fmt: skip
LINK_KEYS = {
    "id", "issue_id", "org_id", "resource_type", "resource_id", "title", "status", "metadata", "attached_by_id",
    "created_at",
}  # fmt: skip
FLAG_KEYS = {
    "id", "org_id", "issue_id", "call_id", "type", "note", "node_id", "node_name", "message_index", "message_text",
    "author_id", "created_at",
}  # fmt: skip
RELATION_KEYS = {
    "id", "org_id", "issue_id", "related_issue_id", "related_triage_id", "related_title", "relation_type", "direction",
    "created_by_id", "created_at",
}  # fmt: skip
ENTRY_KEYS = {
    "entry_kind", "id", "issue_id", "type", "actor", "detail", "from_status", "to_status", "metadata", "resources",
    "referenced_issues", "created_at",
}  # fmt: skip


@asynccontextmanager
async def speaking(the_desk: Desk, authorization: str | None) -> AsyncGenerator[httpx2.AsyncClient]:
    """Raw HTTP to the desk with this header, or with none."""
    headers = {} if authorization is None else {"authorization": authorization}
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers=headers) as http:
        yield http


@pytest.fixture
async def stranger(the_desk: Desk) -> AsyncGenerator[httpx2.AsyncClient]:
    """Raw HTTP with the key of another organisation."""
    async with speaking(the_desk, (await the_desk.tenants.add_organisation("B")).key) as http:
        yield http


@pytest.fixture
async def colleague(the_desk: Desk) -> AsyncGenerator[httpx2.AsyncClient]:
    """Raw HTTP with the key of another user of the same organisation."""
    async with speaking(the_desk, (await the_desk.tenants.add_user()).key) as http:
        yield http


def brief(value: object) -> str:
    """A short test id."""
    return ascii(value)[:32]


async def sent(desk: httpx2.AsyncClient, path: str, body: Any, status: int = 201) -> Any:
    """The data of a successful POST."""
    answer = await desk.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"data", "errors"}
    assert answer.json()["errors"] is None
    return answer.json()["data"]


async def shown(desk: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    """The data of a successful GET."""
    answer = await desk.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"data", "errors"}
    assert answer.json()["errors"] is None
    return answer.json()["data"]


async def listed(desk: httpx2.AsyncClient, path: str, **query: Any) -> list[Any]:
    """The items of a list that fits on one page."""
    page = await shown(desk, path, **query)
    assert set(page) == {"items", "next_cursor"}
    assert page["next_cursor"] is None
    return page["items"]


async def filed(desk: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await sent(desk, ISSUES, {**MINIMAL, **fields})


async def flagged(desk: httpx2.AsyncClient, issue_id: str, **fields: Any) -> dict[str, Any]:
    return await sent(desk, f"{ISSUES}/{issue_id}/flags", {"call_id": "call-card", "type": "Missed handoff", **fields})


async def linked(desk: httpx2.AsyncClient, source: Any, target: Any, kind: str, status: int = 201) -> dict[str, Any]:
    body = {"related_issue_id": target["id"], "relation_type": kind}
    return await sent(desk, f"{ISSUES}/{source['id']}/relations", body, status)


def refused(answer: httpx2.Response, status: int, code: str, message: str | None = None) -> str:
    """Check the failure envelope; returns the message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"data", "errors"}
    assert body["data"] is None
    [error] = body["errors"]
    assert set(error) == {"error", "message"}
    assert error["error"] == code
    assert message is None or error["message"] == message
    return error["message"]


# --- wire rules ---


@pytest.mark.parametrize("header", [KEY, f"Bearer {KEY}"])
@pytest.mark.parametrize("path", [ISSUES, "/v1/calls/call-card"])
async def test_the_key_is_taken_bare_and_after_bearer(the_desk: Desk, header: str, path: str) -> None:
    async with speaking(the_desk, header) as http:
        assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("header", [None, "org_wrong", "Bearer sk-wrong", "Bearer "])
async def test_without_a_good_key_every_route_answers_auth_failure(
    the_desk: Desk, subtests: pytest.Subtests, header: str | None
) -> None:
    async with speaking(the_desk, header) as http:
        for method, path, body in ROUTES:
            with subtests.test(method=method, path=path):
                refused(await http.request(method, path, json=body), 401, "AUTH_FAILURE", "Unauthorized")


@pytest.mark.parametrize("issue_id", [NOWHERE, "T-1001", "9bbe5547", f"{NOWHERE}0", "%20"])
async def test_unknown_and_malformed_issue_ids_are_not_found(
    desk: httpx2.AsyncClient, subtests: pytest.Subtests, issue_id: str
) -> None:
    await filed(desk)
    for method, path, body in SUB_ROUTES:
        with subtests.test(method=method, path=path):
            answer = await desk.request(method, f"{ISSUES}/{issue_id}{path}", json=body)
            refused(answer, 404, "not_found", "Issue not found")


async def test_an_issue_of_another_organisation_looks_unknown(
    desk: httpx2.AsyncClient, stranger: httpx2.AsyncClient, subtests: pytest.Subtests
) -> None:
    theirs = (await filed(desk, resource_links=[CARD]))["id"]
    for method, path, body in SUB_ROUTES:
        with subtests.test(method=method, path=path):
            answer = await stranger.request(method, f"{ISSUES}/{theirs}{path}", json=body)
            refused(answer, 404, "not_found", "Issue not found")


async def test_nothing_of_another_organisation_shows_in_lists_or_can_be_named(
    desk: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    theirs, own = await filed(desk, resource_links=[CARD]), await filed(stranger)
    await flagged(desk, theirs["id"])
    assert [issue["id"] for issue in await listed(stranger, ISSUES)] == [own["id"]]
    assert await listed(stranger, "/v1/triage/flag-types") == []
    relation = {"related_issue_id": theirs["id"], "relation_type": "blocks"}
    answer = await stranger.post(f"{ISSUES}/{own['id']}/relations", json=relation)
    refused(answer, 404, "not_found", "Issue not found")
    refused(await stranger.post(f"{ISSUES}/{own['id']}/resources", json=CARD), 404, "not_found", "Resource not found")
    refused(await stranger.get("/v1/calls/call-card"), 404, "CALL_NOT_FOUND", "Call not found")


@pytest.mark.parametrize("path", ["/resources", "/flags", "/relations"])
async def test_a_bad_body_is_400_on_a_known_issue_and_404_on_an_unknown_one(
    desk: httpx2.AsyncClient, subtests: pytest.Subtests, path: str
) -> None:
    issue = await filed(desk)
    for raw in (b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff", b'{"surplus": 1}', b"{}"):
        with subtests.test(raw=raw):
            refused(await desk.post(f"{ISSUES}/{issue['id']}{path}", content=raw), 400, "bad_request")
            refused(await desk.post(f"{ISSUES}/{NOWHERE}{path}", content=raw), 404, "not_found", "Issue not found")


# --- filing and reading issues ---

BAD_ISSUES: list[tuple[str, Any]] = [
    ("title", ""), ("title", "x" * 201), ("title", 7), ("title", None),
    ("severity", "urgent"), ("severity", "High"), ("severity", 1), ("severity", None),
    ("category", ""), ("category", "x" * 65), ("category", ["Routing"]),
    ("description", "x" * 10_001), ("description", 1), ("description", None),
    ("status", "open"), ("status", True), ("status", None), ("source", "api"), ("source", None),
    ("owner_id", ""), ("owner_id", "x" * 129), ("owner_id", 5), ("owner_id", None), ("assignee_id", {}),
    ("resource_links", CARD), ("resource_links", "call-card"), ("resource_links", [CARD] * 101),
    ("resource_links", [{"resource_type": "sms", "resource_id": "convo_abc123"}]),
    ("resource_links", [{"resource_type": "call"}]), ("resource_links", [{**CARD, "surplus": 1}]),
    ("resource_links", [{"resource_type": "call", "resource_id": ""}]),
    ("resource_links", [{"resource_type": "call", "resource_id": "x" * 129}]),
]  # fmt: skip


async def test_a_filed_issue_has_the_documented_shape_and_defaults(desk: httpx2.AsyncClient) -> None:
    answer = await desk.post(ISSUES, json=MINIMAL)
    assert (answer.status_code, answer.json()["errors"]) == (201, None)
    issue = answer.json()["data"]
    assert set(issue) == ISSUE_KEYS
    assert issue.items() >= {
        **MINIMAL, "triage_id": "T-1001", "number": 1001, "description": "", "status": "todo", "source": "manual",
        "owner_id": None, "assignee_id": None, "external_link": None, "resource_count": 0, "flag_count": 0,
        "relation_count": 0, "latest_agent_session": None, "is_processing": False, "has_unread_activity": False,
    }.items()  # fmt: skip
    assert issue["created_at"] == issue["updated_at"] == issue["last_activity_at"]
    assert INSTANT.fullmatch(issue["created_at"])
    assert await shown(desk, f"{ISSUES}/{issue['id']}") == issue
    assert await listed(desk, ISSUES) == [issue]


async def test_every_field_of_a_filed_issue_is_kept_as_sent(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await enrol(the_desk, "o" * 128, "beed099d-e493-4142-a68b-af13bd72c035")
    fields = {
        "title": "t" * 200, "description": "d" * 10_000, "category": "c" * 64, "severity": "critical",
        "source": "client", "owner_id": "o" * 128, "assignee_id": "beed099d-e493-4142-a68b-af13bd72c035",
    }  # fmt: skip
    assert (await filed(desk, **fields)).items() >= fields.items()
    assert (await filed(desk, category="Nobody used this before"))["category"] == "Nobody used this before"


@pytest.mark.parametrize("name", ["owner_id", "assignee_id"])
async def test_owner_and_assignee_are_members_of_the_organisation(
    desk: httpx2.AsyncClient, stranger: httpx2.AsyncClient, the_desk: Desk, name: str
) -> None:
    ada, gone = await the_desk.tenants.add_user(name="Ada"), await the_desk.tenants.add_user(name="Gone")
    await the_desk.tenants.revoke("users", gone.user_id)
    foreign = (await filed(stranger))["author_id"]
    issue = await filed(desk, **{name: ada.user_id})
    other = "assignee_id" if name == "owner_id" else "owner_id"
    for nobody in ("nobody", gone.user_id, foreign, ada.user_id.upper(), ada.user_id + " ", issue["id"]):
        for answer in (
            await desk.post(ISSUES, json={**MINIMAL, name: nobody, "resource_links": [CARD]}),
            await desk.patch(f"{ISSUES}/{issue['id']}", json={name: nobody, "status": "done"}),
        ):
            message = refused(
                answer, 400, "bad_request", f"{name}: must be the user_id of a member of the organisation"
            )
            assert nobody not in message
    refused(await desk.patch(f"{ISSUES}/{NOWHERE}", json={name: "nobody"}), 404, "not_found")
    both = await desk.post(ISSUES, json={**MINIMAL, "owner_id": "nobody", "assignee_id": "nobody"})
    assert {"owner_id", "assignee_id"} <= set(re.findall(r"[a-z_]+(?=:)", refused(both, 400, "bad_request")))
    assert await listed(desk, ISSUES) == [issue], "nothing was filed and nothing changed"
    await the_desk.tenants.revoke("users", ada.user_id)
    changed = (await desk.patch(f"{ISSUES}/{issue['id']}", json={name: ada.user_id, "status": "done"})).json()["data"]
    assert (changed[name], changed["status"]) == (ada.user_id, "done"), "the present value may stay"
    refused(await desk.patch(f"{ISSUES}/{issue['id']}", json={other: ada.user_id}), 400, "bad_request")
    cleared = (await desk.patch(f"{ISSUES}/{issue['id']}", json={name: None})).json()["data"]
    assert cleared[name] is None


async def test_the_cursor_of_categories_is_the_name_of_the_last_one(desk: httpx2.AsyncClient) -> None:
    await filed(desk, category="Änderung, sonstige")
    everything = (await desk.get("/v1/triage/categories")).json()["data"]["items"]
    seen, cursor = list[str](), dict[str, str]()
    while True:
        page = (await desk.get("/v1/triage/categories", params={"limit": 2, **cursor})).json()["data"]
        seen += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        assert page["next_cursor"] == seen[-1]
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [item["name"] for item in everything]
    assert "cursor" in refused(
        await desk.get("/v1/triage/categories", params={"cursor": "no such category"}), 400, "bad_request"
    )


async def test_outer_blanks_of_a_category_are_kept_and_ignored_where_names_are_compared(
    desk: httpx2.AsyncClient,
) -> None:
    assert (await filed(desk, category=" routing "))["category"] == " routing "
    assert (await filed(desk, category="Voicemail "))["category"] == "Voicemail "
    assert (await filed(desk, category="  "))["category"] == "  "
    answer = await desk.post("/v1/triage/categories", json={"name": " voicemail"})
    assert (answer.status_code, answer.json()["data"]["name"]) == (200, "Voicemail ")
    seen, cursor = list[str](), {}
    for _ in range(20):
        page = (await desk.get("/v1/triage/categories", params={"limit": 1, **cursor})).json()["data"]
        seen += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert (seen[0], seen[-1], len(seen), len(set(seen))) == ("  ", "Voicemail ", 10, 10)
    for name in ("Routing", "ROUTING  ", "  "):
        assert len(await listed(desk, ISSUES, category=name)) == 1


@pytest.mark.parametrize("status", ["backlog", "todo", "in_progress", "in_review", "done", "closed"])
async def test_an_issue_may_be_filed_in_any_status(desk: httpx2.AsyncClient, status: str) -> None:
    assert (await filed(desk, status=status))["status"] == status


async def test_numbers_count_up_from_1001_in_each_organisation(
    desk: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    filings = [await filed(desk), await filed(desk), await filed(stranger)]
    assert [(issue["triage_id"], issue["number"]) for issue in filings] == [
        ("T-1001", 1001),
        ("T-1002", 1002),
        ("T-1001", 1001),
    ]
    assert filings[0]["org_id"] == filings[1]["org_id"] != filings[2]["org_id"]


async def test_a_bad_field_of_an_issue_is_named_in_a_400(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for name, value in BAD_ISSUES:
        with subtests.test(name=name, value=value):
            assert name in refused(await desk.post(ISSUES, json={**MINIMAL, name: value}), 400, "bad_request")
            assert await listed(desk, ISSUES) == []


async def test_a_400_names_every_invalid_path(desk: httpx2.AsyncClient) -> None:
    message = refused(await desk.post(ISSUES, json={"severity": "urgent", "status": 7}), 400, "bad_request")
    assert {"title", "severity", "category", "status"} <= set(re.findall(r"[a-z_]+(?=:)", message))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", json.dumps({**MINIMAL, "surplus": 1}).encode()])
async def test_an_issue_body_that_is_no_object_or_has_unknown_fields_is_400(
    desk: httpx2.AsyncClient, raw: bytes
) -> None:
    refused(await desk.post(ISSUES, content=raw), 400, "bad_request")


async def test_unknown_body_fields_are_named_beside_everything_else_that_is_refused(desk: httpx2.AsyncClient) -> None:
    link = {**CARD, "baz": 1, "a b": 2}
    body = {**MINIMAL, "severity": "urgent", "owner_id": None, "foo": 1, "no name": 2, "resource_links": [link]}
    message = refused(await desk.post(ISSUES, json=body), 400, "bad_request")
    rules = dict(part.split(": ", 1) for part in message.split("; "))
    assert rules.keys() == {"severity", "owner_id", "foo", "body", "resource_links.0.baz", "resource_links.0"}
    assert rules["foo"] == rules["resource_links.0.baz"] == "is not a field of this request"
    assert rules["body"] == rules["resource_links.0"] == "has a field that is none of this request"
    surplus = {f"field_{n}": n for n in range(100)}
    message = refused(await desk.post(ISSUES, json={**MINIMAL, **surplus, "x" * 65: 1}), 400, "bad_request")
    assert len(re.findall(r"field_\d+: ", message)) == 20
    assert "body: " in message
    assert "x" * 65 not in message


async def test_a_change_of_the_source_is_refused_by_its_name(desk: httpx2.AsyncClient) -> None:
    issue = await filed(desk)
    answer = await desk.patch(f"{ISSUES}/{issue['id']}", json={"source": "client", "title": "Another"})
    refused(answer, 400, "bad_request", "source: is not a field of this request")
    assert (await desk.get(f"{ISSUES}/{issue['id']}")).json()["data"] == issue


@pytest.mark.parametrize("name", ["title", "description", "category", "owner_id"])
async def test_text_with_half_a_surrogate_pair_is_400(desk: httpx2.AsyncClient, name: str) -> None:
    raw = json.dumps({**MINIMAL, name: "half \ud83d of a pair"})
    assert name in refused(await desk.post(ISSUES, content=raw), 400, "bad_request")


async def test_resource_links_attach_at_creation_and_repeated_ones_collapse(desk: httpx2.AsyncClient) -> None:
    issue = await filed(desk, resource_links=[CARD, HOURS, CARD, *[HOURS] * 97])
    assert issue["resource_count"] == 2
    assert issue["has_unread_activity"] is False
    links = await listed(desk, f"{ISSUES}/{issue['id']}/resources")
    assert [link["resource_id"] for link in links] == ["call-card", "call-hours"]
    entries = await listed(desk, f"{ISSUES}/{issue['id']}/activity")
    assert [entry["type"] for entry in entries] == ["resource_added", "resource_added", "created"]
    assert [entry["resources"] for entry in entries] == [[links[1]], [links[0]], []]


GIVEN: dict[str, Any] = {
    "status": "in_progress", "description": "It hung up.", "source": "client", "resource_links": [],
    "agent_id": "2f6a2f0e-6f2c-4ad3-9a3f-0a4d5f4d7a11", "agent_version_id": "54eaa506-8b68-4be7-8d14-1ff260899eee",
}  # fmt: skip


@pytest.mark.parametrize("fields", [{}, GIVEN, {"resource_links": [CARD]}])
async def test_a_new_issue_is_answered_as_it_is_read(
    desk: httpx2.AsyncClient, the_desk: Desk, fields: dict[str, Any]
) -> None:
    ada = (await the_desk.tenants.add_user(name="Ada")).user_id
    issue = await filed(desk, **fields, owner_id=ada, assignee_id=ada)
    answer = (await desk.get(f"{ISSUES}/{issue['id']}")).json()["data"]
    assert issue == answer
    assert list(issue) == list(answer)


async def test_one_unknown_resource_and_nothing_is_filed(desk: httpx2.AsyncClient) -> None:
    unknown = {"resource_type": "file", "resource_id": "54eaa506-8b68-4be7-8d14-1ff260899eee"}
    answer = await desk.post(ISSUES, json={**MINIMAL, "resource_links": [CARD, unknown]})
    refused(answer, 404, "not_found", "Resource not found")
    assert await listed(desk, ISSUES) == []


async def test_two_equal_filings_are_two_issues(desk: httpx2.AsyncClient) -> None:
    first, second = await filed(desk), await filed(desk)
    assert first["id"] != second["id"]


async def test_every_change_raises_its_count_and_moves_both_clocks(desk: httpx2.AsyncClient) -> None:
    issue, other = await filed(desk), await filed(desk)
    path = f"{ISSUES}/{issue['id']}"
    before = issue
    for change, count in [("resources", "resource_count"), ("flags", "flag_count"), ("relations", "relation_count")]:
        bodies: dict[str, Any] = {
            "resources": CARD,
            "flags": {"call_id": "call-card", "type": "x"},
            "relations": {"related_issue_id": other["id"], "relation_type": "blocks"},
        }
        await sent(desk, f"{path}/{change}", bodies[change])
        after = await shown(desk, path)
        newest = (await listed(desk, f"{path}/activity"))[0]["created_at"]
        assert after[count] == 1
        assert after["updated_at"] == after["last_activity_at"] == newest > before["last_activity_at"]
        assert after["created_at"] == issue["created_at"]
        before = after
    target = await shown(desk, f"{ISSUES}/{other['id']}")
    assert target["relation_count"] == 1
    assert target["updated_at"] == target["last_activity_at"] > other["updated_at"]


async def test_own_filing_counts_as_viewed_and_own_later_actions_do_not(
    desk: httpx2.AsyncClient, colleague: httpx2.AsyncClient
) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}"
    assert (await shown(desk, path))["has_unread_activity"] is False
    assert (await shown(colleague, path))["has_unread_activity"] is True
    await sent(desk, f"{path}/resources", CARD)
    assert (await shown(desk, path))["has_unread_activity"] is True
    assert [issue["has_unread_activity"] for issue in await listed(desk, ISSUES)] == [True]


# --- listing ---


async def board(desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock) -> dict[str, str]:
    """Five issues, their ids by title; a: 100 days old, b: 20, c: 3, d: 5 hours, e: new; a was touched just now."""
    rows: list[tuple[str, dict[str, Any], float]] = [
        ("a", {"severity": "low", "status": "closed", "category": "Bug", "description": "Straße 100% done"}, 80),
        ("b", {"severity": "critical", "status": "backlog", "category": "routing", "owner_id": "u1"}, 17),
        ("c", {"severity": "high", "status": "in_review", "category": "Routing", "assignee_id": "u1"}, 2.8),
        ("d", {"severity": "medium", "status": "todo", "category": "Bug, Routing"}, 0.2),
        ("e", {"severity": "high", "status": "in_progress", "category": "Speech", "resource_links": [CARD]}, 0),
    ]
    await enrol(the_desk, "u1")
    ids: dict[str, str] = {}
    for title, fields, days in rows:
        ids[title] = (await filed(desk, title=f"{title} Caller", **fields))["id"]
        clock.advance(days=days)
    await sent(desk, f"{ISSUES}/{ids['a']}/resources", HOURS)
    return ids


BOARD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({}, "aedcb"),
    ({"sort": "last_activity_at", "order": "asc"}, "bcdea"),
    ({"sort": "created_at"}, "edcba"),
    ({"sort": "created_at", "order": "asc"}, "abcde"),
    ({"sort": "status"}, "acedb"),
    ({"sort": "status", "order": "asc"}, "bdeca"),
    ({"status": "todo"}, "d"),
    ({"status": ["todo", "closed"]}, "ad"),
    ({"severity": ["high", "critical"], "status": ["backlog", "in_review", "todo"]}, "cb"),
    ({"category": "ROUTING"}, "cb"),
    ({"category": ["bug", "Speech"]}, "ae"),
    ({"category": "Bug, Routing"}, "d"),
    ({"category": "Bug,Speech"}, "ae"),
    ({"category": ["bug , , speech", "nobody's"]}, "ae"),
    ({"category": ", ".join(["Bug"] * 20)}, "a"),
    ({"status": "todo,closed"}, "ad"),
    ({"status": ["todo, in_progress", "closed"]}, "aed"),
    ({"severity": "high,critical", "status": "backlog,in_review,todo"}, "cb"),
    ({"resource_type": "call"}, "ae"),
    ({"resource_type": "file"}, ""),
    ({"owner_id": "u1"}, "b"),
    ({"assignee_id": "u1"}, "c"),
    ({"owner_id": "u1", "assignee_id": "u1"}, ""),
    ({"date_range": "24h"}, "aed"),
    ({"date_range": "7d"}, "aedc"),
    ({"date_range": "90d"}, "aedcb"),
    ({"date_range": "24h", "date_field": "last_activity_at"}, "aed"),
    ({"date_range": "30d", "date_field": "created_at"}, "edcb"),
    ({"date_range": "90d", "date_field": "created_at", "severity": "low"}, ""),
    ({"search": "cALLER"}, "aedcb"),
    ({"search": "strasse"}, "a"),
    ({"search": "100% d"}, "a"),
    ({"search": "%"}, "a"),
    ({"search": "_"}, ""),
    ({"search": "T-1003"}, "c"),
    ({"search": "t1003"}, "c"),
    ({"search": "1003"}, "c"),
    ({"search": "Routing"}, ""),
    ({"search": "c Caller", "severity": "low"}, ""),
]


async def test_issues_are_filtered_searched_and_sorted(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock, subtests: pytest.Subtests
) -> None:
    await board(desk, the_desk, clock)
    for query, expected in BOARD_QUERIES:
        with subtests.test(query=query):
            assert "".join(issue["title"][0] for issue in await listed(desk, ISSUES, **query)) == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_equal_sort_values_are_ordered_by_id_in_the_same_direction(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock, order: str
) -> None:
    ids = await board(desk, the_desk, clock)
    found = [issue["id"] for issue in await listed(desk, ISSUES, sort="severity", order=order)]
    highs = sorted([ids["c"], ids["e"]])
    ascending = [ids["a"], ids["d"], *highs, ids["b"]]
    assert found == (ascending if order == "asc" else ascending[::-1])


BAD_QUERIES: list[dict[str, Any]] = [
    {"status": "open"}, {"status": "todo,open"}, {"status": ["todo", "open"]}, {"severity": "high;low"},
    {"resource_type": "sms"}, {"date_range": "1h"}, {"date_field": "updated_at"}, {"sort": "title"},
    {"order": "up"}, {"search": ""}, {"search": "x" * 201}, {"category": ""},
]  # fmt: skip


async def test_a_filter_value_outside_the_contract_is_400(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for query in BAD_QUERIES:
        with subtests.test(query=query):
            assert next(iter(query)) in refused(await desk.get(ISSUES, params=query), 400, "bad_request")


async def test_issues_are_filtered_by_the_agent_and_the_version_that_they_were_filed_with(
    desk: httpx2.AsyncClient,
) -> None:
    """The ids stand in an unmerged draft of the documentation alone: they are shown only where somebody set them."""
    plain = await filed(desk)
    ours = await filed(desk, agent_id="agent 1/é", agent_version_id="v2")
    other = await filed(desk, agent_id="agent 1/é", agent_version_id="v3")
    assert not {"agent_id", "agent_version_id"} & plain.keys()
    assert (ours["agent_id"], ours["agent_version_id"]) == ("agent 1/é", "v2")
    found = await listed(desk, ISSUES, agent_id="agent 1/é")
    assert {issue["id"] for issue in found} == {ours["id"], other["id"]}
    assert [one["id"] for one in await listed(desk, ISSUES, agent_id="agent 1/é", agent_version_id="v2")] == [
        ours["id"]
    ]
    assert await listed(desk, ISSUES, agent_version_id="v") == []


async def full_issue(desk: httpx2.AsyncClient) -> dict[str, str]:
    """An issue with several items on each of its lists; the paths of all lists."""
    issue, other = await filed(desk, resource_links=[CARD, HOURS]), await filed(desk, severity="low")
    for flag_type in ("x", "y", "y", "z"):
        await flagged(desk, issue["id"], type=flag_type)
    for kind in ("related_to", "blocks", "duplicate_of"):
        await linked(desk, issue, other, kind)
    await filed(desk)
    paths = {path: f"{ISSUES}/{issue['id']}{path}" for path in LISTS[1:]}
    return {"": ISSUES, **paths, "/flag-types": "/v1/triage/flag-types"}


async def in_pages(desk: httpx2.AsyncClient, path: str, size: int) -> list[Any]:
    """All of a list, page by page."""
    items, cursor = list[Any](), None
    while True:
        page = await shown(desk, path, limit=size, **({} if cursor is None else {"cursor": cursor}))
        assert 0 < len(page["items"]) <= size
        items += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return items


async def test_pages_of_a_list_add_up_to_the_list(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for name, path in (await full_issue(desk)).items():
        whole = await listed(desk, path)
        assert len(whole) > 1
        for size in (1, 2):
            with subtests.test(name=name, size=size):
                assert await in_pages(desk, path, size) == whole


async def test_pages_of_issues_add_up_in_every_sort(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock, subtests: pytest.Subtests
) -> None:
    await board(desk, the_desk, clock)
    for sort, order in product(("last_activity_at", "created_at", "severity", "status"), ("asc", "desc")):
        with subtests.test(sort=sort, order=order):
            first = await shown(desk, ISSUES, sort=sort, order=order, limit=3)
            rest = await listed(desk, ISSUES, sort=sort, order=order, limit=3, cursor=first["next_cursor"])
            assert first["items"] + rest == await listed(desk, ISSUES, sort=sort, order=order)


async def test_a_page_holds_fifty_items_unless_told_and_a_hundred_at_most(desk: httpx2.AsyncClient) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(51):
            tasks.start_soon(filed, desk)
    assert len((await shown(desk, ISSUES))["items"]) == 50
    assert len(await listed(desk, ISSUES, limit=100)) == 51


OUT_OF_RANGE: list[dict[str, Any]] = [
    {"limit": 0}, {"limit": 101}, {"limit": -1}, {"limit": "ten"}, {"cursor": ""}, {"cursor": "x" * 513},
]  # fmt: skip


async def test_a_limit_or_cursor_out_of_range_is_400(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for (name, path), query in product((await full_issue(desk)).items(), OUT_OF_RANGE):
        with subtests.test(name=name, query=query):
            assert next(iter(query)) in refused(await desk.get(path, params=query), 400, "bad_request")


async def test_a_bad_cursor_or_one_of_another_list_is_400(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    paths = await full_issue(desk)
    cursors = {name: (await shown(desk, path, limit=1))["next_cursor"] for name, path in paths.items()}
    for name, own in cursors.items():
        of_others = [cursor for other, cursor in cursors.items() if other != name]
        for cursor in ["garbage", "🙂", NOWHERE, own[:-2] + ("AA" if own[-2:] != "AA" else "BB"), *of_others]:
            with subtests.test(name=name, cursor=cursor):
                refused(await desk.get(paths[name], params={"cursor": cursor}), 400, "bad_request")


async def test_a_cursor_of_another_organisation_is_400(desk: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    for http in (desk, desk, stranger, stranger):
        await filed(http)
    cursor = (await shown(desk, ISSUES, limit=1))["next_cursor"]
    refused(await stranger.get(ISSUES, params={"cursor": cursor}), 400, "bad_request")


async def test_a_cursor_of_issues_is_bound_to_sort_and_order(
    desk: httpx2.AsyncClient, subtests: pytest.Subtests
) -> None:
    await full_issue(desk)
    cursor = (await shown(desk, ISSUES, limit=1))["next_cursor"]
    queries = [{"sort": "created_at"}, {"order": "asc"}, {"sort": "status", "order": "asc"}, {"sort": "severity"}]
    for query in queries:
        with subtests.test(query=query):
            refused(await desk.get(ISSUES, params={**query, "cursor": cursor}), 400, "bad_request")
    same = {"sort": "last_activity_at", "order": "desc", "cursor": cursor}
    assert (await desk.get(ISSUES, params=same)).status_code == 200


# --- evidence ---


async def test_an_attached_call_becomes_a_link_with_its_summary_and_start(desk: httpx2.AsyncClient) -> None:
    issue = await filed(desk)
    link = await sent(desk, f"{ISSUES}/{issue['id']}/resources", CARD)
    assert set(link) == LINK_KEYS
    assert link.items() >= {
        **CARD, "issue_id": issue["id"], "org_id": issue["org_id"], "status": "available",
        "title": "Caller lost a debit card and asked for a new one.",
        "metadata": {"created_at": "2026-05-01T10:00:00.000Z"}, "attached_by_id": issue["author_id"],
    }.items()  # fmt: skip
    assert link["id"] not in {link["resource_id"], issue["id"]}
    assert INSTANT.fullmatch(link["created_at"])
    assert await listed(desk, f"{ISSUES}/{issue['id']}/resources") == [link]


async def test_attaching_twice_returns_the_first_link_and_changes_nothing(
    desk: httpx2.AsyncClient, colleague: httpx2.AsyncClient
) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}"
    first = await sent(desk, f"{path}/resources", CARD, 201)
    before = await shown(desk, path), await listed(desk, f"{path}/activity")
    assert await sent(desk, f"{path}/resources", CARD, 200) == first
    assert await sent(colleague, f"{path}/resources", CARD, 200) == first
    assert (await shown(desk, path), await listed(desk, f"{path}/activity")) == before
    assert await listed(desk, f"{path}/resources") == [first]


async def test_one_call_may_be_evidence_on_many_issues(desk: httpx2.AsyncClient) -> None:
    links = [await sent(desk, f"{ISSUES}/{(await filed(desk))['id']}/resources", CARD) for _ in range(2)]
    assert links[0]["id"] != links[1]["id"]


@pytest.mark.parametrize("kind", ["call", "sms_conversation", "file"])
async def test_attaching_something_unknown_is_resource_not_found(desk: httpx2.AsyncClient, kind: str) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}/resources"
    for unknown in (str(uuid4()), "convo_abc123"):
        answer = await desk.post(path, json={"resource_type": kind, "resource_id": unknown})
        refused(answer, 404, "not_found", "Resource not found")
    if kind != "call":
        refused(await desk.post(path, json={**CARD, "resource_type": kind}), 404, "not_found", "Resource not found")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("resource_type", {**CARD, "resource_type": "sms"}), ("resource_type", {"resource_id": "call-card"}),
        ("resource_id", {"resource_type": "call"}), ("resource_id", {**CARD, "resource_id": 7}),
        ("resource_id", {**CARD, "resource_id": ""}), ("resource_id", {**CARD, "resource_id": "x" * 129}),
    ], ids=brief,
)  # fmt: skip
async def test_a_bad_resource_reference_is_named_in_a_400(desk: httpx2.AsyncClient, name: str, body: Any) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}/resources"
    assert name in refused(await desk.post(path, json=body), 400, "bad_request")


async def test_a_link_keeps_title_and_metadata_and_tells_when_its_call_is_gone(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}/resources"
    link = await sent(desk, path, CARD)
    await the_desk.store.write(lambda connection: connection.execute(delete(calls).where(calls.c.id == "call-card")))
    assert await listed(desk, path) == [{**link, "status": "unavailable"}]


async def test_a_call_is_answered_bare_with_its_transcripts(desk: httpx2.AsyncClient) -> None:
    answer = await desk.get("/v1/calls/call-hours")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    call = answer.json()
    assert call.items() >= {"call_id": "call-hours", "summary": "Caller asked for branch hours."}.items()
    assert [(turn["user"], turn["text"]) for turn in call["transcripts"]] == [
        ("assistant", "hello"),
        ("user", "what are your hours"),
        ("assistant", "nine thirty to five"),
    ]


@pytest.mark.parametrize("call_id", ["12345678-1234-1234-1234-123456789012", "convo_abc123"])
async def test_an_unknown_call_is_call_not_found(desk: httpx2.AsyncClient, call_id: str) -> None:
    refused(await desk.get(f"/v1/calls/{call_id}"), 404, "CALL_NOT_FOUND", "Call not found")


# --- flags ---


async def test_a_flag_has_the_documented_shape(desk: httpx2.AsyncClient) -> None:
    issue = await filed(desk, resource_links=[CARD])
    fields = {
        "call_id": "call-card", "note": "Transferred without confirming the email.", "node_id": "n7",
        "node_name": "Closing", "message_index": 12, "message_text": "OK, transferring you now.",
    }  # fmt: skip
    flag = await flagged(desk, issue["id"], **fields)
    assert set(flag) == FLAG_KEYS
    expected = {"type": "missed_handoff", "issue_id": issue["id"], "author_id": issue["author_id"], **fields}
    assert flag.items() >= expected.items()
    assert flag["org_id"] == issue["org_id"]
    assert INSTANT.fullmatch(flag["created_at"])
    assert await listed(desk, f"{ISSUES}/{issue['id']}/flags") == [flag]


async def test_a_flag_without_a_note_stores_an_empty_one_and_equal_flags_are_two(desk: httpx2.AsyncClient) -> None:
    issue = await filed(desk, resource_links=[CARD])
    flags = [await flagged(desk, issue["id"]) for _ in range(2)]
    assert [flag["note"] for flag in flags] == ["", ""]
    assert {flags[0][name] for name in ("node_id", "node_name", "message_index", "message_text")} == {None}
    assert await listed(desk, f"{ISSUES}/{issue['id']}/flags") == flags
    assert flags[0]["id"] != flags[1]["id"]


async def test_flagging_a_call_that_is_not_attached_to_this_issue_is_a_conflict(desk: httpx2.AsyncClient) -> None:
    await filed(desk, resource_links=[HOURS])
    path = f"{ISSUES}/{(await filed(desk, resource_links=[CARD]))['id']}"
    before = await shown(desk, path)
    for call_id in ("call-hours", "3aefc79d-1870-4514-b32b-b9212ae32bc8"):
        answer = await desk.post(f"{path}/flags", json={"call_id": call_id, "type": "Missed handoff"})
        refused(answer, 409, "call_not_attached", "Call must be attached to issue first")
    assert await shown(desk, path) == before


async def test_flagging_checks_the_issue_then_the_body_then_the_attachment(desk: httpx2.AsyncClient) -> None:
    bad, detached = {"call_id": "call-card", "type": "!!!"}, {"call_id": "call-card", "type": "x"}
    issue = await filed(desk)
    refused(await desk.post(f"{ISSUES}/{NOWHERE}/flags", json=bad), 404, "not_found", "Issue not found")
    refused(await desk.post(f"{ISSUES}/{issue['id']}/flags", json=bad), 400, "bad_request")
    refused(await desk.post(f"{ISSUES}/{issue['id']}/flags", json=detached), 409, "call_not_attached")


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Missed handoff", "missed_handoff"), ("missedHandoff", "missed_handoff"), ("ASRError", "asr_error"),
        (" wrong-pathway  node ", "wrong_pathway_node"), ("__x__", "x"), ("ＡＳＲ２", "asr2"), ("a.b/c", "a_b_c"),
        ("x" * 64, "x" * 64), ("-" * 64 + "x" * 64, "x" * 64), ("step2Failed", "step2_failed"),
    ], ids=brief,
)  # fmt: skip
async def test_a_flag_type_is_stored_in_lower_snake_case(desk: httpx2.AsyncClient, typed: str, stored: str) -> None:
    issue = await filed(desk, resource_links=[CARD])
    assert (await flagged(desk, issue["id"], type=typed))["type"] == stored


BAD_FLAGS: list[tuple[str, Any]] = [
    ("type", "!!!"), ("type", ""), ("type", "x" * 65), ("type", "-" * 65 + "x" * 64), ("type", 7), ("type", None),
    ("call_id", ""), ("call_id", "x" * 129), ("call_id", None), ("note", ""), ("note", "x" * 4001), ("note", None),
    ("node_id", "x" * 257), ("node_name", "x" * 257), ("message_text", "x" * 10_001), ("message_index", -1),
    ("message_index", "12"), ("message_index", 1.5), ("message_index", True), ("message_index", None),
]  # fmt: skip


async def test_a_bad_field_of_a_flag_is_named_in_a_400(desk: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    path = f"{ISSUES}/{(await filed(desk, resource_links=[CARD]))['id']}/flags"
    for name, value in BAD_FLAGS:
        with subtests.test(name=name, value=value):
            body = {"call_id": "call-card", "type": "x", name: value}
            assert name in refused(await desk.post(path, json=body), 400, "bad_request")
            assert await listed(desk, path) == []


async def test_limits_of_a_flag_are_inclusive_and_the_index_is_not_held_against_the_call(
    desk: httpx2.AsyncClient,
) -> None:
    issue = await filed(desk, resource_links=[CARD])
    fields = {"note": "n" * 4000, "node_id": "i" * 256, "node_name": "m" * 256, "message_text": "t" * 10_000}
    assert (await flagged(desk, issue["id"], **fields, message_index=0)).items() >= fields.items()
    assert (await flagged(desk, issue["id"], message_index=99_999))["message_index"] == 99_999


async def test_flag_types_count_present_flags_of_all_issues_most_used_first(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    first, second = await filed(desk, resource_links=[CARD]), await filed(desk, resource_links=[CARD])
    for issue, typed, note in [
        (first, "Missed handoff", "Old meaning."),
        (second, "missedHandoff", "Transferred without confirming the email."),
        (first, "missed_handoff", None),
        (first, "late", None),
        (second, "early", None),
    ]:
        newest = await flagged(desk, issue["id"], type=typed, **({} if note is None else {"note": note}))
    clock.advance(seconds=1)
    the_desk.clock = lambda: clock.now  # the next two flags are equally new: the name decides
    tied = [await flagged(desk, first["id"], type=name) for name in ("zeta", "alpha")]
    found = await listed(desk, "/v1/triage/flag-types")
    assert [(row["type"], row["usage_count"]) for row in found] == [
        ("missed_handoff", 3), ("alpha", 1), ("zeta", 1), ("early", 1), ("late", 1),
    ]  # fmt: skip
    assert [row["description"] for row in found[:2]] == ["Transferred without confirming the email.", ""]
    assert found[1]["last_used_at"] == tied[0]["created_at"] == tied[1]["created_at"]
    assert found[3]["last_used_at"] == newest["created_at"]
    assert {frozenset(row) for row in found} == {frozenset({"type", "description", "usage_count", "last_used_at"})}


# --- relations ---


async def test_a_relation_is_outgoing_from_its_source_and_incoming_at_its_target(desk: httpx2.AsyncClient) -> None:
    source, target = await filed(desk), await filed(desk, title="Caller transferred to wrong queue")
    relation = await linked(desk, source, target, "duplicate_of")
    assert set(relation) == RELATION_KEYS
    assert relation.items() >= {
        "org_id": source["org_id"], "issue_id": source["id"], "related_issue_id": target["id"],
        "related_triage_id": "T-1002", "related_title": "Caller transferred to wrong queue",
        "relation_type": "duplicate_of", "direction": "outgoing", "created_by_id": source["author_id"],
    }.items()  # fmt: skip
    assert INSTANT.fullmatch(relation["created_at"])
    assert await listed(desk, f"{ISSUES}/{source['id']}/relations") == [relation]
    other_end = {"direction": "incoming", "related_triage_id": "T-1001", "related_title": source["title"]}
    assert await listed(desk, f"{ISSUES}/{target['id']}/relations") == [{**relation, **other_end}]
    assert [(await shown(desk, f"{ISSUES}/{end['id']}"))["relation_count"] for end in (source, target)] == [1, 1]
    assert [(await shown(desk, f"{ISSUES}/{end['id']}"))["status"] for end in (source, target)] == ["todo", "todo"]


async def test_linking_again_returns_the_first_relation_and_changes_nothing(desk: httpx2.AsyncClient) -> None:
    source, target = await filed(desk), await filed(desk)
    first = await linked(desk, source, target, "blocks", 201)
    paths = [f"{ISSUES}/{end['id']}{path}" for end in (source, target) for path in ("", "/activity")]
    before = [await shown(desk, path) for path in paths]
    assert await linked(desk, source, target, "blocks", 200) == first
    assert [await shown(desk, path) for path in paths] == before


async def test_another_type_or_the_reverse_direction_is_another_relation(desk: httpx2.AsyncClient) -> None:
    source, target = await filed(desk), await filed(desk)
    kinds = ["related_to", "blocks", "duplicate_of"]
    made = [await linked(desk, source, target, kind) for kind in kinds]
    made.append(await linked(desk, target, source, "related_to"))
    found = await listed(desk, f"{ISSUES}/{source['id']}/relations")
    assert [row["id"] for row in found] == [row["id"] for row in made]
    assert [row["direction"] for row in found] == ["outgoing", "outgoing", "outgoing", "incoming"]
    assert (await shown(desk, f"{ISSUES}/{target['id']}"))["relation_count"] == 4


async def test_an_issue_cannot_be_linked_to_itself(desk: httpx2.AsyncClient) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}"
    for own_id in (path.rpartition("/")[2], path.rpartition("/")[2].upper()):
        body = {"related_issue_id": own_id, "relation_type": "related_to"}
        refused(await desk.post(f"{path}/relations", json=body), 400, "bad_request")
    assert await listed(desk, f"{path}/relations") == []


async def test_linking_to_an_unknown_issue_is_not_found(desk: httpx2.AsyncClient) -> None:
    body = {"related_issue_id": NOWHERE, "relation_type": "blocks"}
    answer = await desk.post(f"{ISSUES}/{(await filed(desk))['id']}/relations", json=body)
    refused(answer, 404, "not_found", "Issue not found")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("relation_type", {"related_issue_id": NOWHERE}), ("related_issue_id", {"relation_type": "blocks"}),
        ("relation_type", {"related_issue_id": NOWHERE, "relation_type": "duplicates"}),
        ("related_issue_id", {"related_issue_id": "T-1001", "relation_type": "blocks"}),
        ("related_issue_id", {"related_issue_id": 1001, "relation_type": "blocks"}),
    ],
)  # fmt: skip
async def test_a_bad_field_of_a_relation_is_named_in_a_400(desk: httpx2.AsyncClient, name: str, body: Any) -> None:
    path = f"{ISSUES}/{(await filed(desk))['id']}/relations"
    assert name in refused(await desk.post(path, json=body), 400, "bad_request")


# --- the feed ---


async def test_each_action_leaves_its_entry_newest_first(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    the_desk.clock = lambda: clock.now  # all at one instant: the order of arrival decides
    issue, other = await filed(desk), await filed(desk, title="The other")
    link = await sent(desk, f"{ISSUES}/{issue['id']}/resources", CARD)
    await flagged(desk, issue["id"])
    relation = await linked(desk, issue, other, "blocks")
    entries = await listed(desk, f"{ISSUES}/{issue['id']}/activity")
    assert [entry["type"] for entry in entries] == ["relation_added", "flag_added", "resource_added", "created"]
    for entry in entries:
        assert set(entry) == ENTRY_KEYS
        assert set(entry["actor"]) == {"kind", "id", "label", "avatar_url"}
        assert (entry["actor"]["kind"], entry["actor"]["id"]) == ("user", issue["author_id"])
        assert (entry["entry_kind"], entry["issue_id"]) == ("issue", issue["id"])
        assert (entry["from_status"], entry["to_status"]) == (None, None)
        assert isinstance(entry["detail"], str)
        assert INSTANT.fullmatch(entry["created_at"])
    assert entries[1]["detail"] == "Added a flag."
    assert [entry["resources"] for entry in entries] == [[], [link], [link], []]
    facts = {"relation_id": relation["id"], "relation_type": "blocks"}
    assert entries[0]["metadata"] == {**facts, "direction": "outgoing"}
    assert [entry["metadata"] for entry in entries[1:]] == [None, None, None]
    assert [entry["referenced_issues"] for entry in entries[1:]] == [[], [], []]
    incoming = (await listed(desk, f"{ISSUES}/{other['id']}/activity"))[0]
    assert (incoming["type"], incoming["metadata"]) == ("relation_added", {**facts, "direction": "incoming"})


async def test_a_relation_entry_names_the_other_issue_with_its_status(desk: httpx2.AsyncClient) -> None:
    issue, other = await filed(desk), await filed(desk, title="The other", status="in_review")
    await linked(desk, issue, other, "blocks")
    for here, there in ((issue, other), (other, issue)):
        entry = (await listed(desk, f"{ISSUES}/{here['id']}/activity"))[0]
        assert entry["referenced_issues"] == [{name: there[name] for name in ("id", "triage_id", "title", "status")}]


async def test_concurrent_attachments_of_one_call_leave_one_link(desk: httpx2.AsyncClient) -> None:
    path, statuses = f"{ISSUES}/{(await filed(desk))['id']}", list[int]()

    async def attach() -> None:
        statuses.append((await desk.post(f"{path}/resources", json=CARD)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(attach)
    assert sorted(statuses) == [200, 200, 200, 200, 201]
    assert (await shown(desk, path))["resource_count"] == 1
