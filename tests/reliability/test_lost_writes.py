"""A write whose answer is lost, where an API's dates cannot be trusted and processes are killed again and again: written
once. On clocks that do not wait.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from conftest import Clock, endpoints_to
from faults import Inner, Killed, Mortal, Scripted, Step, answers, fails, killed, loses_the_answer, passes, then
from virtual_time import VirtualLoop

from calltriage.client.attachments import Content, create, upload
from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.errors import CallError
from calltriage.journal.journal import Journal
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.attachments import CreateAttachment, ListAttachments
from calltriage.operations.base import Effect, Operation
from calltriage.operations.categories import CreateCategory, ListCategories
from calltriage.operations.flags import AddFlag, ListFlags
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues, UpdateIssue
from calltriage.operations.norm import CreateAgentSession, PromptNorm
from calltriage.operations.relations import LinkIssue, ListRelations
from calltriage.operations.resource_links import AttachCall, AttachResource, ListResources


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Ground:
    """Two issues, a call on the first and a session on the second, to write on."""

    one: str
    two: str
    session: str

    async def prepare(self, client: Client) -> None:
        new = {"severity": "low", "category": "Bug"}
        self.one = (await client.send(CreateIssue.model_validate(new | {"title": "One"}))).id
        self.two = (await client.send(CreateIssue.model_validate(new | {"title": "Two"}))).id
        await client.send(AttachResource(issue_id=self.one, resource_type="call", resource_id="call-card"))
        self.session = (await client.send(CreateAgentSession(issue_id=self.two))).id


Make = Callable[[Ground], Operation[Any]]
Rows = Callable[[Ground], tuple[Operation[Any], Callable[[Any], bool]]]


def in_feed(issue: Callable[[Ground], str], kind: str) -> Rows:
    return lambda ground: (ListActivity(issue_id=issue(ground), limit=100), lambda entry: entry.type == kind)


ADDING: dict[str, tuple[Make, Rows]] = {
    "create_issue": (lambda on: CreateIssue(title=f"New one beside {on.one}", severity="low", category="Bug"),
                     lambda on: (ListIssues(limit=100), lambda issue: issue.title.endswith(on.one))),
    "add_flag": (lambda on: AddFlag(issue_id=on.one, call_id="call-card", type="silence", note="n", message_index=3),
                 lambda on: (ListFlags(issue_id=on.one, limit=100), lambda _: True)),
    "add_comment": (lambda on: AddComment(issue_id=on.one, detail="Seen again."), in_feed(lambda on: on.one, "comment")),
    "create_agent_session": (lambda on: CreateAgentSession(issue_id=on.one),
                             in_feed(lambda on: on.one, "session_started")),
    "prompt_norm": (lambda on: PromptNorm(issue_id=on.two, session_id=on.session, detail="status now"),
                    in_feed(lambda on: on.two, "prompt")),
    "link_issue": (lambda on: LinkIssue(issue_id=on.one, related_issue_id=on.two, relation_type="blocks"),
                   lambda on: (ListRelations(issue_id=on.one), lambda _: True)),
    "attach_resource": (lambda on: AttachResource(issue_id=on.two, resource_type="call", resource_id="call-card"),
                        lambda on: (ListResources(issue_id=on.two), lambda _: True)),
    "attach_call": (lambda on: AttachCall(issue_id=on.two, call_id="call-card"),
                    lambda on: (ListResources(issue_id=on.two), lambda _: True)),
    "create_category": (lambda on: CreateCategory(name=f"Music {on.one[:8]}"),
                        lambda on: (ListCategories(limit=100), lambda category: category.name.endswith(on.one[:8]))),
}  # fmt: skip
"""Each write that adds a row to a list, and the rows that count."""
REPEATABLE = {"create_issue", "add_flag", "add_comment", "create_agent_session"}
"""Those of which the desk takes an equal second one at once."""


def test_every_operation_that_adds_is_here() -> None:
    from calltriage.operations import CATALOGUE

    adding = {op.tool_name() for op in CATALOGUE if op.effect is Effect.ADD}
    assert adding - set(ADDING) == {CreateAttachment.tool_name()}  # which leaves no row of equal content: see below


Dates = Callable[[datetime], Any]
"""How an API shows when a row was made."""


def _z(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


DATES: dict[str, Dates] = {
    "true": _z,
    "30 s behind": lambda moment: _z(moment - timedelta(seconds=30)),
    "a day behind": lambda moment: _z(moment - timedelta(days=1)),
    "30 s ahead": lambda moment: _z(moment + timedelta(seconds=30)),
    "a day ahead": lambda moment: _z(moment + timedelta(days=1)),
    "whole minutes": lambda moment: moment.strftime("%Y-%m-%dT%H:%MZ"),
    "whole days": lambda moment: moment.strftime("%Y-%m-%d"),
    "local time, naive": lambda moment: (moment - timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S"),
    "local time, ahead": lambda moment: (moment + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S"),
    "no date at all": lambda moment: "",
    "not a date": lambda moment: "just now",
    "null": lambda moment: None,
    "left out": lambda moment: ...,
}


def redated(dates: Dates, since: datetime) -> Callable[[httpx2.Request, httpx2.Response], Awaitable[httpx2.Response]]:
    """Lists whose rows made `since` are dated so, by a machine of their own, and which are sorted by what they show."""

    def shown(row: dict[str, Any]) -> dict[str, Any]:
        changed = dict(row)
        for name in {"created_at", "updated_at"} & row.keys():
            made = datetime.fromisoformat(row[name]) if row[name] else None
            if made is not None and made >= since:
                changed[name] = dates(made)
        return {name: value for name, value in changed.items() if value is not ...}

    async def change(request: httpx2.Request, answer: httpx2.Response) -> httpx2.Response:
        body = json.loads(await answer.aread())
        if "_embedded" in body:
            body["_embedded"]["list"] = [shown(item) for item in body["_embedded"]["list"]]
        elif "items" in body.get("data", {}):
            newest_first = "activity" in request.url.path or "created_at" in request.url.query.decode()
            items = [shown(item) for item in body["data"]["items"]]
            if newest_first:
                items.sort(key=lambda item: str(item.get("created_at") or ""), reverse=True)
            body["data"]["items"] = items
        elif "data" in body:
            body["data"] = shown(body["data"])
        headers = {"date": answer.headers.get("date", ""), "content-type": "application/json"}
        return httpx2.Response(answer.status_code, headers=headers, json=body, request=request)

    return change


class Redating(httpx2.AsyncBaseTransport):
    """The desk, with other dates in its lists."""

    def __init__(self, desk: Desk, dates: Dates, since: datetime) -> None:
        self._inner = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        self._change = redated(dates, since)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        return await self._change(request, answer) if answer.status_code == 200 and request.method == "GET" else answer


def is_write(request: httpx2.Request) -> bool:
    return request.method != "GET"


@asynccontextmanager
async def calm(desk: Desk) -> AsyncGenerator[Client]:
    async with open_client(endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))) as client:
        yield client


async def prepared(desk: Desk, clock: Clock) -> Ground:
    ground = Ground()
    async with calm(desk) as client:
        await ground.prepare(client)
    clock.advance(minutes=1)
    return ground


async def count(desk: Desk, ground: Ground, name: str) -> int:
    read, counts = ADDING[name][1](ground)
    async with calm(desk) as client:
        return sum(counts(item) for item in (await client.send(read)).items)


async def outcome_of(client: Client, operation: Operation[Any]) -> str | None:
    try:
        return (await client.deliver(operation)).outcome
    except CallError as error:
        return error.outcome


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("name", ADDING)
async def test_a_lost_answer_is_one_row_whatever_the_rows_dates_say(
    the_desk: Desk, clock: Clock, name: str, dates: str
) -> None:
    ground = await prepared(the_desk, clock)
    network = Scripted(*[loses_the_answer()] * 9, inner=Redating(the_desk, DATES[dates], clock.now), only=is_write)
    async with open_client(endpoints_to(network)) as client:
        outcome = await outcome_of(client, ADDING[name][0](ground))
    assert await count(the_desk, ground, name) == 1
    effect = ADDING[name][0](ground).effect
    assert outcome in ({"committed", "replayed", "unknown"} if effect is Effect.ENSURE else {"committed", "unknown"})
    if effect is Effect.ADD:
        assert outcome == "committed"
        assert len(network.writes) == 1


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("stood", [True, False])
async def test_a_lost_link_on_a_desk_of_this_processs_clock_is_told_by_its_date(
    the_desk: Desk, clock: Clock, stood: bool, arrived: bool
) -> None:
    """Nothing is read before it. Another made the same link half a second before, or nobody did."""
    ground = await prepared(the_desk, clock)
    link = ADDING["link_issue"][0](ground)
    if stood:
        the_desk.clock = lambda: datetime.now(UTC) - timedelta(seconds=0.5)
        async with calm(the_desk) as other:
            await other.send(link)
    the_desk.clock = lambda: datetime.now(UTC)
    inner = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    network = Scripted(loses_the_answer() if arrived else fails(httpx2.ReadError), inner=inner, only=is_write)
    async with open_client(endpoints_to(network, one_clock=True)) as client:
        assert await outcome_of(client, link) == ("replayed" if stood else "committed")
    assert await count(the_desk, ground, "link_issue") == 1
    assert len(network.writes) == (1 if arrived or stood else 2)


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("name", sorted(REPEATABLE))
async def test_an_equal_row_that_was_there_before_is_not_taken_for_the_lost_write(
    the_desk: Desk, clock: Clock, name: str, dates: str
) -> None:
    """Whatever its date: the write did not arrive, is looked for, and is sent again."""
    ground = await prepared(the_desk, clock)
    since = clock.now
    async with calm(the_desk) as other:
        await other.send(ADDING[name][0](ground))
    network = Scripted(fails(httpx2.ReadError), inner=Redating(the_desk, DATES[dates], since), only=is_write)
    async with open_client(endpoints_to(network)) as client:
        assert await outcome_of(client, ADDING[name][0](ground)) == "committed"
    assert (await count(the_desk, ground, name), len(network.writes)) == (2, 2)


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("fate", ["carried out", "not arrived", "overwritten"])
async def test_a_lost_update_is_told_by_what_the_issue_was_before_and_not_by_its_dates(
    the_desk: Desk, clock: Clock, fate: str, dates: str
) -> None:
    """It stands; or all is as before, so that it is sent again; or the issue is something else, which nobody undoes."""
    ground = await prepared(the_desk, clock)
    update = UpdateIssue(issue_id=ground.one, status="done", severity="high")

    async def overwritten(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await (await passes(request, inner)).aread()
        async with calm(the_desk) as other:
            await other.send(UpdateIssue(issue_id=ground.one, severity="low"))
        raise httpx2.ReadError("as scripted", request=request)

    step = {"carried out": loses_the_answer(), "not arrived": fails(httpx2.ReadError), "overwritten": overwritten}[fate]
    network = Scripted(step, inner=Redating(the_desk, DATES[dates], clock.now), only=is_write)
    async with open_client(endpoints_to(network)) as client:
        outcome = await outcome_of(client, update)
    async with calm(the_desk) as other:
        stands = await other.send(GetIssue(issue_id=ground.one))
    assert outcome == ("unknown" if fate == "overwritten" else "committed")
    assert (stands.status, stands.severity) == ("done", "low" if fate == "overwritten" else "high")
    assert len(network.writes) == (2 if fate == "not arrived" else 1)


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("fate", ["carried out", "not arrived", "name taken before", "name taken meanwhile"])
async def test_a_lost_attachment_is_one_file_whatever_the_dates_say(
    the_desk: Desk, clock: Clock, fate: str, dates: str
) -> None:
    """Names are unique: what is there under the name is this call's by its mark, or else another's."""
    since = clock.now

    async def store(client: Client, data: bytes) -> str | None:
        async def chunks() -> AsyncGenerator[bytes]:
            yield data

        uploaded = await upload(client, Content("text/plain", len(data), chunks))
        try:
            return (await create(client, "a.txt", uploaded)).outcome
        except CallError as error:
            return error.outcome

    async def overtaken(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        async with calm(the_desk) as other:
            await store(other, b"another's")
        raise httpx2.ReadError("as scripted", request=request)

    if fate == "name taken before":
        async with calm(the_desk) as other:
            await store(other, b"another's")
    step = {"carried out": loses_the_answer(), "name taken meanwhile": overtaken}.get(fate, fails(httpx2.ReadError))
    network = Scripted(
        step, inner=Redating(the_desk, DATES[dates], since),
        only=lambda request: (request.method, request.url.path) == ("POST", "/attachments/2023-03"),
    )  # fmt: skip
    async with open_client(endpoints_to(network)) as client:
        assert await store(client, b"abc") == ("not_committed" if fate.startswith("name") else "committed")
        [there] = (await client.send(ListAttachments(name="a.txt"))).items
    assert there.size == (9 if fate.startswith("name") else 3)
    assert len(network.writes) == (1 if fate == "carried out" else 2)


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("name", sorted(REPEATABLE))
async def test_where_nobody_looked_before_an_equal_row_decides_nothing(
    the_desk: Desk, clock: Clock, name: str, arrived: bool
) -> None:
    ground = await prepared(the_desk, clock)
    if not arrived:
        async with calm(the_desk) as other:
            await other.send(ADDING[name][0](ground))
    lost = loses_the_answer() if arrived else fails(httpx2.ReadError)
    network = Scripted(answers(500), lost, inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with open_client(endpoints_to(network)) as client:
        assert await outcome_of(client, ADDING[name][0](ground)) == "unknown"
    assert (await count(the_desk, ground, name), len(network.writes)) == (1, 1)


@pytest.mark.parametrize("name", ["add_comment", "create_issue"])
async def test_a_row_below_what_was_read_before_decides_nothing(the_desk: Desk, clock: Clock, name: str) -> None:
    """More rows than a page, and the write's own is dated a day behind, so that it stands below them all."""
    ground = await prepared(the_desk, clock)
    async with calm(the_desk) as other:
        for n in range(105):
            if name == "add_comment":
                await other.send(AddComment(issue_id=ground.one, detail=f"Comment {n}"))
            else:
                await other.send(CreateIssue(title=f"Issue {n}", severity="low", category="Bug"))
    rows: list[dict[str, Any]] = []

    async def deep(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        """Page one as it was before; the write's row comes at the end of page two."""
        answer = await passes(request, inner)
        body = json.loads(await answer.aread())
        items = cast("list[dict[str, Any]]", body["data"]["items"])
        mine = [item for item in items if "Seen again." in str(item) or "New one" in str(item)]
        rows.extend(item for item in mine if item not in rows)
        body["data"]["items"] = [item for item in items if item not in mine]
        if body["data"]["next_cursor"] is None:
            body["data"]["items"] += rows
        return httpx2.Response(200, json=body, request=request)

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        return await (deep if request.method == "GET" else loses_the_answer())(request, inner)

    network = Scripted(*[step] * 40, inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with open_client(endpoints_to(network)) as client:
        assert await outcome_of(client, ADDING[name][0](ground)) == "unknown"
    assert len(network.writes) == 1


Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("note"),
        lambda row: row.update(note=None),
        lambda row: row.update(note={"text": "n"}),
        lambda row: row.update(type=[]),
        lambda row: row.update(call_id=None),
        lambda row: row.update(node_id={"of": "nothing that was asked for"}),
        lambda row: row.update(id=None),
        lambda row: row.clear(),
    ],
)
async def test_a_row_that_cannot_be_read_is_neither_claimed_nor_passed_over(
    the_desk: Desk, clock: Clock, spoil: Spoil
) -> None:
    ground = await prepared(the_desk, clock)

    async def bare(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        if request.method != "GET":
            return await loses_the_answer()(request, inner)
        body = json.loads(await (await passes(request, inner)).aread())
        for item in body["data"]["items"]:
            spoil(item)
        return httpx2.Response(200, json=body, request=request)

    network = Scripted(*[bare] * 20, inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with open_client(endpoints_to(network)) as client:
        assert await outcome_of(client, ADDING["add_flag"][0](ground)) == "unknown"
    assert (await count(the_desk, ground, "add_flag"), len(network.writes)) == (1, 1)


async def test_an_issue_that_was_changed_since_is_not_passed_over(the_desk: Desk, clock: Clock, tmp_path: Path) -> None:
    ground, journal = await prepared(the_desk, clock), Journal(tmp_path / "journal", clock=clock)
    new = ADDING["create_issue"][0](ground)
    async with calm(the_desk) as other:
        await round_of(the_desk, journal, new, "k", killed(after=True))
        [made] = [issue for issue in (await other.send(ListIssues())).items if issue.title.startswith("New one")]
        clock.advance(hours=1)
        await other.send(UpdateIssue(issue_id=made.id, severity="high"))
        assert await round_of(the_desk, journal, new, "k") == "unknown"
        assert (await other.send(GetIssue(issue_id=made.id))).severity == "high"
    assert await count(the_desk, ground, "create_issue") == 1
    await journal.close()


# Processes that are killed


async def round_of(
    desk: Desk, journal: Journal, operation: Operation[Any], key: str | None, *script: Step
) -> str | None:
    """One process: it writes, perhaps under a key, and is perhaps killed; the outcome that it told."""
    network = Scripted(*script, inner=httpx2.ASGITransport(desk, raise_app_exceptions=False), only=is_write)
    async with (
        open_client(endpoints_to(network), ledger=Mortal(journal)) as client,
        journal.calling(operation.tool_name(), "", key),
    ):
        try:
            return await outcome_of(client, operation)
        except Killed:
            return None


KILLS: dict[str, list[bool]] = {
    "once, carried out": [True],
    "carried out, then three times before sending": [True, False, False, False],
    "twice before sending": [False, False],
    "before sending, then carried out": [False, True],
    "before, carried out, before": [False, True, False],
    "25 times": [True, *[False] * 24],
}
"""Whether the desk carried out what each killed process sent."""


@pytest.mark.slow
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("name", ADDING)
async def test_a_write_that_is_killed_again_and_again_is_one_row(
    the_desk: Desk, clock: Clock, tmp_path: Path, name: str, key: str | None
) -> None:
    """Every attempt lies more than `SLACK` after the one before."""
    wrong: list[Any] = []
    for number, (kills, apart) in enumerate(product(KILLS, [6, 590])):
        ground, journal = await prepared(the_desk, clock), Journal(tmp_path / f"journal{number}", clock=clock)
        operation = ADDING[name][0](ground)
        told: str | None = None
        for step in [*(killed(after=carried_out) for carried_out in KILLS[kills]), passes]:
            if told is None or key is not None:  # without a key a call after an answer is another write
                told = await round_of(the_desk, journal, operation, key, step)
            clock.advance(seconds=apart)
        rows = await count(the_desk, ground, name)
        right = {"replayed"} if True in KILLS[kills] else {"committed"}
        if rows != 1 or told not in right | ({"committed"} if operation.effect is Effect.ENSURE else set[str]()):
            wrong.append((kills, apart, told, rows))
        await journal.close()
    assert not wrong


@pytest.mark.parametrize("name", ADDING)
async def test_a_lost_answer_whose_look_up_fails_too_is_one_row_after_every_repeat(
    the_desk: Desk, clock: Clock, tmp_path: Path, name: str
) -> None:
    """The outcome is unknown, and the repeats of the host settle it."""
    ground, journal = await prepared(the_desk, clock), Journal(tmp_path / "journal", clock=clock)
    operation, outcomes = ADDING[name][0](ground), list[str | None]()
    blind = Scripted(passes, *[then(passes, answers(500))] * 30, inner=httpx2.ASGITransport(the_desk))
    for network in (blind, blind, Scripted(inner=httpx2.ASGITransport(the_desk))):
        async with open_client(endpoints_to(network), ledger=journal) as client:
            outcomes.append(await outcome_of(client, operation))
        clock.advance(seconds=20)
    assert await count(the_desk, ground, name) == 1
    assert outcomes[-1] in {"replayed", "committed"}
    await journal.close()


async def test_a_restarted_process_without_a_look_before_claims_nothing(
    the_desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    """As after an upgrade: the line of the journal says nothing of what was listed before."""
    ground, journal = await prepared(the_desk, clock), Journal(tmp_path / "journal", clock=clock)
    comment = ADDING["add_comment"][0](ground)
    async with calm(the_desk) as other, journal.calling("add_comment", "", "k"):
        await Mortal(journal).begin(comment)
        await other.send(comment)
    clock.advance(seconds=10)
    assert await round_of(the_desk, journal, comment, "k") == "unknown"
    assert await count(the_desk, ground, "add_comment") == 1
    await journal.close()
