"""What an answer of 2xx says: a result, a failure all the same, or nothing."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from faults import Scripted, Step, answers, passes, then

from calltriage.client.answers import Answer
from calltriage.client.client import Client, open_client
from calltriage.client.receipts import receipt_of
from calltriage.desk.app import Desk
from calltriage.errors import CallError, Conflict, NotFound, Rejected, Unauthenticated, UnreadableAnswer
from calltriage.operations import CATALOGUE
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.attachments import DeleteAttachment, GetAttachment, ListAttachments
from calltriage.operations.base import Effect, Operation
from calltriage.operations.calls import GetCall
from calltriage.operations.categories import CreateCategory
from calltriage.operations.issues import CreateIssue, DeleteIssue, GetIssue, Issue, ListIssues, UpdateIssue
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"


def enveloped(code: str) -> dict[str, Any]:
    return {"data": None, "errors": [{"error": code, "message": "words"}]}


SAID: dict[str, tuple[Any, type[CallError]]] = {
    "not_found": (enveloped("not_found"), NotFound),
    "bad_request": (enveloped("bad_request"), Rejected),
    "AUTH_FAILURE": (enveloped("AUTH_FAILURE"), Unauthenticated),
    "call_not_attached": (enveloped("call_not_attached"), Conflict),
    "talkdesk": ({"code": "2320009", "message": "Attachment do not exist"}, NotFound),
    "data left out": ({"errors": [{"error": "not_found"}]}, NotFound),
    "empty data": ({"data": {}, "errors": [{"error": "not_found"}]}, NotFound),
    "unknown code": (enveloped("oops"), UnreadableAnswer),
    "status and message": ({"status": "error", "message": "words"}, UnreadableAnswer),
    "status, message, texts": ({"status": "error", "message": "words", "errors": ["text"]}, UnreadableAnswer),
    "error text": ({"error": "words"}, UnreadableAnswer),
    "no success": ({"success": False, "message": "words"}, UnreadableAnswer),
    "status as a number": ({"status": 404, "message": "words"}, UnreadableAnswer),
}
OPERATIONS: list[Operation[Any]] = [
    GetIssue(issue_id=UUID), ListIssues(), GetCall(call_id="c"), ListAttachments(), GetAttachment(attachment_id="a"),
    CreateIssue(title="T", severity="low", category="Bug"), AddComment(issue_id=UUID, detail="d"),
    UpdateIssue(issue_id=UUID, status="done"), DeleteIssue(issue_id=UUID), DeleteAttachment(attachment_id="a"),
    AttachResource(issue_id=UUID, resource_type="call", resource_id="c"), CreateCategory(name="n"),
]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.tool_name())
@pytest.mark.parametrize("said", SAID)
async def test_a_failures_body_is_a_failure_at_any_status(operation: Operation[Any], said: str) -> None:
    body, kind = SAID[said]
    token = answers(200, {"access_token": "t", "token_type": "Bearer", "expires_in": 599})
    vendor = Scripted(only=lambda request: request.url.path == "/oauth/token", inner=Scripted(answers(200, body)))
    vendor.script(*[token] * 9)
    async with open_client(endpoints_to(vendor)) as client:
        with pytest.raises(kind) as caught:
            await client.send(operation)
    is_write = operation.method != "GET"
    assert caught.value.outcome in ({"not_committed", "unknown"} if is_write else {None})
    if kind is not UnreadableAnswer and is_write:
        assert caught.value.outcome == "not_committed"
    assert "words" not in str(caught.value)


async def outcome_over(desk: Desk, operation: Operation[Any], step: Step) -> tuple[str | None, int]:
    """What is told when the answers to a write are changed so, and how often it was sent."""
    network = Scripted(*[step] * 9, inner=httpx2.ASGITransport(desk, raise_app_exceptions=False),
                       only=lambda request: request.method == operation.method)  # fmt: skip
    async with open_client(endpoints_to(network)) as client:
        try:
            return (await client.deliver(operation)).outcome, len(network.requests)
        except CallError as error:
            return error.outcome, len(network.requests)


@pytest.fixture
async def issue(client: Client) -> Issue:
    return await client.send(CreateIssue(title="One", severity="low", category="Bug"))


@pytest.mark.parametrize("body", [b"", b" \n", b"null", b"{}", {"data": None, "errors": None}, {"data": None}])
@pytest.mark.parametrize("done", [True, False])
async def test_an_empty_success_is_looked_up_and_never_sent_again(
    the_desk: Desk, client: Client, issue: Issue, done: bool, body: Any
) -> None:
    empty = answers(200, body)
    told = await outcome_over(
        the_desk, AddComment(issue_id=issue.id, detail="Seen."), then(passes, empty) if done else empty
    )
    assert told == ("committed" if done else "unknown", 1)
    entries = (await client.send(ListActivity(issue_id=issue.id))).items
    assert sum(entry.type == "comment" for entry in entries) == done


async def test_an_empty_success_is_one_where_the_contract_says_so(the_desk: Desk, issue: Issue) -> None:
    assert await outcome_over(the_desk, DeleteIssue(issue_id=issue.id), then(passes, answers(200))) == ("committed", 1)


async def test_a_conflict_with_what_is_there_already_is_a_replay(the_desk: Desk, client: Client, issue: Issue) -> None:
    other = await client.send(CreateIssue(title="Two", severity="low", category="Bug"))
    link = LinkIssue(issue_id=issue.id, related_issue_id=other.id, relation_type="blocks")
    attach = AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card")
    taken = answers(409, {"data": None, "errors": [{"error": "conflict", "message": "exists"}]})
    operations: list[Operation[Any]] = [link, attach, CreateCategory(name="Hold music")]
    for operation in operations:
        assert await outcome_over(the_desk, operation, taken) == ("not_committed", 1)
        await client.deliver(operation)
        assert await outcome_over(the_desk, operation, taken) == ("replayed", 1)


@pytest.mark.parametrize("body", [b"<html>a proxy's page</html>", b"", b"null", b'{"half": ', None])
@pytest.mark.parametrize(
    "operation", [one for one in CATALOGUE if one.effect is Effect.READ], ids=lambda one: one.tool_name()
)
def test_a_success_without_json_is_no_answer_and_no_empty_list(
    operation: type[Operation[Any]], body: bytes | None
) -> None:
    with pytest.raises(UnreadableAnswer):
        receipt_of(operation.model_construct(), Answer(200, httpx2.Headers(), body))
