"""An issue that is open already is found before it is filed again, whatever its words, and the score says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from mcp.client import Client
from tool_calls import ok, refused
from vendors import says

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.filing.lookalikes import ALIKE, CLOSE, Draft, ranked, similar_to, telling
from calltriage.operations.issues import CreateIssue, Issue, ListIssues
from calltriage.operations.relations import ListRelations
from calltriage.server.app import build_server

OPEN = (
    ("Lost card replaced without verification", "Agent sent a debit card and never asked who is calling.", "Dialogue"),
    ("Transfer to billing queue drops the call", "After the handoff the line is dead; callers ring again.", "Routing"),
    ("Agent repeats the greeting in a loop", "The first node fires again after each answer.", "Dialogue"),
    ("Opening hours announced for the wrong branch", "Says nine to five; the branch opens at ten.", "Bug"),
    ("Spanish callers are answered in English", "Language detection falls back to English.", "Speech"),
    ("Five seconds of silence before every reply", "Measured 4.8 s between turns.", "Latency"),
    ("Account numbers are misheard", "The transcript swaps digits of long account numbers.", "Transcription"),
    ("Refund promised but never created", "The tool call to the refund API fails silently.", "Tools"),
    ("Appointment booked on a public holiday", "Calendar lookup ignores holidays.", "Tools"),
    ("Voicemail is taken for a person", "The agent talks to the answering machine.", "Telephony"),
    ("Caller asked for a human and was refused", "No route to a person after three requests.", "Routing"),
    ("Insurance policy number read back digit by digit", "Takes a minute and people hang up.", "Dialogue"),
    ("Wrong price quoted for the premium plan", "Knowledge base is from last year.", "Bug"),
    ("Call recording announcement is skipped", "Legal notice must be said in the first turn.", "Dialogue"),
    ("Background noise ends the call early", "Barking dogs count as an interruption.", "Speech"),
)  # fmt: skip

SAME: tuple[tuple[str, str, int], ...] = (
    ("Lost card replaced without verification", "Dialogue", 0),
    ("Replacement card sent without verifying the caller", "Dialogue", 0),
    ("New debit card sent, no identity check", "Bug", 0),
    ("Call drops on transfer to billing", "Routing", 1),
    ("Calls are dropped when handed off to the billing queue", "Telephony", 1),
    ("Billing transfer disconnects callers", "Routing", 1),
    ("Greeting repeated in a loop", "Dialogue", 2),
    ("Bot keeps repeating its greeting", "Dialogue", 2),
    ("Wrong opening hours for a branch", "Bug", 3),
    ("Branch opening hours are wrong", "Dialogue", 3),
    ("Answers Spanish callers in English", "Speech", 4),
    ("Spanish speaking customers get English answers", "Speech", 4),
    ("Long silence before each reply", "Latency", 5),
    ("Silence of several seconds before replies", "Latency", 5),
    ("Mishears account numbers", "Transcription", 6),
    ("Account number misheard by ASR", "Transcription", 6),
    ("Promised refund is never created", "Tools", 7),
    ("Refunds promised but not created", "Bug", 7),
    ("Appointments booked on public holidays", "Tools", 8),
    ("Booking an appointment on a holiday", "Tools", 8),
    ("Voicemail taken for a human", "Telephony", 9),
    ("Agent refuses when caller asks for a human", "Routing", 10),
    ("Premium plan quoted with the wrong price", "Bug", 12),
    ("Recording announcement skipped", "Dialogue", 13),
    ("Call ended early by background noise", "Speech", 14),
)
"""Titles, in other words, of a fault that is open."""

NEW: tuple[tuple[str, str], ...] = (
    ("Card PIN spoken aloud to the caller", "Dialogue"),
    ("Transfer to sales goes to an empty queue", "Routing"),
    ("Goodbye is said twice", "Dialogue"),
    ("Opening balance read in the wrong currency", "Bug"),
    ("French callers hear a German voice", "Speech"),
    ("Hold music is far too loud", "Telephony"),
    ("Street names are misheard", "Transcription"),
    ("Refund sent to the wrong account", "Tools"),
    ("Appointment reminder sent at night", "Tools"),
    ("Keypad input ignored during menus", "Telephony"),
    ("Discount code rejected although valid", "Tools"),
    ("Agent gives legal advice", "Dialogue"),
    ("Recording cannot be downloaded", "Bug"),
    ("Calls from abroad are rejected", "Telephony"),
    ("Loyalty points are not mentioned", "Dialogue"),
    ("Agent repeats the farewell in a loop", "Dialogue"),
    ("Transfer to the sales queue takes minutes", "Routing"),
    ("Opening hours announced too fast", "Bug"),
    ("Spanish callers wait too long on hold", "Speech"),
    ("Account numbers are read back too fast", "Transcription"),
    ("Appointment booked in the past", "Tools"),
    ("Refund created twice", "Tools"),
    ("Voicemail greeting is cut off", "Telephony"),
    ("Premium plan is not offered", "Bug"),
    ("Background noise is transcribed as words", "Speech"),
    ("Lost card reported but old card not blocked", "Dialogue"),
    ("Billing queue closes an hour early", "Routing"),
)
"""Titles of faults that nobody has filed, the last dozen near to one that somebody has."""


OTHER_OPEN = (
    ("Delivery address cannot be changed by phone", "The update tool answers 403.", "Tools"),
    ("Caller is put on hold without a word", "The agent goes quiet and hold music starts.", "Dialogue"),
    ("Order number is asked for three times", "It was given in the first sentence.", "Dialogue"),
    ("Text message with the link never arrives", "The agent says that it was sent.", "Tools"),
    ("Emergency calls are not passed on", "The word ambulance must lead to a person at once.", "Routing"),
    ("Voice sounds robotic on mobile lines", "The codec is narrow band.", "Speech"),
    ("Surname is spelt wrong in the summary", "Names with ph are written with f.", "Transcription"),
    ("Night calls reach a closed office", "After ten the route must be the duty desk.", "Routing"),
)  # fmt: skip
OTHER_SAME = (
    ("Phone agent cannot change a delivery address", "Bug", 0),
    ("Changing the delivery address by phone fails", "Tools", 0),
    ("Caller put on hold without warning", "Dialogue", 1),
    ("Asks three times for the order number", "Dialogue", 2),
    ("Order number asked for again and again", "Bug", 2),
    ("Text message with link does not arrive", "Tools", 3),
    ("Emergency call not passed on to a person", "Routing", 4),
    ("Robotic voice on mobile", "Speech", 5),
    ("Surnames spelt wrong in summaries", "Transcription", 6),
    ("Calls at night go to a closed office", "Routing", 7),
)
OTHER_NEW = (
    ("Delivery date is announced wrongly", "Tools"),
    ("Hold music starts too loud", "Telephony"),
    ("Order cancelled without being asked", "Tools"),
    ("Text message is sent twice", "Tools"),
    ("Emergency number read out wrongly", "Dialogue"),
    ("Voice changes between two turns", "Speech"),
    ("Summary is written in the wrong language", "Transcription"),
    ("Office address is out of date", "Bug"),
)
"""A second set, on which nothing was tuned."""


NOT_THE_SAME = (
    ("Agent does not confirm the appointment date", "Agent confirms the wrong appointment date"),
    ("Agent did not verify identity", "Agent verified the wrong identity"),
    ("SMS confirmation not sent", "SMS confirmation sent twice"),
    ("Agent is not transferring calls after hours", "Agent is transferring calls after hours"),
    ("Transfer before verification", "Transfer after verification"),
    ("Wrong opening hours for the Berlin branch", "Wrong opening hours for the Munich branch"),
    ("Wrong price quoted for the Basic plan", "Wrong price quoted for the Pro plan"),
    ("Payment tool times out", "Payment tool returns 500"),
    ("Agent hung up during the refund", "Agent hung up during the transfer"),
    ("Voicemail detection false positive", "Voicemail detection false negative"),
    ("Agent cannot cancel an order", "Agent cannot find an order"),
    ("Keypad input ignored", "Keypad input doubled"),
    ("Agent never asks for the account number", "Agent asks for the account number again"),
)
"""Two faults whose words are nearly the same."""


async def with_open_issues(agent: Client, issues: Sequence[tuple[str, str, str]] = OPEN) -> list[str]:
    """Ids of the open issues, in their order."""
    ids: list[str] = []
    for title, description, category in issues:
        new = {"title": title, "description": description, "category": category, "severity": "medium"}
        ids.append((await ok(agent, "create_issue", **new, on_duplicate="create"))["id"])
    return ids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filed", "same", "new", "least_recall"),
    [(OPEN, SAME, NEW, 0.8), (OTHER_OPEN, OTHER_SAME, OTHER_NEW, 0.6)],
    ids=["tuned on", "held out"],
)
async def test_the_same_fault_in_other_words_is_found_and_a_new_one_is_not_held_up(
    agent: Client, filed: Any, same: Any, new: Any, least_recall: float
) -> None:
    """Precision and recall on labelled phrasings. Whoever tunes the score may raise the bars."""
    ids = await with_open_issues(agent, filed)
    held, right, shown = 0, 0, 0
    for title, category, which in [*same, *((title, category, None) for title, category in new)]:
        answer = await ok(agent, "create_issue", title=title, category=category, severity="low")
        found = [one["id"] for one in answer["similar"]["items"]]
        shown += which is not None and ids[which] in found[:3]
        if answer["outcome"] == "not_committed":
            held += 1
            right += which is not None and found[0] == ids[which]
        else:
            await ok(agent, "update_issue", issue_id=answer["id"], status="closed")
    precision, recall = right / held, right / len(same)
    print(f"{held} held back, precision {precision:.2f}, recall {recall:.2f}, named {shown / len(same):.2f}")
    assert precision == 1.0
    assert recall >= least_recall
    assert shown / len(same) >= 0.95


@pytest.mark.parametrize(("one", "other"), NOT_THE_SAME)
@pytest.mark.parametrize("evidence", [frozenset[tuple[str, str]](), frozenset({("call", "c-1")})])
def test_another_fault_in_nearly_the_same_words_is_named_and_holds_nothing_up(
    one: str, other: str, evidence: frozenset[tuple[str, str]]
) -> None:
    for title, open_title in ((one, other), (other, one)):
        draft = Draft(title, category="Bug", evidence=evidence)
        (found,) = ranked(draft, [issue(open_title)], {open_title: set(evidence)})
        assert not found.is_close, found.row()
        assert found.score >= ALIKE
        assert found.row()["why"].get("differs") or found.by_words < CLOSE


async def test_two_equal_drafts_at_once_are_filed_once(agent: Client, client: ApiClient) -> None:
    new = {"title": "Greeting is cut off", "severity": "low", "category": "Speech"}
    outcomes: list[str] = []

    async def file() -> None:
        outcomes.append((await ok(agent, "create_issue", **new))["outcome"])

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(file)
    assert sorted(outcomes) == ["committed", "not_committed", "not_committed", "not_committed"]
    assert len((await client.send(ListIssues())).items) == 1


async def test_a_very_close_issue_is_reported_and_nothing_is_filed(agent: Client, client: ApiClient) -> None:
    (first, *_) = await with_open_issues(agent)
    again = {"title": "lost card REPLACED without verification!", "severity": "high", "category": "dialogue"}
    answer = await ok(agent, "create_issue", **again)
    assert answer["outcome"] == "not_committed"
    assert "on_duplicate" in answer["note"]
    assert answer["try_next"] == {"tool": "get_evidence", "arguments": {"issue_id": first}}
    similar = answer["similar"]
    assert (similar["trust"], similar["looked_at"]) == ("untrusted", len(OPEN))
    best = similar["items"][0]
    assert (best["id"], best["score"], best["why"]["same_category"]) == (first, 1.0, True)
    assert best["why"]["title_words"] == ["card", "lost", "replac", "verifi"]
    assert answer == await ok(agent, "create_issue", **again), "the same question has the same answer"
    assert len((await client.send(ListIssues(limit=100))).items) == len(OPEN)


async def test_create_files_it_anyway_and_link_files_it_as_a_duplicate(agent: Client, client: ApiClient) -> None:
    first = (await with_open_issues(agent))[0]
    again = {"title": OPEN[0][0], "severity": "high", "category": "Dialogue"}
    plain = await ok(agent, "create_issue", **again, on_duplicate="create")
    assert plain["outcome"] == "committed"
    assert plain["similar"]["items"][0]["id"] == first
    assert "link" not in plain
    await ok(agent, "update_issue", issue_id=plain["id"], status="closed")
    linked = await ok(agent, "create_issue", **again, on_duplicate="link")
    assert (linked["outcome"], linked["link"]["outcome"]) == ("committed", "committed")
    (relation,) = (await client.send(ListRelations(issue_id=linked["id"]))).items
    assert (relation.relation_type, relation.related_issue_id, relation.direction) == (
        "duplicate_of",
        first,
        "outgoing",
    )
    other = {"title": "Hold music is too loud", "severity": "low", "category": "Bug"}
    alone = await ok(agent, "create_issue", **other, on_duplicate="link")
    assert (alone["outcome"], "link" in alone) == ("committed", False)


@pytest.mark.parametrize("status", ["done", "closed"])
async def test_an_issue_off_the_board_holds_nothing_up(agent: Client, status: str) -> None:
    new = {"title": "Greeting is cut off", "severity": "low", "category": "Speech"}
    first = await ok(agent, "create_issue", **new)
    await ok(agent, "update_issue", issue_id=first["id"], status=status)
    answer = await ok(agent, "create_issue", **new)
    assert answer["outcome"] == "committed"
    (like,) = answer["similar"]["items"]
    assert (like["id"], like["status"], like["closed"], like["score"]) == (first["id"], status, True, 1.0)


async def test_issues_that_were_closed_long_ago_are_not_named(agent: Client, clock: Clock) -> None:
    new = {"title": "Greeting is cut off", "severity": "low", "category": "Speech"}
    first = await ok(agent, "create_issue", **new)
    await ok(agent, "update_issue", issue_id=first["id"], status="closed")
    clock.advance(days=91)
    assert (await ok(agent, "create_issue", **new))["similar"]["items"] == []


async def test_closed_issues_crowd_out_no_open_one(agent: Client) -> None:
    new = {"title": "Greeting is cut off", "severity": "low", "category": "Speech"}
    for _ in range(6):
        made = await ok(agent, "create_issue", **new)
        await ok(agent, "update_issue", issue_id=made["id"], status="closed")
    other = await ok(agent, "create_issue", **new | {"title": "Greeting comes twice"})
    similar = (await ok(agent, "create_issue", **new, on_duplicate="link"))["similar"]
    assert [row["id"] for row in similar["items"] if "closed" not in row] == [other["id"]]
    assert (similar["returned"], similar["total"], similar["complete"]) == (3, 7, False)


async def test_evidence_in_common_makes_issues_alike_and_is_named(agent: Client) -> None:
    call = [{"resource_type": "call", "resource_id": "call-card"}]
    new = {"severity": "low", "category": "Bug"}
    first = await ok(agent, "create_issue", title="Card sent at once", **new, resource_links=call)
    answer = await ok(agent, "create_issue", title="Card mailed unasked", **new, resource_links=call)
    best = answer["similar"]["items"][0]
    assert (best["id"], best["why"]["shared_evidence"]) == (first["id"], ["call call-card"])
    assert answer["outcome"] == "committed", "one call may show two faults"
    await ok(agent, "update_issue", issue_id=answer["id"], status="closed")
    without = await ok(agent, "create_issue", title="Card mailed unasked", **new)
    (same,) = [row for row in without["similar"]["items"] if row["id"] == first["id"]]
    assert (without["outcome"], same["score"] < best["score"]) == ("committed", True)


@pytest.mark.slow
async def test_the_same_title_is_found_among_many_that_share_its_words(agent: Client) -> None:
    title = "Refund transfer skips verification of account"
    new = {"severity": "low", "category": "Routing"}
    first = (await ok(agent, "create_issue", title=title, **new))["triage_id"]
    words = title.split()
    for number in range(120):
        other = f"{words[number % 6]} {words[(number + 1) % 6]} seen on line {number}, {words[(number + 3) % 6]}"
        await ok(agent, "create_issue", title=other, on_duplicate="create", **new)
    again = await ok(agent, "create_issue", title=title, **new)
    assert again["outcome"] == "not_committed"
    assert (again["similar"]["items"][0]["triage_id"], again["similar"]["items"][0]["score"]) == (first, 1.0)


async def test_it_searches_the_vendor_for_a_few_words_and_no_more() -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append({"method": request.method, "search": request.url.params.get("search")})
        if request.method == "POST":
            return says(500, {"data": None, "errors": []})(request)
        return says(200, {"data": {"items": [], "next_cursor": None}, "errors": None})(request)

    title = "Transferred customers to the billing queue were disconnected by the assistant on Tuesday mornings in Leeds"
    new = {"title": title, "description": "word " * 2000, "severity": "low", "category": "Routing"}
    async with (
        open_client(endpoints_to(httpx2.MockTransport(answer))) as client,
        Client(build_server(client, version="0")) as agent,
    ):
        await refused(agent, "create_issue", **new)
    # The last read is of the newest issues, to tell a lost answer's issue by.
    before = asked[: next(place for place, one in enumerate(asked) if one["method"] == "POST") - 1]
    reads = [one["search"] for one in before]
    assert len(reads) == 8
    assert {word for word in reads if word} == {title, *telling(Draft(title))}
    assert all(word.casefold() in title.casefold() for word in reads if word)


@pytest.mark.parametrize("on_duplicate", ["report", "link"])
async def test_when_the_issues_cannot_be_searched_nothing_is_filed_and_that_is_said(on_duplicate: str) -> None:
    async with (
        open_client(endpoints_to(httpx2.MockTransport(says(500, {"data": None, "errors": []})))) as client,
        Client(build_server(client, version="0")) as agent,
    ):
        new = {"title": "T", "severity": "low", "category": "B", "on_duplicate": on_duplicate}
        error = await refused(agent, "create_issue", **new)
        assert (error["code"], error["outcome"]) == ("server_failure", "not_committed")


async def test_create_files_it_even_where_the_issues_cannot_be_searched(the_desk: Any) -> None:
    inner = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)

    class NoLists(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "GET":
                return httpx2.Response(403, content=json.dumps({"data": None, "errors": []}).encode())
            return await inner.handle_async_request(request)

    async with open_client(endpoints_to(NoLists())) as client, Client(build_server(client, version="0")) as agent:
        new = {"title": "T", "severity": "low", "category": "B", "on_duplicate": "create"}
        answer = await ok(agent, "create_issue", **new)
    assert (answer["outcome"], answer["similar"]) == ("committed", {"unread": "forbidden"})


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (429, "rate_limited")])
async def test_a_link_that_fails_leaves_the_issue_filed_and_says_so(the_desk: Any, status: int, code: str) -> None:
    inner = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)

    class NoLinks(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/relations"):
                return httpx2.Response(status, content=json.dumps({"data": None, "errors": []}).encode())
            return await inner.handle_async_request(request)

    async with open_client(endpoints_to(NoLinks())) as client, Client(build_server(client, version="0")) as agent:
        new = {"title": "Greeting is cut off", "severity": "low", "category": "Speech"}
        first = await ok(agent, "create_issue", **new)
        answer = await ok(agent, "create_issue", **new, on_duplicate="link")
    assert (answer["outcome"], answer["link"]["outcome"]) == ("committed", "not_committed")
    error = answer["link"]["error"]
    assert error["code"] == code
    again = {"issue_id": answer["id"], "related_issue_id": first["id"], "relation_type": "duplicate_of"}
    assert error.get("try_next", {}).get("arguments") == (None if status == 403 else again), "a refusal stands"


def issue(title: str, **more: Any) -> Issue:
    fields = {"id": title, "triage_id": "T-1", "status": "todo", "severity": "low", "category": "Bug"}
    times = dict.fromkeys(("created_at", "updated_at", "last_activity_at"), "")
    return Issue.model_validate(fields | times | {"title": title} | more)


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("请求转接到账单部门失败", "转接到账单部门失败"),
        ("Überweisung an falsches Konto", "ÜBERWEISUNG AN FALSCHES KONTO"),
        ("ｃａｒｄ ｌｏｓｔ", "Card lost"),
        ("...", "..."),
    ],
)
def test_titles_in_any_script_are_compared(title: str, other: str) -> None:
    (found,) = ranked(Draft(title), [issue(other)], {})
    assert found.score >= CLOSE


@pytest.mark.parametrize(
    ("title", "opposite"),
    [
        ("Rückerstattung möglich", "Rückerstattung nicht möglich"),
        ("Der Agent nennt Preise", "Der Agent nennt keine Preise"),
        ("El agente cancela la cita", "El agente no cancela la cita"),
        ("O agente confirma", "O agente não confirma"),
        ("L'agent rembourse le client", "L'agent ne rembourse pas le client"),
        ("Terugbetaling lukt", "Terugbetaling lukt niet"),
        ("Återbetalning går igenom", "Återbetalning går inte igenom"),
        ("L'agente richiama", "L'agente non richiama"),
        ("Агент переводит звонок", "Агент не переводит звонок"),
        ("İade mümkün", "İade mümkün değil"),
        ("客服可以退款", "客服不可以退款"),
        ("返金できます", "返金できません"),
        ("الوكيل يحول المكالمة", "الوكيل لا يحول المكالمة"),
        ("הסוכן מעביר", "הסוכן לא מעביר"),
    ],
)
def test_a_title_that_says_the_opposite_in_any_language_holds_nothing_up(title: str, opposite: str) -> None:
    for one, other in ((title, opposite), (opposite, title)):
        (found,) = ranked(Draft(one, category="Bug"), [issue(other)], {})
        assert not found.is_close, found.row()


def test_titles_with_nothing_in_common_are_not_alike() -> None:
    for title, other in (("", "card lost"), ("the", "a"), ("?", "!"), ("card", "transfer")):
        (found,) = ranked(Draft(title, category="Bug"), [issue(other)], {})
        assert found.score < ALIKE, (title, other)


def test_ranking_is_stable_and_survives_huge_texts() -> None:
    issues = [issue(f"card {n}", description="word " * 2_000) for n in range(40)]
    draft = Draft("card " * 40, "é" * 10_000)
    first = [(one.issue.id, one.score) for one in ranked(draft, issues, {})]
    assert first == [(one.issue.id, one.score) for one in ranked(draft, issues[::-1], {})]


async def test_an_equal_title_is_found_behind_many_newer_issues_that_a_search_reads_in_parts(
    client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound, number in (("NAMED", 1), ("FEW", 2), ("MOST", 2), ("NEAR", 20)):
        monkeypatch.setattr(f"calltriage.desk.database.issue_search.{bound}", number)
    oldest = await client.send(CreateIssue(title="Lost card refused", category="Bug", severity="high"))
    for title in ("Lost parcel", "Card of a guest", "Refused entry", "Lost key", "Card reader", "Refused call") * 2:
        await client.send(CreateIssue(title=title, category="Bug", severity="high"))
    for number in range(60):
        await client.send(CreateIssue(title=f"Invoice {number}", category="Bug", severity="high"))
    found = await similar_to(Draft("Lost card refused"), client)
    assert found.closest() == oldest
