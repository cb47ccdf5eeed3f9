"""The desk's side of what changes, removes and talks: raw over HTTP."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock, call_line, endpoints_to, enrol, load_lines
from pydantic import SecretStr
from unit.storage.changes import Held

from calltriage.client.answers import Answer, failure
from calltriage.client.client import open_client
from calltriage.desk.app import HANDLERS, Desk, handlers_of
from calltriage.desk.bytes.blobs import BlobFolder
from calltriage.errors import StorageUnavailable
from calltriage.leaves.instants import written
from calltriage.operations import CATALOGUE
from calltriage.operations.attachments import GetAttachment, RequestUploadLink
from calltriage.operations.base import Api, Operation
from calltriage.operations.fields import missing
from calltriage.operations.flags import ListFlagTypes
from calltriage.operations.issues import GetIssue, MarkIssueViewed

ISSUE = {"title": "Agent skipped the verification step", "severity": "high", "category": "Routing"}
UNKNOWN = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"


async def made(desk: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    return (await desk.post("/v1/triage/issues", json=ISSUE | more)).json()["data"]


async def feed(desk: httpx2.AsyncClient, issue_id: str) -> list[dict[str, Any]]:
    return (await desk.get(f"/v1/triage/issues/{issue_id}/activity")).json()["data"]["items"]


async def with_evidence(desk: httpx2.AsyncClient) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An issue, the link of its call, and a flag on that."""
    path = f"/v1/triage/issues/{(await made(desk))['id']}"
    link = await desk.post(f"{path}/resources", json={"resource_type": "call", "resource_id": "call-card"})
    flag = await desk.post(f"{path}/flags", json={"call_id": "call-card", "type": "x"})
    return path, link.json()["data"], flag.json()["data"]


async def test_only_what_is_sent_changes_and_each_change_has_its_entry(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await enrol(the_desk, "ann")
    issue = await made(desk, owner_id="ann")
    path = f"/v1/triage/issues/{issue['id']}"
    changed = await desk.patch(path, json={"status": "done", "severity": "low", "owner_id": None, "title": "New"})
    after = changed.json()["data"]
    assert changed.status_code == 200
    assert (after["status"], after["severity"], after["owner_id"], after["title"]) == ("done", "low", None, "New")
    assert (after["category"], after["description"]) == ("Routing", "")
    assert after["updated_at"] == after["last_activity_at"] > issue["updated_at"]
    entries = {entry["type"]: entry for entry in await feed(desk, issue["id"])}
    assert entries.keys() == {"created", "status_changed", "severity_changed", "owner_changed"}
    status = entries["status_changed"]
    assert (status["from_status"], status["to_status"]) == ("todo", "done")
    assert entries["owner_changed"]["metadata"] == {"from": "ann", "to": None}
    found = await desk.get("/v1/triage/issues", params={"search": "new", "severity": "low"})
    assert [one["id"] for one in found.json()["data"]["items"]] == [issue["id"]]


@pytest.mark.parametrize("body", [{}, {"status": "todo", "severity": "high"}])
async def test_an_update_that_changes_nothing_moves_nothing(desk: httpx2.AsyncClient, body: dict[str, str]) -> None:
    issue = await made(desk)
    assert (await desk.patch(f"/v1/triage/issues/{issue['id']}", json=body)).json()["data"] == issue
    assert len(await feed(desk, issue["id"])) == 1


@pytest.mark.parametrize(
    "body", [{"title": None}, {"status": "gone"}, {"source": "manual"}, {"owner_id": ""}, {"nonsense": 1}, {"title": 7}]
)
async def test_an_update_outside_the_contract_is_400(desk: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    issue = await made(desk)
    answer = await desk.patch(f"/v1/triage/issues/{issue['id']}", json=body)
    assert answer.status_code == 400
    assert (await desk.get(f"/v1/triage/issues/{issue['id']}")).json()["data"] == issue


async def test_deleting_an_issue_takes_what_hangs_on_it_and_tells_the_other_end(desk: httpx2.AsyncClient) -> None:
    path, _, _ = await with_evidence(desk)
    other = await made(desk)
    link = {"related_issue_id": other["id"], "relation_type": "blocks"}
    assert (await desk.post(f"{path}/relations", json=link)).status_code == 201
    assert (await desk.delete(path)).status_code == 204
    assert (await desk.delete(path)).status_code == 404
    assert (await desk.get("/v1/triage/flag-types")).json()["data"]["items"] == []
    assert (await desk.get(f"/v1/triage/issues/{other['id']}")).json()["data"]["relation_count"] == 0
    assert (await feed(desk, other["id"]))[0]["type"] == "relation_removed"
    assert (await desk.get("/v1/calls/call-card")).status_code == 200
    assert (await made(desk))["number"] == other["number"] + 1, "a number is not used again"


@pytest.mark.parametrize("by", ["link", "call"])
async def test_detaching_a_call_takes_its_flags_with_it(desk: httpx2.AsyncClient, by: str) -> None:
    path, link, flag = await with_evidence(desk)
    url = f"{path}/resources/{link['id']}" if by == "link" else f"{path}/calls/call-card"
    assert (await desk.delete(url)).status_code == 204
    assert (await desk.delete(url)).json()["errors"] == [{"error": "not_found", "message": "Resource not found"}]
    issue = (await desk.get(path)).json()["data"]
    assert (issue["resource_count"], issue["flag_count"]) == (0, 0)
    newest, before = (await feed(desk, issue["id"]))[:2]
    assert (newest["type"], newest["resources"][0]["id"]) == ("resource_removed", link["id"])
    assert (before["type"], before["metadata"]) == ("flag_removed", {"flag_id": flag["id"], "type": "x"})


async def test_attaching_by_call_id_is_idempotent_and_answers_the_issue(desk: httpx2.AsyncClient) -> None:
    path = f"/v1/triage/issues/{(await made(desk))['id']}"
    first, second = [await desk.put(f"{path}/calls/call-card") for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["data"]["resource_count"] == 1
    assert second.json() == first.json()
    assert (await desk.put(f"{path}/calls/absent")).status_code == 404


async def test_flags_and_relations_are_removed_from_their_own_issue_only(desk: httpx2.AsyncClient) -> None:
    path, _, flag = await with_evidence(desk)
    other = await made(desk)
    stranger = await made(desk)
    link = await desk.post(f"{path}/relations", json={"related_issue_id": other["id"], "relation_type": "blocks"})
    relation = link.json()["data"]["id"]
    elsewhere = f"/v1/triage/issues/{stranger['id']}"
    assert (await desk.delete(f"{elsewhere}/flags/{flag['id']}")).json()["errors"][0]["message"] == "Flag not found"
    assert (await desk.delete(f"{elsewhere}/relations/{relation}")).json()["errors"][0][
        "message"
    ] == "Relation not found"
    assert (await desk.delete(f"{path}/flags/{flag['id']}")).status_code == 204
    assert (await desk.delete(f"/v1/triage/issues/{other['id']}/relations/{relation}")).status_code == 204
    assert (await desk.get(path)).json()["data"]["relation_count"] == 0


async def test_a_comment_cites_links_of_its_own_issue_and_moves_one_clock(desk: httpx2.AsyncClient) -> None:
    path, link, _ = await with_evidence(desk)
    before = (await desk.get(path)).json()["data"]
    answer = await desk.post(f"{path}/comments", json={"detail": "Look here.", "resource_link_ids": [link["id"]]})
    entry = answer.json()["data"]
    assert answer.status_code == 201
    assert (entry["type"], entry["detail"], entry["resources"][0]["id"]) == ("comment", "Look here.", link["id"])
    after = (await desk.get(path)).json()["data"]
    assert after["updated_at"] == before["updated_at"]
    assert after["last_activity_at"] == entry["created_at"] > before["last_activity_at"]
    stranger = f"/v1/triage/issues/{(await made(desk))['id']}/comments"
    foreign = await desk.post(stranger, json={"detail": "x", "resource_link_ids": [link["id"]]})
    assert foreign.status_code == 404


async def test_a_view_clears_the_unread_mark_of_its_user_alone(desk: httpx2.AsyncClient) -> None:
    path, _, _ = await with_evidence(desk)
    assert (await desk.get(path)).json()["data"]["has_unread_activity"] is True
    seen = await desk.put(f"{path}/view")
    assert seen.status_code == 200
    assert seen.json()["data"].keys() == {"issue_id", "last_viewed_at"}
    assert (await desk.get(path)).json()["data"]["has_unread_activity"] is False
    assert len(await feed(desk, path.rpartition("/")[2])) == 3


async def test_the_category_catalogue_holds_built_in_created_and_used_names_once(desk: httpx2.AsyncClient) -> None:
    await made(desk, category="Voicemail")
    created = [await desk.post("/v1/triage/categories", json={"name": name}) for name in ("Zeta", "ZETA", "bug")]
    assert [answer.status_code for answer in created] == [201, 200, 200]
    assert created[1].json() == created[0].json()
    assert created[2].json()["data"]["id"] == "built-in:bug"
    names: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await desk.get("/v1/triage/categories", params=query)).json()["data"]
        names += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == [
        "Bug", "Dialogue", "Latency", "Routing", "Speech", "Telephony", "Tools", "Transcription", "Voicemail", "Zeta",
    ]  # fmt: skip


async def test_a_run_reads_the_evidence_says_so_and_ends(desk: httpx2.AsyncClient, clock: Clock) -> None:
    path, _, _ = await with_evidence(desk)
    issue_id = path.rpartition("/")[2]
    assert (await desk.get("/v1/triage/agents")).json()["data"]["items"][0]["display_name"] == "Norm"
    session = (await desk.post(f"{path}/agent-sessions", json={})).json()["data"]
    assert session["status"] == "active"
    prompts = f"{path}/agent-sessions/{session['id']}/prompts"
    accepted = await desk.post(prompts, json={"detail": "/Verify does it ask?"})
    assert accepted.status_code == 202
    run = accepted.json()["data"]
    assert (run["session_id"], run["intent"]) == (session["id"], "verify")
    assert (await desk.get(path)).json()["data"]["is_processing"] is True
    busy = await desk.post(prompts, json={"detail": "status"})
    assert (busy.status_code, busy.json()["errors"][0]["error"]) == (409, "session_busy")
    clock.advance(seconds=5)
    issue = (await desk.get(path)).json()["data"]
    assert (issue["is_processing"], issue["latest_agent_session"]["status"]) == (False, "awaiting_input")
    assert issue["latest_agent_session"]["run"]["run_id"] == run["run_id"]
    agent = [entry for entry in await feed(desk, issue_id) if entry["entry_kind"] == "agent"]
    assert [entry["type"] for entry in agent] == ["response", "artifact", "action", "prompt", "session_started"]
    assert agent[3]["detail"] == "does it ask?"
    assert {entry["type"] for entry in agent if entry["artifact"] is not None} == {"artifact"}
    assert (agent[1]["artifact"]["type"], agent[1]["artifact"]["status"]) == ("verification_report", "ready")
    assert (await desk.post(f"{path}/agent-sessions/{UNKNOWN}/prompts", json={"detail": "x"})).status_code == 404


async def test_a_view_during_a_run_does_not_hide_its_reply(desk: httpx2.AsyncClient, clock: Clock) -> None:
    path, _, _ = await with_evidence(desk)
    session = (await desk.post(f"{path}/agent-sessions", json={})).json()["data"]
    await desk.post(f"{path}/agent-sessions/{session['id']}/prompts", json={"detail": "status"})
    await desk.post(f"{path}/comments", json={"detail": "meanwhile"})
    seen = (await desk.put(f"{path}/view")).json()["data"]["last_viewed_at"]
    issue = (await desk.get(path)).json()["data"]
    assert issue["last_activity_at"] <= written(clock.now)
    clock.advance(seconds=60)
    issue, newest = (await desk.get(path)).json()["data"], (await feed(desk, path.rpartition("/")[2]))[0]
    assert newest["type"] == "response"
    assert issue["last_activity_at"] == newest["created_at"] > seen
    assert issue["has_unread_activity"] is True


async def test_what_waits_for_its_turn_is_not_dated_before_what_went_first(
    desk: httpx2.AsyncClient, the_desk: Desk, clock: Clock
) -> None:
    path = f"/v1/triage/issues/{(await made(desk))['id']}"
    store, held, released = the_desk.store, Held("held"), ""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.write, held)
            await held.wait_inside()
            tasks.start_soon(lambda: desk.post(f"{path}/comments", json={"detail": "x"}))
            while not store._waiting:
                await anyio.lowlevel.checkpoint()
            clock.advance(seconds=5)
            released = written(clock.now)
            held.go.set()
    assert (await feed(desk, path.rpartition("/")[2]))[0]["created_at"] > released > ""


async def test_what_people_wrote_is_shown_also_after_the_clock_stepped_back(
    desk: httpx2.AsyncClient, clock: Clock
) -> None:
    issue_id = (await made(desk))["id"]
    clock.advance(seconds=-60)
    assert [entry["type"] for entry in await feed(desk, issue_id)] == ["created"]


class NothingToDrop(BlobFolder):
    async def drop(self, *names: str) -> None:
        raise AssertionError(names)


async def test_a_request_that_leaves_no_bytes_loose_asks_nothing_of_their_place(tmp_path: Path) -> None:
    the_desk = Desk(tmp_path, SecretStr(KEY), DESK_URL, blobs=NothingToDrop(tmp_path / "blobs"))
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    headers = {"authorization": KEY}
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers=headers) as desk:
        issue = await made(desk)
        assert (await desk.get(f"/v1/triage/issues/{issue['id']}")).status_code == 200
    await the_desk.close()


MALFORMED = {
    "resources/nope": "Resource not found",
    "flags/nope": "Flag not found",
    "relations/nope": "Relation not found",
    "calls/.x": "Resource not found",
    f"calls/{'x' * 200}": "Resource not found",
}


@pytest.mark.parametrize("part", MALFORMED)
async def test_a_malformed_id_below_an_issue_names_nothing(desk: httpx2.AsyncClient, part: str) -> None:
    answer = await desk.delete(f"/v1/triage/issues/{(await made(desk))['id']}/{part}")
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (404, MALFORMED[part])


async def test_a_malformed_id_of_what_is_read_names_nothing(desk: httpx2.AsyncClient) -> None:
    path = f"/v1/triage/issues/{(await made(desk))['id']}/agent-sessions/nope/prompts"
    answers = [
        await desk.post(path, json={"detail": "status"}),
        await desk.get(f"/v1/calls/{'x' * 200}"),
        await desk.get("/v1/calls/.x"),
        await desk.get("/v1/sms/conversations/.x"),
    ]
    said = [(answer.status_code, answer.json()["errors"][0]["message"]) for answer in answers]
    calls = [(404, "Call not found")] * 2
    assert said == [(404, "Agent session not found"), *calls, (404, "Conversation not found")]


PATHS = [
    (operation, name) for operation in CATALOGUE if operation.api is Api.TRIAGE for name in operation.path_fields()
]


async def test_an_id_in_a_path_of_a_form_that_no_id_has_names_nothing(
    desk: httpx2.AsyncClient, subtests: pytest.Subtests
) -> None:
    issue_id = (await made(desk))["id"]
    for operation, name in PATHS:
        with subtests.test(operation=operation.__name__, name=name):
            ids = {**dict.fromkeys(operation.path_fields(), UNKNOWN), "issue_id": issue_id, name: ".x"}
            answer = await desk.request(operation.method, operation.path.format(**ids))
            mark = missing(operation.model_fields[name])[0]
            assert answer.status_code == 404, answer.text
            assert answer.json()["errors"] == [{"error": mark.code, "message": mark.says}]


async def test_a_page_of_long_names_in_any_script_can_be_gone_on_from(desk: httpx2.AsyncClient) -> None:
    for name in (chr(0x4E00) * 64, chr(0x4E01) * 64, "\u0390" * 64):
        assert (await desk.post("/v1/triage/categories", json={"name": name})).status_code == 201
    names, cursor = list[str](), ""
    for _ in range(11):
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        answer = await desk.get("/v1/triage/categories", params=query)
        assert answer.status_code == 200, answer.text
        names += [one["name"] for one in answer.json()["data"]["items"]]
        cursor = answer.json()["data"]["next_cursor"]
    assert len(set(names)) == 11
    assert cursor is None


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"start_date": "0001-01-01T00:00:00+14:00"}, 400),
        ({"end_date": "9999-12-31T23:59:59-10:00"}, 400),
        ({"start_date": "0999-01-01"}, 200),
        ({"from": "abc"}, 400),
    ],
)
async def test_what_a_list_of_calls_is_narrowed_by_is_used_or_named(
    desk: httpx2.AsyncClient, query: dict[str, str], status: int
) -> None:
    answer = await desk.get("/v1/calls", params=query)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["errors"][0]["message"].startswith(f"{next(iter(query))}: ")
    else:
        assert answer.json()["total_count"] == 2


async def test_a_form_of_many_parts_is_refused_as_the_standard_says(desk: httpx2.AsyncClient) -> None:
    for kind in ("multipart/form-data; boundary=a", "multipart/form-data"):
        answer = await desk.post("/oauth/token", content=b"xx", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_mention_in_a_comment_starts_a_session_and_a_run(desk: httpx2.AsyncClient) -> None:
    issue_id = (await made(desk))["id"]
    path = f"/v1/triage/issues/{issue_id}"
    comment = await desk.post(f"{path}/comments", json={"detail": "please @Norm status of this"})
    assert comment.json()["data"]["detail"] == "please @Norm status of this"
    assert (await desk.get(path)).json()["data"]["is_processing"] is True


async def test_what_a_link_points_at_is_read_and_listed(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    event = {"sequence": 7, "event_type": "node.transition", "node_id": "n", "operation_id": None, "payload": None}
    line = json.loads(call_line("call-path", "hello", "hi", pathway_id="p1", pathway_name="Sales"))
    line["pathway_events"] = [event | {"created_at": "2026-05-01T10:00:00.000Z"}]
    line["corrected"] = [{"start": 0.5, "end": 1.0, "text": "Hello."}]
    await load_lines(the_desk, json.dumps(line))
    events = (await desk.get("/v1/pathway_calls/call-path", params={"v": "2"})).json()
    assert [(one["sequence"], one["conversation_id"]) for one in events] == [(7, "call-path")]
    corrected = (await desk.get("/v1/calls/call-path/correct")).json()
    assert corrected["corrected"][0]["text"] == "Hello."
    missing = await desk.get("/v1/calls/call-card/correct")
    assert (missing.status_code, missing.json()["errors"][0]["error"]) == (404, "CALL_RECORDING_NOT_FOUND")
    listed = (await desk.get("/v1/calls", params={"limit": "2", "from": "1"})).json()
    assert (listed["total_count"], listed["count"]) == (3, 2)
    assert "transcripts" not in listed["calls"][0]
    path = f"/v1/triage/issues/{(await made(desk))['id']}"
    for call_id in ("call-path", "call-card"):
        await desk.put(f"{path}/calls/{call_id}")
    affected = (await desk.get(f"{path}/affected")).json()["data"]
    assert [one["title"] for one in affected["calls"]] == ["Sales", "call-car"]
    assert [(one["pathway_id"], one["call_count"]) for one in affected["pathways"]] == [("p1", 1)]


async def test_of_conversations_there_are_none_yet(desk: httpx2.AsyncClient) -> None:
    listed = (await desk.get("/v1/sms/conversations")).json()
    assert (listed["data"], listed["extra"]["pagination"]["totalItems"]) == ([], 0)
    missing = await desk.get("/v1/sms/conversations/convo_1")
    assert (missing.status_code, missing.json()["errors"][0]["error"]) == (404, "CONVERSATION_NOT_FOUND")


async def test_the_database_is_its_owners_alone_in_whatever_folder(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    desk = Desk(folder, SecretStr("k" * 20), "http://desk.test")
    await desk.warm_up()
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("desk.sqlite3*")}
    await desk.close()
    assert set(files.values()) == {0o600}, files


async def test_storage_that_cannot_be_used_is_503_on_every_plane_and_nothing_is_said_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    desk = Desk(tmp_path / "file", SecretStr("k" * 20), "http://desk.test")
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://desk.test") as http:
        triage = await http.get("/v1/triage/issues", headers={"authorization": "k"})
        token = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("desk", "k" * 20))
        put = await http.put("/blobs/x?expires=1&signature=x", content=b"x")
    assert [answer.status_code for answer in (triage, token, put)] == [503, 503, 503]
    assert triage.json()["errors"][0]["error"] == "storage_unavailable"
    for answer in (triage, token, put):
        known = failure(Answer(503, answer.headers, answer.content))
        assert isinstance(known, StorageUnavailable), "a client has to know that asking again is in vain"
    assert str(tmp_path) not in triage.text + token.text + put.text
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize(
    "operation",
    [
        ListFlagTypes(limit=1),
        MarkIssueViewed(issue_id="68007859-4325-4ea2-bbd6-e7c8be3a233a"),
        GetAttachment(attachment_id="a"),
        RequestUploadLink(),
    ],
)
async def test_storage_that_cannot_be_used_is_asked_once(tmp_path: Path, operation: Operation[Any]) -> None:
    (tmp_path / "file").touch()
    desk = Desk(tmp_path / "file", SecretStr(KEY), DESK_URL)
    asked: list[str] = []

    class Counting(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append(request.url.path)
            return await super().handle_async_request(request)

    async with open_client(endpoints_to(Counting(desk, raise_app_exceptions=False))) as client:
        with pytest.raises(StorageUnavailable):
            await client.send(operation)
    assert len(asked) == 1


def test_an_operation_without_a_handler_is_named_at_the_start() -> None:
    with pytest.raises(TypeError, match="CreateAttachment"):
        handlers_of(CATALOGUE)


async def test_a_crash_of_a_handler_is_500_and_in_the_log(
    desk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: object) -> Any:
        raise ZeroDivisionError("canary")

    monkeypatch.setitem(HANDLERS, GetIssue, crash)
    answer = await desk.get(f"/v1/triage/issues/{UNKNOWN}")
    assert (answer.status_code, answer.json()["errors"][0]["error"]) == (500, "internal_error")
    assert "canary" not in answer.text
    assert "ZeroDivisionError" in caplog.text
