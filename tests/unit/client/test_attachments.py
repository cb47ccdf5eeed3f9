"""Whole files over a bad network: stored once whatever gets lost, downloaded whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from faults import Inner, Scripted, Step, answers, breaks_off, fails, loses_the_answer, passes
from pydantic import JsonValue
from virtual_time import VirtualLoop

from calltriage.client.attachments import Content, Uploaded, create, download, upload
from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.errors import (
    CallError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    ServerFailure,
    Unauthenticated,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations.attachments import Attachment, CreateAttachment, ListAttachments

LIMIT = 10 * 2**20
LOST = loses_the_answer()


def content(data: bytes = b"RIFF", media_type: str = "audio/wav") -> Content:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return Content(media_type, len(data), chunks)


def is_create(request: httpx2.Request) -> bool:
    return request.method == "POST" and request.url.path == "/attachments/2023-03"


def is_list(request: httpx2.Request) -> bool:
    return request.method == "GET" and request.url.path == "/attachments/2023-03"


def is_bytes(request: httpx2.Request) -> bool:
    return request.url.path.startswith("/blobs/")


@asynccontextmanager
async def client_on(
    desk: Desk, *script: Step, only: Callable[[httpx2.Request], bool] = is_create
) -> AsyncGenerator[tuple[Client, Scripted]]:
    network = Scripted(*script, inner=httpx2.ASGITransport(desk, raise_app_exceptions=False), only=only)
    async with open_client(endpoints_to(network)) as client:
        with anyio.fail_after(30):
            yield client, network


async def names(client: Client) -> list[str]:
    return [item.name for item in (await client.send(ListAttachments())).items]


async def stored(client: Client, name: str, data: bytes = b"RIFF") -> Attachment:
    return (await create(client, name, await upload(client, content(data)))).result


# Creating once


async def test_a_file_is_stored_with_its_marks(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, network):
        sent: list[int] = []

        async def hear(count: int) -> None:
            sent.append(count)

        uploaded = await upload(client, content(b"x" * 2500), hear)
        receipt = await create(client, "a.wav", uploaded, {"flow": 7})
    assert sent == [1000, 2000, 2500]
    assert receipt.outcome == "committed"
    labels = receipt.result.metadata or {}
    assert (labels["sha256"], labels["flow"], len(labels["client_ref"])) == (
        hashlib.sha256(b"x" * 2500).hexdigest(),
        7,
        32,
    )
    assert len(network.requests) == 1


async def test_a_caller_s_own_mark_stands(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, _):
        receipt = await create(client, "a", await upload(client, content()), {"client_ref": "mine"})
    assert (receipt.result.metadata or {})["client_ref"] == "mine"


def arrives_then(step: Step) -> Step:
    """Carried out, and answered by the step."""

    async def both(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await passes(request, inner)
        return await step(request, None)

    return both


@pytest.mark.parametrize(
    ("step", "requests"),
    [
        (LOST, 1), (arrives_then(breaks_off(200, b'{"id": "')), 1), (arrives_then(answers(200, b"<html>")), 1),
        (arrives_then(answers(502, b"<html>")), 1), (answers(502, b"<html>"), 2), (fails(httpx2.ReadError), 2),
    ],
)  # fmt: skip
async def test_a_create_whose_answer_was_lost_is_found_or_sent_once_more(
    the_desk: Desk, step: Step, requests: int
) -> None:
    async with client_on(the_desk, step) as (client, network):
        receipt = await create(client, "a.wav", await upload(client, content()))
        assert await names(client) == ["a.wav"]
    assert receipt.outcome == "committed"
    assert (receipt.result.name, receipt.result.size) == ("a.wav", 4)
    assert len(network.requests) == requests


async def test_a_create_that_is_said_to_be_done_is_not_sent_again(the_desk: Desk) -> None:
    async with client_on(the_desk, answers(200, b"<html>")) as (client, network):
        with pytest.raises(UnreadableAnswer) as caught:
            await create(client, "a.wav", await upload(client, content()))
    assert caught.value.outcome == "committed"
    assert len(network.requests) == 1


async def test_a_create_that_is_lost_twice_is_still_found(the_desk: Desk) -> None:
    async with client_on(the_desk, answers(503), LOST) as (client, network):
        receipt = await create(client, "a.wav", await upload(client, content()))
        assert await names(client) == ["a.wav"]
    assert receipt.outcome == "committed"
    assert len(network.requests) == 2


async def test_a_create_that_meets_its_own_late_twin_is_done(the_desk: Desk) -> None:
    """The first request is carried out only after the look, so that the second one finds the name taken."""
    late: list[httpx2.Request] = []

    async def delayed(request: httpx2.Request, _: Inner) -> httpx2.Response:
        late.append(request)
        raise httpx2.ReadError("as scripted", request=request)

    async def second(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await passes(late[0], inner)
        return await passes(request, inner)

    async with client_on(the_desk, delayed, second) as (client, _):
        receipt = await create(client, "a.wav", await upload(client, content()))
        assert receipt.outcome == "committed"
        assert await names(client) == ["a.wav"]


async def test_when_even_looking_does_not_tell_the_outcome_is_unknown(the_desk: Desk) -> None:
    async def no_list(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        return await (answers(500)(request, inner) if is_list(request) else LOST(request, inner))

    async with client_on(the_desk, *[no_list] * 9, only=lambda request: is_create(request) or is_list(request)) as (
        client,
        network,
    ):
        uploaded = await upload(client, content())
        with pytest.raises(CallError) as caught:
            await create(client, "a.wav", uploaded)
    assert caught.value.outcome == "unknown"
    assert caught.value.details["request_id_of_upload"] == uploaded.request_id
    assert len([request for request in network.requests if is_create(request)]) == 1


async def test_another_s_file_of_the_name_is_not_taken_for_ours(the_desk: Desk) -> None:
    """Same size and type, other bytes: both carry a hash, so size and type say nothing."""

    async def overtaken(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        raise httpx2.ReadError("as scripted", request=request)

    async with client_on(the_desk) as (other, _):
        first = await stored(other, "a.wav", b"RIFX")
    async with client_on(the_desk, overtaken) as (client, _):
        uploaded = await upload(client, content(b"RIFF"))
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", uploaded)
        assert caught.value.details["attachment_id"] == first.id
        assert (await create(client, "b.wav", uploaded)).outcome == "committed", "the upload stays usable"


async def test_from_an_api_that_keeps_no_labels_size_and_type_tell(the_desk: Desk) -> None:
    async def bare(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        answer = await passes(request, inner)
        body = json.loads(await answer.aread())
        for item in body["_embedded"]["list"]:
            del item["metadata"]
        return httpx2.Response(200, json=body)

    async def either(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        return await (bare if is_list(request) else LOST)(request, inner)

    async with client_on(the_desk, either, either, only=lambda request: is_create(request) or is_list(request)) as (
        client,
        _,
    ):
        assert (await create(client, "a.wav", await upload(client, content()))).outcome == "committed"


async def test_more_labels_than_there_is_room_for_are_refused_before_anything_is_sent(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, network):
        uploaded = await upload(client, content())
        with pytest.raises(Rejected, match="At most 48 labels") as caught:
            await create(client, "a", uploaded, {f"k{n}": n for n in range(49)})
        assert (caught.value.field, network.requests) == ("metadata", [])
        assert (await create(client, "a", uploaded, {f"k{n}": n for n in range(48)})).outcome == "committed"


# Names that are taken


async def test_an_equal_file_under_the_same_name_is_found_there(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, _):
        first = await stored(client, "a.wav")
        receipt = await create(client, "a.wav", await upload(client, content()))
        assert (receipt.outcome, receipt.result.id) == ("replayed", first.id)
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", await upload(client, content(b"RIFX")))
        assert caught.value.details == {"attachment_id": first.id}


@pytest.mark.parametrize("labels", [{}, {"sha256": "ours"}, {"sha256": "f" * 64}])
async def test_equal_is_what_has_the_same_bytes_whatever_its_label_says(the_desk: Desk, labels: dict[str, str]) -> None:
    """Somebody else's tools write no label, and anybody may write a wrong one."""
    ours = hashlib.sha256(b"RIFF").hexdigest()
    labels = {name: ours if value == "ours" else value for name, value in labels.items()}
    metadata = dict[str, JsonValue](labels)
    async with client_on(the_desk) as (client, _):

        async def made_elsewhere(name: str, data: bytes) -> None:
            uploaded = await upload(client, content(data))
            await client.send(CreateAttachment(name=name, request_id=uploaded.request_id, metadata=metadata))

        await made_elsewhere("equal.wav", b"RIFF")
        await made_elsewhere("other.wav", b"RIFX")
        equal = await upload(client, content(b"RIFF"))
        if labels.get("sha256") == "f" * 64:  # not worth a look
            with pytest.raises(Conflict):
                await create(client, "equal.wav", equal)
        else:
            assert (await create(client, "equal.wav", equal)).outcome == "replayed"
        for name, limit in (("other.wav", LIMIT), ("equal.wav", 3)):
            with pytest.raises(Conflict):
                await create(client, name, equal, limit=limit)


@pytest.mark.parametrize("strange", ["../x", "a" * 100])
async def test_a_twin_under_an_id_that_is_never_sent_is_a_conflict(the_desk: Desk, strange: str) -> None:
    async def renamed(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        body = json.loads(await (await passes(request, inner)).aread())
        for item in body["_embedded"]["list"]:
            item["id"] = strange
        return httpx2.Response(200, json=body)

    async with client_on(the_desk, renamed, only=is_list) as (client, _):
        await stored(client, "a.wav")
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", await upload(client, content()))
    assert caught.value.code == "name_conflict"


async def test_a_file_that_cannot_be_read_now_may_be_equal_and_the_conflict_says_so(the_desk: Desk) -> None:
    is_read = ("GET", "/blobs/")
    async with client_on(the_desk, only=lambda r: (r.method, r.url.path[:7]) == is_read) as (client, network):
        await stored(client, "a.wav")
        uploaded = await upload(client, content())
        network.script(*[answers(503)] * 9)
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", uploaded)
        assert (caught.value.retryable, caught.value.details["compared"]) == (True, False)
        network.script()
        assert (await create(client, "a.wav", uploaded)).outcome == "replayed"


async def test_a_taken_name_is_a_conflict_even_where_lists_are_not_allowed(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, _):
        await stored(client, "a.wav")
    async with client_on(the_desk, answers(403), only=is_list) as (client, _):
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", await upload(client, content()))
    assert (caught.value.code, caught.value.details) == ("name_conflict", {})


async def test_the_taken_name_is_looked_for_on_every_page_and_links_are_not_followed(the_desk: Desk) -> None:
    """An API that does not narrow by name, with the vendor's foreign links without the version."""
    async with client_on(the_desk) as (client, _):
        wanted = await stored(client, "a.wav")
        for n in range(3):
            await stored(client, f"{n}.wav")

    async def unnarrowed(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        query = {**request.url.params, "per_page": "1"}
        query.pop("name", None)
        request.url = request.url.copy_with(params=query)
        answer = await passes(request, inner)
        body = json.loads(
            (await answer.aread()).replace(
                b"http://desk.test/attachments/2023-03", b"https://xxxx.talkdesk.com/attachments"
            )
        )
        return httpx2.Response(200, json=body)

    async with client_on(the_desk, *[unnarrowed] * 9, only=is_list) as (client, network):
        receipt = await create(client, "a.wav", await upload(client, content()))
    assert (receipt.outcome, receipt.result.id) == ("replayed", wanted.id)
    assert {request.url.host for request in network.requests} == {"desk.test"}
    assert len(network.requests) == 4


@pytest.mark.parametrize("labels", [{}, {"client_ref": "batch-7"}])
async def test_a_taken_name_is_ours_only_by_the_mark_drawn_for_this_call(
    the_desk: Desk, labels: dict[str, str]
) -> None:
    """Size and type are equal, and so is the mark that the caller set: neither says who made it."""

    async def unhashed(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        answer = await passes(request, inner)
        body = json.loads(await answer.aread())
        for item in body["_embedded"]["list"]:
            item["metadata"] = labels
        return httpx2.Response(200, json=body)

    async with client_on(the_desk, unhashed, only=is_list) as (client, _):
        first = await stored(client, "a.wav", b"RIFX")
        uploaded = await upload(client, content(b"RIFF"))
        with pytest.raises(Conflict) as caught:
            await create(client, "a.wav", uploaded, labels)
    assert caught.value.details["attachment_id"] == first.id


# Uploading


async def test_a_link_that_ended_is_replaced_once(the_desk: Desk) -> None:
    async with client_on(the_desk, answers(403), only=is_bytes) as (client, network):
        assert (await create(client, "a", await upload(client, content()))).result.size == 4
    assert len({str(request.url) for request in network.requests}) == 2
    async with client_on(the_desk, answers(403), answers(403), only=is_bytes) as (client, _):
        with pytest.raises(Forbidden) as caught:
            await upload(client, content())
    assert caught.value.code == "link_refused"


async def test_a_repeated_upload_hashes_what_went_out_last(the_desk: Desk) -> None:
    async with client_on(the_desk, answers(503), fails(httpx2.WriteError), only=is_bytes) as (client, _):
        uploaded = await upload(client, content(b"x" * 5000))
    assert uploaded.sha256 == hashlib.sha256(b"x" * 5000).hexdigest()


async def test_a_revoked_token_costs_one_new_one(the_desk: Desk) -> None:
    async with client_on(the_desk, answers(401)) as (client, network):
        assert (await create(client, "a", await upload(client, content()))).outcome == "committed"
    assert len(network.requests) == 2
    async with client_on(the_desk, answers(401), answers(401)) as (client, _):
        with pytest.raises(Unauthenticated):
            await create(client, "b", Uploaded("0" * 32))


# Downloading


async def fetched(client: Client, attachment_id: str, limit: int = LIMIT) -> bytes:
    async with aclosing(download(client, attachment_id, limit=limit)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_what_was_stored_is_downloaded(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, _):
        for data in (b"", b"x", b"x" * 3_000_000):
            made = await stored(client, f"{len(data)}", data)
            assert await fetched(client, made.id) == data
        with pytest.raises(NotFound):
            await fetched(client, "unknown")


def cuts_after(size: int) -> Step:
    """The inner answer, whose connection breaks after so many bytes of its body."""

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        answer = await passes(request, inner)
        data = (await answer.aread())[:size]
        cut = await breaks_off(answer.status_code, data)(request, inner)
        cut.headers = answer.headers
        return cut

    return step


async def test_a_download_that_broke_off_goes_on_where_it_was(the_desk: Desk) -> None:
    data = bytes(range(256)) * 100
    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", data)
        network.script(cuts_after(1000), fails(httpx2.ConnectError), answers(503), cuts_after(500))
        assert await fetched(client, made.id) == data
    ranges = [request.headers.get("range") for request in network.requests if request.method == "GET"]
    assert ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=1000-", "bytes=1500-"]
    assert {request.headers.get("if-range") for request in network.requests if request.method == "GET"} == {
        None, f'"{hashlib.md5(data).hexdigest()}"',
    }  # fmt: skip


async def test_a_download_that_breaks_off_for_ever_ends(the_desk: Desk) -> None:
    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", b"x" * 5000)
        network.script(*[cuts_after(10)] * 20)
        with pytest.raises(Unreachable):
            await fetched(client, made.id)


async def test_a_file_that_is_another_one_when_it_goes_on_is_not_mixed(the_desk: Desk) -> None:
    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", b"x" * 5000)
        network.script(cuts_after(10), answers(200, b"y" * 5000))
        with pytest.raises(UnreadableAnswer):
            await fetched(client, made.id)


async def test_a_download_link_that_ended_is_replaced_once(the_desk: Desk, clock: Clock) -> None:
    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", b"hello")

        async def ended(request: httpx2.Request, inner: Inner) -> httpx2.Response:
            clock.advance(seconds=601)
            return await passes(request, inner)

        network.script(ended)
        assert await fetched(client, made.id) == b"hello"
        network.script(answers(403), answers(403))
        with pytest.raises(Forbidden):
            await fetched(client, made.id)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_download_stops_at_the_limit(the_desk: Desk, announced: bool) -> None:
    async def endless(request: httpx2.Request, _: Inner) -> httpx2.Response:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000

        headers = {"content-length": "99999999"} if announced else {}
        return httpx2.Response(200, headers=headers, content=pieces(), request=request)

    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", b"hello")
        network.script(endless)
        with pytest.raises(Rejected) as caught:
            await fetched(client, made.id, limit=5000)
    assert caught.value.code == "file_too_large"


async def test_bytes_that_are_missing_at_the_store_are_its_failure(the_desk: Desk) -> None:
    async with client_on(the_desk, only=is_bytes) as (client, network):
        made = await stored(client, "a", b"hello")
        network.script(*[answers(503)] * 9)
        with pytest.raises((ServerFailure, Unreachable)):
            await fetched(client, made.id)


@pytest.mark.parametrize(
    "answer",
    [answers(200, b"cut"), answers(206, b"only"), answers(206, b"only", {"content-range": "bytes 5-8/9"})],
    ids=["fewer bytes than the record says", "a part that nobody asked for", "another part"],
)
async def test_bytes_that_are_not_the_whole_file_of_the_record_are_not_taken_for_it(
    the_desk: Desk, answer: Step
) -> None:
    async with client_on(the_desk) as (client, _):
        made = await stored(client, "a", b"four")
    async with client_on(the_desk, answer, only=is_bytes) as (client, _):
        with pytest.raises(UnreadableAnswer):
            async with aclosing(download(client, made.id, limit=LIMIT, size=4)) as pieces:
                assert b"".join([piece async for piece in pieces]) == b"", "nothing more comes"


async def test_a_store_cannot_make_a_download_wait_for_ever(the_desk: Desk) -> None:
    async with client_on(the_desk) as (client, _):
        made = await stored(client, "a", b"four")
    async with client_on(the_desk, answers(503, b"", {"retry-after": "999999"}), only=is_bytes) as (client, network):
        with pytest.raises(ServerFailure):
            await fetched(client, made.id)
    assert len(network.requests) == 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["virtual clock"])
async def test_a_download_that_trickles_ends_but_a_slow_reader_may_take_its_time(the_desk: Desk) -> None:
    async def trickles(request: httpx2.Request, _: Inner) -> httpx2.Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(1000):
                await anyio.sleep(29)
                yield b"x"

        return httpx2.Response(200, headers={"content-length": "1000"}, content=pieces(), request=request)

    network = Scripted(inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False), only=is_bytes)
    async with open_client(endpoints_to(network)) as client:
        made = await stored(client, "a", b"x" * 1000)
        began = anyio.current_time()
        network.script(*[trickles] * 9)
        with pytest.raises(Unreachable):
            await fetched(client, made.id)
        assert anyio.current_time() - began < 3 * client.deadline_s
        network.script()
        got = 0
        async with aclosing(download(client, made.id, limit=LIMIT)) as coming:
            async for piece in coming:
                await anyio.sleep(1000)
                got += len(piece)
        assert got == 1000


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["virtual clock"])
@pytest.mark.parametrize("status", [None, 503])
async def test_a_download_whose_head_or_refusal_never_comes_ends(the_desk: Desk, status: int | None) -> None:
    async def slow(request: httpx2.Request, _: Inner) -> httpx2.Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(1000):
                await anyio.sleep(29)
                yield b"x"

        if status is None:  # as headers that come one by one
            await anyio.sleep(29_000)
        return httpx2.Response(status or 200, headers={"content-length": "1000"}, content=pieces(), request=request)

    network = Scripted(inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False), only=is_bytes)
    async with open_client(endpoints_to(network)) as client:
        made = await stored(client, "a", b"x" * 1000)
        network.script(*[slow] * 9)
        began = anyio.current_time()
        with pytest.raises(CallError):
            await fetched(client, made.id)
        assert anyio.current_time() - began < 2 * client.deadline_s
