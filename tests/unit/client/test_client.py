"""How an operation goes over HTTP when the network is bad, the answer strange or the caller gone."""

from __future__ import annotations

import gzip
import json
import traceback
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from conftest import DESK_URL, KEY, endpoints_to, no_sleep
from faults import (
    Gate,
    Scripted,
    Talk,
    answers,
    breaks_off,
    fails,
    hangs,
    hangs_after,
    http_answer,
    loses_the_answer,
    passes,
    says,
    tcp_server,
)
from pydantic import SecretStr
from vendors import failure_of
from virtual_time import VirtualLoop

from calltriage.client.answers import MAX_BODY
from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, Endpoint
from calltriage.client.retries import RetryPolicy
from calltriage.desk.app import Desk
from calltriage.errors import (
    CallError,
    CalltriageError,
    Conflict,
    NotFound,
    Rejected,
    ServerFailure,
    Unauthenticated,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations.attachments import CreateAttachment, RequestUploadLink
from calltriage.operations.base import Api, Operation
from calltriage.operations.calls import GetCall
from calltriage.operations.flags import AddFlag, ListFlags
from calltriage.operations.issues import CreateIssue, DeleteIssue, GetIssue, Issue, ListIssues, MarkIssueViewed
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachCall, AttachResource, ListResources

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"
READ = GetIssue(issue_id=UUID)
WRITE = CreateIssue(title="Card line is silent", severity="high", category="Speech")


def in_process(desk: Desk) -> httpx2.ASGITransport:
    return httpx2.ASGITransport(desk, raise_app_exceptions=False)


def on_socket(url: str, key: str = KEY) -> dict[Api, Endpoint]:
    return {Api.TRIAGE: Endpoint(url, ApiKey(SecretStr(key)), retry=RetryPolicy(sleep=no_sleep))}


async def answered(operation: Operation[Any], talk: Talk, *, deadline_s: float = 10) -> tuple[CallError, list[bytes]]:
    """The error that a server's way to talk ends in, and the requests it got."""
    async with tcp_server(talk) as (url, heads), open_client(on_socket(url), deadline_s=deadline_s) as client:
        return await failure_of(client, operation), heads


async def issues_of(client: Client) -> list[Issue]:
    return (await client.send(ListIssues())).items


# Deadlines


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["virtual clock"])
@pytest.mark.parametrize(("operation", "outcome"), [(READ, None), (WRITE, "unknown")], ids=["a read", "a write"])
async def test_a_hang_ends_at_the_deadline(operation: Operation[Any], outcome: str | None) -> None:
    vendor = Scripted(hangs)
    async with open_client(endpoints_to(vendor), deadline_s=0.2) as client:
        error = await failure_of(client, operation)
    assert (type(error), error.outcome) == (Unreachable, outcome)
    assert [request.method for request in vendor.requests].count(operation.method) == 1


async def test_a_body_that_drips_ends_at_the_deadline() -> None:
    async def drips(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await stream.send(b" ")
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.01)

    error, heads = await answered(READ, drips, deadline_s=2)
    assert type(error) is Unreachable
    assert len(heads) == 1


async def test_headers_that_drip_end_at_the_deadline() -> None:
    async def drips(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send(b"x: y\r\n")
            await anyio.sleep(0.01)

    error, _ = await answered(READ, drips, deadline_s=2)
    assert type(error) is Unreachable


async def test_a_server_that_says_nothing_ends_at_the_deadline() -> None:
    async def silent(stream: SocketStream, _: bytes) -> None:
        await anyio.sleep_forever()

    error, _ = await answered(WRITE, silent, deadline_s=0.3)
    assert (error.code, error.outcome) == ("outcome_unknown", "unknown")


async def test_the_deadline_counts_the_wait_for_a_slot() -> None:
    gate = Gate()
    vendor = Scripted(gate.holds(answers(404), against_cancellation=True))
    errors: list[CallError] = []
    async with open_client(endpoints_to(vendor), deadline_s=0.2) as client, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(failure_of, client, READ)
        await gate.entered.wait()
        errors.append(await failure_of(client, WRITE))
        gate.opened.set()
    assert [(type(error), error.outcome) for error in errors] == [(Unreachable, "not_committed")]
    assert all(request.method == "GET" for request in vendor.requests)


# What became of a write


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout])
async def test_a_write_that_never_connected_was_not_committed(error: type[httpx2.TransportError]) -> None:
    async with open_client(endpoints_to(Scripted(fails(error)))) as client:
        found = await failure_of(client, WRITE)
    assert isinstance(found, Unreachable)
    assert (found.outcome, found.code, found.maybe_applied) == ("not_committed", "unreachable", False)


async def test_a_write_to_a_closed_port_was_not_committed() -> None:
    async with tcp_server(says()) as (url, _):
        pass
    async with open_client(on_socket(url)) as client:
        error = await failure_of(client, WRITE)
    assert (type(error), error.outcome) == (Unreachable, "not_committed")


@pytest.mark.parametrize("error", [httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.WriteError])
async def test_a_write_whose_answer_was_lost_has_an_unknown_outcome_when_looking_fails_too(
    error: type[httpx2.TransportError],
) -> None:
    vendor = Scripted(fails(error))
    async with open_client(endpoints_to(vendor)) as client:
        found = await failure_of(client, WRITE)
    assert isinstance(found, Unreachable)
    assert (found.outcome, found.code, found.maybe_applied) == ("unknown", "outcome_unknown", True)
    assert [request.method for request in vendor.requests].count("POST") == 1


async def test_a_read_has_no_outcome() -> None:
    async with open_client(endpoints_to(Scripted(fails(httpx2.ReadError)))) as client:
        error = await failure_of(client, READ)
    assert (error.outcome, error.code) == (None, "unreachable")
    assert "outcome" not in error.body()


async def test_a_write_answered_with_500_has_an_unknown_outcome_when_looking_fails_too() -> None:
    async with open_client(endpoints_to(Scripted(answers(500)))) as client:
        error = await failure_of(client, WRITE)
    assert (type(error), error.outcome) == (ServerFailure, "unknown")


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429])
async def test_a_refused_write_was_not_committed(status: int) -> None:
    async with open_client(endpoints_to(Scripted(answers(status)))) as client:
        assert (await failure_of(client, WRITE)).outcome == "not_committed"


async def test_a_receipt_says_whether_it_was_done_now_or_before(client: Client) -> None:
    issue = await client.deliver(WRITE)
    attach = AttachResource(issue_id=issue.result.id, resource_type="call", resource_id="call-card")
    first, second = await client.deliver(attach), await client.deliver(attach)
    assert (issue.outcome, first.outcome, second.outcome) == ("committed", "committed", "replayed")
    assert first.result.id == second.result.id
    assert (await client.deliver(ListResources(issue_id=issue.result.id))).outcome is None


async def test_an_existing_link_is_replayed(client: Client) -> None:
    one, two = await client.send(WRITE), await client.send(WRITE)
    link = LinkIssue(issue_id=one.id, related_issue_id=two.id, relation_type="blocks")
    assert [(await client.deliver(link)).outcome for _ in range(2)] == ["committed", "replayed"]


@pytest.mark.parametrize("lost", [loses_the_answer(), hangs_after], ids=["lost", "too late"])
async def test_an_add_whose_answer_does_not_come_is_found_and_done_once(the_desk: Desk, lost: Any) -> None:
    network = Scripted(lost, inner=in_process(the_desk), only=lambda request: request.method == "POST")
    await the_desk.warm_up()
    async with open_client(endpoints_to(network), deadline_s=2) as client:
        receipt = await client.deliver(WRITE)
        issues = await issues_of(client)
    assert receipt.outcome == "committed"
    assert [issue.id for issue in issues] == [receipt.result.id]


async def test_an_attachment_of_evidence_whose_answer_is_lost_is_repeated_and_done_once(the_desk: Desk) -> None:
    network = Scripted(passes, loses_the_answer(), inner=in_process(the_desk))
    async with open_client(endpoints_to(network)) as client:
        issue = await client.send(WRITE)
        receipt = await client.deliver(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
        links = (await client.send(ListResources(issue_id=issue.id))).items
    assert receipt.outcome == "committed"
    assert [link.id for link in links] == [receipt.result.id]


async def test_a_removal_whose_answer_is_lost_is_repeated_and_counts_as_done(the_desk: Desk) -> None:
    network = Scripted(passes, loses_the_answer(), inner=in_process(the_desk))
    async with open_client(endpoints_to(network)) as client:
        issue = await client.send(WRITE)
        receipt = await client.deliver(DeleteIssue(issue_id=issue.id))
        assert await issues_of(client) == []
        assert isinstance(await failure_of(client, DeleteIssue(issue_id=issue.id)), NotFound)
    assert (receipt.result, receipt.outcome) == (None, "committed")


async def test_a_removal_that_was_surely_not_carried_out_before_finds_nothing(the_desk: Desk) -> None:
    network = Scripted(answers(429), fails(httpx2.ConnectError), inner=in_process(the_desk))
    async with open_client(endpoints_to(network)) as client:
        assert isinstance(await failure_of(client, DeleteIssue(issue_id=UUID)), NotFound)
    assert len(network.requests) == 3


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (AttachCall(issue_id=UUID, call_id="c-1"), b""),
        (MarkIssueViewed(issue_id=UUID), b""),
        (DeleteIssue(issue_id=UUID), b""),
        (RequestUploadLink(), b"{}"),
    ],
)
async def test_only_what_has_a_body_in_the_contract_sends_one(operation: Operation[Any], body: bytes) -> None:
    sent = list[bytes]()

    async def takes(request: httpx2.Request, _: Any) -> httpx2.Response:
        if request.url.path != "/oauth/token":
            sent.append(await request.aread())
        return httpx2.Response(200, json={"access_token": "t", "expires_in": 599}, request=request)

    async with open_client(endpoints_to(Scripted(takes))) as client:
        with anyio.fail_after(10), suppress(CallError):
            await client.send(operation)
    assert sent == [body]


async def test_an_add_that_was_not_taken_for_haste_is_done_once(the_desk: Desk) -> None:
    network = Scripted(answers(429), fails(httpx2.ConnectError), inner=in_process(the_desk))
    async with open_client(endpoints_to(network)) as client:
        receipt = await client.deliver(WRITE)
        assert len(await issues_of(client)) == 1
    assert receipt.outcome == "committed"


async def test_a_flag_on_a_call_that_is_not_attached_is_a_verdict(the_desk: Desk) -> None:
    network = Scripted(inner=in_process(the_desk))
    async with open_client(endpoints_to(network)) as client:
        issue = await client.send(WRITE)
        before = len(network.writes)
        error = await failure_of(client, AddFlag(issue_id=issue.id, call_id="call-card", type="x"))
    assert (type(error), error.code, error.outcome) == (Conflict, "call_not_attached", "not_committed")
    assert len(network.writes) == before + 1


# Cancellation


async def test_a_write_that_is_cancelled_inside_is_seen_through_to_its_answer(the_desk: Desk) -> None:
    gate = Gate()
    answers_seen: list[int] = []

    async def watched(request: httpx2.Request, inner: httpx2.AsyncBaseTransport | None) -> httpx2.Response:
        response = await gate.holds()(request, inner)
        answers_seen.append(response.status_code)
        return response

    network = Scripted(watched, inner=in_process(the_desk), only=lambda request: request.method == "POST")
    async with open_client(endpoints_to(network)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, WRITE)
                await gate.entered.wait()
                tasks.cancel_scope.cancel()
                gate.opened.set()
        assert answers_seen == [201]
        assert len(await issues_of(client)) == 1


async def test_a_read_that_is_cancelled_ends_at_once() -> None:
    gate = Gate()
    vendor = Scripted(gate.holds(answers(404)))
    async with open_client(endpoints_to(vendor)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, READ)
                await gate.entered.wait()
                tasks.cancel_scope.cancel()
        assert gate.inside == 0


async def test_a_write_cancelled_while_it_waits_for_a_slot_leaves_nothing_and_frees_the_slot(the_desk: Desk) -> None:
    gate = Gate()
    network = Scripted(gate.holds(), gate.holds(), gate.holds(), gate.holds(), inner=in_process(the_desk))
    waiting = anyio.CancelScope()

    async def cancelled_write(client: Client) -> None:
        with waiting:
            await client.send(WRITE)

    async with open_client(endpoints_to(network)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as readers:
                for _ in range(4):
                    readers.start_soon(client.send, ListIssues())
                while gate.inside < 4:
                    await anyio.lowlevel.checkpoint()
                async with anyio.create_task_group() as writers:
                    writers.start_soon(cancelled_write, client)
                    await anyio.wait_all_tasks_blocked()
                    waiting.cancel()
                gate.opened.set()
            assert waiting.cancelled_caught
            assert await issues_of(client) == []
            async with anyio.create_task_group() as after:
                for _ in range(4):
                    after.start_soon(client.send, WRITE)
            assert len(await issues_of(client)) == 4
    assert gate.most_inside == 4


async def test_a_cancelled_write_is_not_repeated(the_desk: Desk) -> None:
    gate = Gate()
    network = Scripted(passes, gate.holds(loses_the_answer()), inner=in_process(the_desk),
                       only=lambda request: request.method == "POST")  # fmt: skip
    endpoint = Endpoint(DESK_URL, ApiKey(SecretStr(KEY)), network, retry=RetryPolicy(first_s=5, cap_s=5))
    async with open_client({Api.TRIAGE: endpoint}) as client:
        issue = await client.send(WRITE)
        attach = AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, attach)
                await gate.entered.wait()
                tasks.cancel_scope.cancel()
                gate.opened.set()
        assert len(network.requests) == 2
        assert (await client.deliver(attach)).outcome == "replayed"


# How many at once


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_no_more_requests_are_in_flight_than_allowed(in_flight: int) -> None:
    gate = Gate()
    vendor = Scripted(gate.holds(answers(404)))
    retry = RetryPolicy(sleep=no_sleep)
    endpoint = Endpoint(DESK_URL, ApiKey(SecretStr(KEY)), vendor, in_flight=in_flight, retry=retry)
    async with open_client({Api.TRIAGE: endpoint}) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(12):
                    tasks.start_soon(failure_of, client, READ)
                await anyio.wait_all_tasks_blocked()
                assert gate.inside == in_flight
                gate.opened.set()
    assert gate.most_inside == in_flight
    assert len(vendor.requests) == 12


async def test_slots_are_free_again_after_every_kind_of_failure() -> None:
    failures = [
        fails(httpx2.ConnectError),
        fails(httpx2.ReadError),
        answers(500),
        answers(200, b"<html>"),
        answers(404),
    ]
    vendor = Scripted(*[failure for failure in failures for _ in range(5)], answers(404))
    async with open_client(endpoints_to(vendor)) as client:
        for _ in range(25):
            await failure_of(client, READ)
        assert type(await failure_of(client, READ)) is NotFound


# Answers that break the contract


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "html": b"<html><body>Sign in</body></html>",
    "cut JSON": b'{"data": {"id": "x"',
    "no envelope": b'{"id": "x"}',
    "null data": b'{"data": null, "errors": null}',
    "a list": b"[]",
    "text": b'"x"',
    "a number": b"5",
    "no identity": b'{"data": {"title": "x"}, "errors": null}',
    "an identity of another type": b'{"data": {"id": ["x"]}, "errors": null}',
    "NaN": b'{"data": {"id": NaN}}',
    "bad UTF-8": b'{"data": {"id": "\xff"}}',
    "deep nesting": b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep nesting and a lone surrogate": b'{"data": ' + b"[" * 600 + b'"\\ud800"' + b"]" * 600 + b"}",
    "crowded": b'{"data": [' + b"[]," * 2_000_000 + b"[]]}",
    "a number of 5000 digits": b'{"data": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_answer_to_a_read_is_that(name: str) -> None:
    vendor = Scripted(answers(200, UNREADABLE[name]))
    async with open_client(endpoints_to(vendor)) as client:
        error = await failure_of(client, READ)
    assert (type(error), error.status, error.outcome) == (UnreadableAnswer, 200, None)


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("status", [201, 200, 202])
async def test_an_unreadable_success_of_a_write_is_committed_all_the_same(name: str, status: int) -> None:
    vendor = Scripted(answers(status, UNREADABLE[name]))
    async with open_client(endpoints_to(vendor)) as client:
        error = await failure_of(client, WRITE)
    # A body that holds nothing proves nothing: the contract has one there, and looking does not settle it here.
    outcome = "unknown" if name in {"nothing", "null data", "a list"} else "committed"
    assert isinstance(error, UnreadableAnswer)
    assert (error.code, error.status, error.outcome) == ("unreadable_answer", status, outcome)
    assert len(vendor.writes) == 1


async def test_a_success_without_content_is_no_result() -> None:
    async with open_client(endpoints_to(Scripted(answers(204)))) as client:
        receipt = await client.deliver(DeleteIssue(issue_id=UUID))
    assert (receipt.result, receipt.outcome) == (None, "committed")


async def test_an_unreadable_repeat_of_a_write_is_replayed_all_the_same() -> None:
    vendor = Scripted(answers(200, b"<html>"))
    async with open_client(endpoints_to(vendor)) as client:
        error = await failure_of(client, AttachResource(issue_id=UUID, resource_type="call", resource_id="c"))
    assert (type(error), error.outcome) == (UnreadableAnswer, "replayed")


async def test_a_write_whose_success_breaks_off_is_committed() -> None:
    vendor = Scripted(breaks_off(201, b'{"data": '))
    async with open_client(endpoints_to(vendor)) as client:
        error = await failure_of(client, WRITE)
    assert (type(error), error.outcome) == (UnreadableAnswer, "committed")
    assert len(vendor.writes) == 1


async def test_a_write_whose_success_is_cut_short_on_the_wire_is_committed() -> None:
    error, heads = await answered(WRITE, says(http_answer("201 Created", b'{"data": {', length=5000)))
    assert (type(error), error.outcome) == (UnreadableAnswer, "committed")
    assert sum(head.startswith(b"POST") for head in heads) == 1


async def test_a_read_that_is_cut_short_on_the_wire_is_asked_again() -> None:
    error, heads = await answered(READ, says(http_answer("200 OK", b'{"data": {', length=5000)))
    assert (type(error), error.outcome) == (Unreachable, None)
    assert len(heads) == RetryPolicy().tries


async def test_a_read_whose_second_answer_is_whole_succeeds(the_desk: Desk) -> None:
    vendor = Scripted(breaks_off(200, b'{"data": '), inner=in_process(the_desk))
    async with open_client(endpoints_to(vendor)) as client:
        assert await issues_of(client) == []
    assert len(vendor.requests) == 2


async def test_a_write_whose_success_drips_past_the_deadline_is_committed() -> None:
    async def drips(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 201 Created\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await stream.send(b" ")
            await anyio.sleep(0.01)

    error, heads = await answered(WRITE, drips, deadline_s=2)
    assert (type(error), error.outcome) == (UnreadableAnswer, "committed")
    assert sum(head.startswith(b"POST") for head in heads) == 1


@pytest.mark.parametrize(
    ("operation", "status", "said", "field"),
    [
        (LinkIssue(issue_id=UUID, related_issue_id=UUID[:-1] + "1", relation_type="blocks"), 404, "Issue not found", None),
        (READ, 404, "Issue not found", "issue_id"),
        (CreateAttachment(name="n", request_id="r"), 409, None, "name"),
    ],
)  # fmt: skip
async def test_an_error_names_the_argument_at_fault_where_that_is_known(
    operation: Operation[Any], status: int, said: str | None, field: str | None
) -> None:
    triage = {"data": None, "errors": [{"error": "not_found", "message": said}]}
    body = triage if said else {"code": "2320004", "message": "Attachments name exist"}
    token = answers(200, {"access_token": "t", "expires_in": 599})
    vendor = Scripted(answers(status, body), only=lambda request: request.url.path != "/oauth/token", inner=None)
    async with open_client(endpoints_to(Scripted(token, only=_is_token, inner=vendor))) as client:
        assert (await failure_of(client, operation)).field == field


def _is_token(request: httpx2.Request) -> bool:
    return request.url.path == "/oauth/token"


async def test_an_answer_past_the_cap_is_not_read_to_its_end() -> None:
    body = b'{"data": "' + b"x" * (10 * 2**20) + b'"}'
    error, _ = await answered(READ, says(http_answer("200 OK", body)))
    assert len(body) > MAX_BODY
    assert type(error) is UnreadableAnswer


async def test_a_compressed_bomb_is_stopped_at_the_cap() -> None:
    bomb = gzip.compress(b" " * (64 * 2**20))
    error, heads = await answered(READ, says(http_answer("200 OK", bomb, ["content-encoding: gzip"])))
    assert type(error) is UnreadableAnswer
    assert b"accept-encoding: identity" in heads[0].lower()


async def test_a_flood_of_headers_is_an_unreachable_api() -> None:
    async def floods(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n" + b"x-flood: y\r\n" * 200_000)

    error, _ = await answered(READ, floods)
    assert type(error) is Unreachable


@pytest.mark.parametrize("talk", [b"", b"\x00" * 100, b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 OK\r\n\r\n"])
async def test_a_server_that_does_not_speak_http_is_an_unreachable_api(talk: bytes) -> None:
    error, heads = await answered(WRITE, says(talk))
    assert (type(error), error.outcome) == (Unreachable, "unknown")
    assert len([head for head in heads if head.startswith(b"POST")]) == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with tcp_server(says(http_answer("200 OK", b"{}"))) as (elsewhere, lured):
        error, heads = await answered(READ, says(http_answer(status, b"", [f"location: {elsewhere}/"])))
    assert type(error) is UnreadableAnswer
    assert (len(heads), lured) == (1, [])


async def test_a_key_given_twice_does_not_disturb(the_desk: Desk) -> None:
    body = b'{"data": {"items": [1], "items": [], "next_cursor": "a", "next_cursor": null}, "data2": 1, "errors": null}'
    async with open_client(endpoints_to(Scripted(answers(200, body)))) as client:
        assert (await client.send(ListIssues())).items == []


async def test_a_lone_surrogate_in_an_answer_becomes_visible() -> None:
    body = b'{"call_id": "c", "summary": "a\\ud800b", "transcripts": [{"text": "\\udfff", "x": {"\\ud801": 1}}]}'
    async with open_client(endpoints_to(Scripted(answers(200, body)))) as client:
        call = await client.send(GetCall(call_id="c"))
    assert call.summary == "a\\ud800b"
    assert call.transcripts is not None
    assert call.transcripts[0].text == "\\udfff"
    call.model_dump_json().encode()


@pytest.mark.parametrize("length", [b"1e999", b"NaN"])
async def test_an_answer_with_a_number_that_json_cannot_say_is_unreadable(length: bytes) -> None:
    body = b'{"call_id": "c", "call_length": ' + length + b"}"
    async with open_client(endpoints_to(Scripted(answers(200, body)))) as client:
        assert type(await failure_of(client, GetCall(call_id="c"))) is UnreadableAnswer


@pytest.mark.parametrize("length", [b'"Infinity"', b'"nan"', b"[]", b'"long"'])
async def test_a_length_that_is_no_number_is_left_out_and_named(length: bytes) -> None:
    body = b'{"call_id": "c", "call_length": ' + length + b"}"
    async with open_client(endpoints_to(Scripted(answers(200, body)))) as client:
        call = await client.send(GetCall(call_id="c"))
    assert (call.call_length, call.unreadable_fields) == (None, ["call_length"])


async def test_fields_that_a_vendor_added_do_not_disturb(the_desk: Desk) -> None:
    body = {"call_id": "c", "new": {"deep": [1]}, "transcripts": [{"text": "hi", "mood": "calm"}]}
    async with open_client(endpoints_to(Scripted(answers(200, body)))) as client:
        call = await client.send(GetCall(call_id="c"))
    assert call.model_dump(exclude_none=True)["transcripts"] == [{"text": "hi", "mood": "calm"}]


# Arguments that cannot be sent


@pytest.mark.parametrize("value", ["a\ud800b", float("nan"), float("inf")])
async def test_a_value_that_json_cannot_say_is_a_rejected_call_or_no_call_at_all(value: Any) -> None:
    vendor = Scripted(answers(200, {}))
    async with open_client(endpoints_to(vendor)) as client:
        with pytest.raises((CallError, ValueError)) as caught:
            await client.send(CreateAttachment(name="n", request_id="r", metadata={"k": value}))
    assert type(caught.value).__name__ in {"ValidationError", "Rejected"}
    assert [request for request in vendor.requests if "token" not in str(request.url)] == []


# The environment and secrets


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with tcp_server(says()) as (dead, _):
        pass
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, dead)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    error, heads = await answered(READ, says(http_answer("404 Not Found", b"")))
    assert type(error) is NotFound
    assert len(heads) == 1


def whole_story(error: BaseException) -> str:
    """Everything that a log with tracebacks would show of an error."""
    parts = [repr(error), *traceback.format_exception(error)]
    if isinstance(error, CallError):
        parts.append(json.dumps(error.body()))
    return "".join(parts)


@pytest.mark.parametrize(
    "step",
    [fails(httpx2.ConnectError), fails(httpx2.ReadError), answers(401), answers(403), answers(500), answers(200, b"<"),
     answers(302), breaks_off(200, b"{")],
)  # fmt: skip
@pytest.mark.parametrize("operation", [READ, WRITE, RequestUploadLink()], ids=["read", "write", "attachments"])
async def test_no_secret_is_in_an_error(step: Any, operation: Operation[Any]) -> None:
    async with open_client(endpoints_to(Scripted(step))) as client:
        error = await failure_of(client, operation)
    assert KEY not in whole_story(error)


@pytest.mark.parametrize("key", ["canary-key\n", "canary-key\r\nx: y", "canary-\x00key", "canary-kéy", " canary-key"])
async def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    async with tcp_server(says(http_answer("401 Unauthorized", b""))) as (url, heads):
        with anyio.fail_after(10), pytest.raises(CalltriageError) as caught:
            async with open_client(on_socket(url, key)) as client:
                await client.send(WRITE)
    assert "canary" not in whole_story(caught.value)
    assert heads == []
    if isinstance(caught.value, CallError):
        assert caught.value.outcome == "not_committed"


async def test_a_title_is_not_in_the_error_about_it() -> None:
    vendor = Scripted(answers(400, {"errors": [{"error": "bad_request", "message": "title: canary-title is bad"}]}))
    async with open_client(endpoints_to(vendor)) as client:
        error = await failure_of(client, CreateIssue(title="canary-title", severity="low", category="Bug"))
    assert (type(error), error.field) == (Rejected, "title")
    assert "canary" not in json.dumps(error.body())


async def test_the_key_goes_in_the_authorization_header_alone() -> None:
    vendor = Scripted(answers(404))
    async with open_client(endpoints_to(vendor)) as client:
        await failure_of(client, READ)
        await failure_of(client, WRITE)
    for request in vendor.requests:
        assert request.headers["authorization"] == KEY
        assert KEY not in str(request.url) + request.content.decode()


# The whole way


async def test_a_wrong_key_is_the_operator_s(the_desk: Desk) -> None:
    endpoint = Endpoint(DESK_URL, ApiKey(SecretStr("wrong")), in_process(the_desk))
    async with open_client({Api.TRIAGE: endpoint}) as client:
        assert type(await failure_of(client, READ)) is Unauthenticated


async def test_pages_follow_one_another_to_the_end(client: Client) -> None:
    issue = await client.send(WRITE)
    await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
    for number in range(5):
        await client.send(AddFlag(issue_id=issue.id, call_id="call-card", type=f"kind {number}"))
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = await client.send(ListFlags(issue_id=issue.id, limit=2, cursor=cursor))
        found += [flag.type for flag in page.items]
        cursor = page.next_cursor
    assert found == [f"kind_{number}" for number in range(5)]
    assert cursor is None
