"""A write whose answer is lost: looked for, counted once, and told truly. On a clock that does not wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from faults import Scripted, Step, answers, fails, hangs, hangs_after, loses_the_answer, passes, then
from virtual_time import VirtualLoop

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.errors import CallError
from calltriage.operations import CATALOGUE
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.attachments import RequestUploadLink
from calltriage.operations.base import Effect, Operation
from calltriage.operations.categories import CreateCategory, ListCategories
from calltriage.operations.flags import AddFlag, ListFlags, RemoveFlag
from calltriage.operations.issues import CreateIssue, DeleteIssue, Issue, ListIssues, MarkIssueViewed, UpdateIssue
from calltriage.operations.norm import CreateAgentSession, PromptNorm
from calltriage.operations.relations import LinkIssue, ListRelations, RemoveRelation
from calltriage.operations.resource_links import AttachCall, AttachResource, DetachCall, ListResources, RemoveResource

DEADLINE = 30.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


@asynccontextmanager
async def over(desk: Desk, *script: Step, when: Callable[[httpx2.Request], bool]) -> AsyncGenerator[Client]:
    """A client whose requests of a kind meet the script, one step each; everything else passes."""
    network = Scripted(*script, inner=httpx2.ASGITransport(desk, raise_app_exceptions=False), only=when)
    async with open_client(endpoints_to(network), deadline_s=DEADLINE) as client:
        yield client


def of(operation: Operation[Any]) -> Callable[[httpx2.Request], bool]:
    return lambda request: (request.method, request.url.path) == (operation.method, operation.url())


class Case:
    """An issue with a flag, a link and a relation, and one more issue, to write on."""

    issue: Issue
    other: Issue
    flag_id: str
    link_id: str
    relation_id: str
    session_id: str

    async def prepare(self, client: Client) -> None:
        self.issue = await client.send(CreateIssue(title="Card line is silent", severity="high", category="Speech"))
        self.other = await client.send(CreateIssue(title="Hours are wrong", severity="low", category="Dialogue"))
        link = AttachResource(issue_id=self.issue.id, resource_type="call", resource_id="call-card")
        self.link_id = (await client.send(link)).id
        flag = AddFlag(issue_id=self.issue.id, call_id="call-card", type="lost_card", note="first")
        self.flag_id = (await client.send(flag)).id
        relation = LinkIssue(issue_id=self.other.id, related_issue_id=self.issue.id, relation_type="blocks")
        self.relation_id = (await client.send(relation)).id
        self.session_id = (await client.send(CreateAgentSession(issue_id=self.other.id))).id


Make = Callable[[Case], Operation[Any]]
Count = Callable[[Client, Case], Awaitable[int]]


def listed(read: Callable[[Case], Operation[Any]], same: Callable[[Any], bool] = lambda _: True) -> Count:
    async def count(client: Client, case: Case) -> int:
        return sum(same(item) for item in (await client.send(read(case))).items)

    return count


def feed(case: Case) -> Operation[Any]:
    return ListActivity(issue_id=case.issue.id, limit=100)


WRITES: dict[str, tuple[Make, Count, int]] = {
    "create_issue": (lambda _: CreateIssue(title="New  one", severity="low", category="Bug", description="x"),
                     listed(lambda _: ListIssues(), lambda issue: issue.title.startswith("New")), 1),
    "update_issue": (lambda case: UpdateIssue(issue_id=case.issue.id, status="done", severity="high"),
                     listed(feed, lambda entry: entry.type == "status_changed"), 1),
    "delete_issue": (lambda case: DeleteIssue(issue_id=case.issue.id), listed(lambda _: ListIssues()), 1),
    "attach_resource": (
        lambda case: AttachResource(issue_id=case.issue.id, resource_type="call", resource_id="call-hours"),
        listed(feed, lambda entry: entry.type == "resource_added"), 2),
    "remove_resource": (lambda case: RemoveResource(issue_id=case.issue.id, resource_link_id=case.link_id),
                        listed(lambda case: ListResources(issue_id=case.issue.id)), 0),
    "attach_call": (lambda case: AttachCall(issue_id=case.issue.id, call_id="call-hours"),
                    listed(lambda case: ListResources(issue_id=case.issue.id)), 2),
    "detach_call": (lambda case: DetachCall(issue_id=case.issue.id, call_id="call-card"),
                    listed(lambda case: ListResources(issue_id=case.issue.id)), 0),
    "add_flag": (lambda case: AddFlag(issue_id=case.issue.id, call_id="call-card", type="Lost Card", note="second",
                                      message_index=3, message_text="i lost my debit card"),
                 listed(lambda case: ListFlags(issue_id=case.issue.id)), 2),
    "remove_flag": (lambda case: RemoveFlag(issue_id=case.issue.id, flag_id=case.flag_id),
                    listed(lambda case: ListFlags(issue_id=case.issue.id)), 0),
    "link_issue": (lambda case: LinkIssue(issue_id=case.issue.id, related_issue_id=case.other.id,
                                          relation_type="related_to"),
                   listed(lambda case: ListRelations(issue_id=case.issue.id)), 2),
    "remove_relation": (lambda case: RemoveRelation(issue_id=case.issue.id, relation_id=case.relation_id),
                        listed(lambda case: ListRelations(issue_id=case.issue.id)), 0),
    "add_comment": (lambda case: AddComment(issue_id=case.issue.id, detail="Seen again today."),
                    listed(feed, lambda entry: entry.type == "comment"), 1),
    "create_category": (lambda _: CreateCategory(name="Hold music"),
                        listed(lambda _: ListCategories(), lambda category: category.name == "Hold music"), 1),
    "create_agent_session": (lambda case: CreateAgentSession(issue_id=case.issue.id),
                             listed(feed, lambda entry: entry.type == "session_started"), 1),
    "prompt_norm": (lambda case: PromptNorm(issue_id=case.other.id, session_id=case.session_id, detail="status now"),
                    listed(lambda case: ListActivity(issue_id=case.other.id), lambda entry: entry.type == "prompt"), 1),
}  # fmt: skip
"""Each write, how its effect is counted, and the count once it was carried out."""

LOST: dict[str, tuple[Step, bool]] = {
    "reset after": (loses_the_answer(httpx2.ReadError), True),
    "closed after": (loses_the_answer(httpx2.RemoteProtocolError), True),
    "hangs after": (hangs_after, True),
    "500 after": (then(passes, answers(500)), True),
    "502 after": (then(passes, answers(502, b"<html>")), True),
    "503 after": (then(passes, answers(503)), True),
    "504 after": (then(passes, answers(504)), True),
    "302 after": (then(passes, answers(302, headers={"location": "/"})), True),
    "reset before": (fails(httpx2.ReadError), False),
    "closed before": (fails(httpx2.RemoteProtocolError), False),
    "hangs before": (hangs, False),
    "500 before": (answers(500), False),
    "502 before": (answers(502, b"<html>"), False),
    "504 before": (answers(504), False),
}
"""What becomes of the first request, and whether the desk carried it out."""

NOT_WAITED_FOR = {"hangs before", "504 before"}
"""The API may still be at work on these, so that a write of which a repeat would be a second one is not repeated."""


def test_every_write_has_a_trace_and_is_looked_for_here() -> None:
    writes = {op for op in CATALOGUE if op.effect is not Effect.READ}
    traced = {op for op in writes if op.trace is not Operation.trace}
    assert writes - traced == {MarkIssueViewed, RequestUploadLink}
    assert set(WRITES) == {op.tool_name() for op in traced if op.path.startswith("/v1/triage")}


REPRESENTATIVE = {"reset after", "hangs after", "503 after", "302 after", "reset before", "hangs before", "504 before"}
"""Faults of which each is another case to the client; the others are further spellings of these."""


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in REPRESENTATIVE else pytest.mark.slow) for name in LOST]
)
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_whose_answer_is_lost_happens_once_and_is_told_truly(
    the_desk: Desk, clock: Clock, name: str, fault: str
) -> None:
    make, count, done = WRITES[name]
    step, carried_out = LOST[fault]
    case = Case()
    async with over(the_desk, when=lambda _: False) as calm:
        await case.prepare(calm)
        before = await count(calm, case)
        operation = make(case)
        clock.advance(minutes=1)
        outcome, began = None, anyio.current_time()
        async with over(the_desk, step, when=of(operation)) as client:
            try:
                outcome = (await client.deliver(operation)).outcome
            except CallError as error:
                outcome = error.outcome
        assert anyio.current_time() - began <= DEADLINE + 0.5
        after = await count(calm, case)
    if not carried_out and fault in NOT_WAITED_FOR and operation.effect in {Effect.ADD, Effect.CHANGE}:
        assert (outcome, after) == ("unknown", before)
    else:
        assert (outcome, after) == ("committed", done)


async def test_of_two_equal_traces_neither_is_claimed(the_desk: Desk) -> None:
    case = Case()
    async with over(the_desk, when=lambda _: False) as other:
        await case.prepare(other)
        flag = AddFlag(issue_id=case.issue.id, call_id="call-card", type="silence", note="twice")

        async def twice(request: httpx2.Request, inner: Any) -> httpx2.Response:
            await other.send(flag)  # somebody else's, at the same moment
            return await loses_the_answer()(request, inner)

        async with over(the_desk, twice, when=of(flag)) as client:
            with pytest.raises(CallError) as caught:
                await client.deliver(flag)
    assert caught.value.outcome == "unknown"


async def test_what_was_there_before_is_not_taken_for_the_lost_write(the_desk: Desk, clock: Clock) -> None:
    case = Case()
    flag_count = listed(lambda case: ListFlags(issue_id=case.issue.id))
    async with over(the_desk, when=lambda _: False) as calm:
        await case.prepare(calm)
        flag = AddFlag(issue_id=case.issue.id, call_id="call-card", type="lost_card", note="first")
        clock.advance(minutes=1)
        async with over(the_desk, fails(httpx2.ReadError), when=of(flag)) as client:
            assert (await client.deliver(flag)).outcome == "committed"
        assert await flag_count(calm, case) == 2


async def test_what_this_client_made_a_moment_ago_is_not_taken_for_the_lost_write(the_desk: Desk) -> None:
    case = Case()
    async with over(the_desk, passes, fails(httpx2.ReadError), when=lambda request: "flags" in request.url.path
                    and request.method == "POST") as client:  # fmt: skip
        await case.prepare(client)
        flag = AddFlag(issue_id=case.issue.id, call_id="call-card", type="lost_card", note="first")
        assert (await client.deliver(flag)).outcome == "committed"
        assert len((await client.send(ListFlags(issue_id=case.issue.id))).items) == 2


async def test_an_update_that_somebody_overwrote_is_not_repeated(the_desk: Desk) -> None:
    case = Case()
    async with over(the_desk, when=lambda _: False) as other:
        await case.prepare(other)
        update = UpdateIssue(issue_id=case.issue.id, status="done")

        async def overwritten(request: httpx2.Request, inner: Any) -> httpx2.Response:
            await other.send(UpdateIssue(issue_id=case.issue.id, status="in_review"))
            raise httpx2.ReadError("as scripted", request=request)

        async with over(the_desk, overwritten, when=of(update)) as client:
            with pytest.raises(CallError) as caught:
                await client.deliver(update)
    assert caught.value.outcome == "unknown"


async def test_a_removal_that_found_nothing_is_not_done_because_another_request_failed(the_desk: Desk) -> None:
    case = Case()
    async with over(the_desk, fails(httpx2.ConnectError), when=lambda request: request.method == "DELETE") as client:
        await case.prepare(client)
        unknown = RemoveFlag(issue_id=case.issue.id, flag_id=case.link_id)
        with pytest.raises(CallError) as caught:
            await client.deliver(unknown)
    assert (caught.value.code, caught.value.outcome) == ("not_found", "not_committed")


async def test_in_doubt_a_later_refusal_does_not_make_a_write_undone(the_desk: Desk) -> None:
    """Attached, but nobody heard; then no connection any more. Looking settles it."""
    case = Case()
    async with over(the_desk, when=lambda _: False) as calm:
        await case.prepare(calm)
        attach = AttachResource(issue_id=case.issue.id, resource_type="call", resource_id="call-hours")
        refused = fails(httpx2.ConnectError)
        async with over(the_desk, loses_the_answer(), refused, refused, when=of(attach)) as client:
            assert (await client.deliver(attach)).outcome == "committed"


async def test_a_trace_deep_in_a_long_list_is_found(the_desk: Desk) -> None:
    case = Case()
    async with over(the_desk, when=lambda _: False) as calm:
        await case.prepare(calm)
        for n in range(120):
            await calm.send(AddFlag(issue_id=case.issue.id, call_id="call-card", type="noise", note=str(n)))
        flag = AddFlag(issue_id=case.issue.id, call_id="call-card", type="noise", note="the last")
        async with over(the_desk, loses_the_answer(), when=of(flag)) as client:
            receipt = await client.deliver(flag)
    assert (receipt.outcome, receipt.result.note) == ("committed", "the last")
