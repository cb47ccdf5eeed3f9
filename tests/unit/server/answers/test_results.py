"""Results keep their budgets, counted with a real tokenizer, and say what they left out."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from conftest import call_line, load_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client import Client
from tokens import real_tokens
from tool_calls import filed, ok, with_call

from calltriage.client.client import Client as ApiClient
from calltriage.desk.app import Desk
from calltriage.errors import CallError, TryNext
from calltriage.leaves import gate as text_module
from calltriage.leaves.gate import CHARACTERS, compact, estimate_tokens, gate
from calltriage.offering import ALL
from calltriage.operations.activity import AddComment
from calltriage.operations.flags import Flag, FlagTypeUse
from calltriage.operations.issues import GetIssue
from calltriage.operations.results import Page
from calltriage.server.answers import results as results_module
from calltriage.server.answers.results import BUDGET, EACH, WALL, Bundle, shortened, shown, shown_page, untrusted
from calltriage.server.answers.sections import Asked, Place, Section
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

AGAIN = TryNext(
    tool="get_evidence", arguments={"issue_id": "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34", "max_tokens": 12_000}
)
WORDS = st.sampled_from(
    ["i lost my debit card ", "客户要求转接到账单部门。", "Größe prüfen, bitte! ", '{"a":[1,2]} ', "😀🔥 "]
)
TEXTS = st.builds(lambda word, times: word * times, WORDS, st.integers(0, 120))
ITEMS = st.lists(st.fixed_dictionaries({"id": st.uuids().map(str), "note": TEXTS}), max_size=25)
bounded = settings(derandomize=True, deadline=None, max_examples=60)


async def bundled(budget: int, sections: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """An answer in sections, filled as far as it goes."""
    wanted = [Section(name, "issue authors", Place(), GetIssue) for name in sections]
    for one in wanted:
        one.open(Page(items=sections[one.name]))
    bundle = Bundle(budget, gaps=1, call_id="call-1")
    bundle.keeps(EACH * len(wanted))
    asked = Asked("get_evidence", "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34", None, budget)
    await asked.fill(bundle, wanted, lambda one: one.fill(bundle))
    return bundle.done()


@given(st.integers(1000, WALL - 1000), st.lists(ITEMS, min_size=1, max_size=5))
@bounded
def test_a_bundle_is_never_over_its_budget_and_accounts_for_every_item(
    budget: int, sections: list[list[dict[str, Any]]]
) -> None:
    body = anyio.run(bundled, budget, {f"section_{number}": items for number, items in enumerate(sections)})
    assert real_tokens(compact(body)) <= budget
    omitted = {entry["section"]: entry["left_out"] for entry in body.get("omitted", [])}
    assert body["complete"] is (not omitted)
    for number, items in enumerate(sections):
        kept = body[f"section_{number}"]["items"]
        assert [item for item in items if item in kept] == kept
        assert omitted.get(f"section_{number}", 0) == len(items) - len(kept)


async def test_what_a_bundle_left_out_comes_with_the_call_that_fetches_it() -> None:
    items = [{"note": "word " * 100}, {"note": "word " * 900}, {"note": "short"}]
    body = await bundled(1000, {"flags": items})
    assert body["flags"]["items"] == items[:1]
    (gap,) = body["omitted"]
    where = {"issue_id": AGAIN["arguments"]["issue_id"], "section": "flags", "cursor": "1.1.", "max_tokens": 1000}
    assert gap == {"section": "flags", "left_out": 2, "try_next": {"tool": "get_evidence", "arguments": where}}


async def test_items_of_strangers_stand_in_a_holder_that_says_so() -> None:
    body = await bundled(1000, {"flags": [{"note": "n"}]})
    assert body["flags"] == {"trust": "untrusted", "origin": "issue authors", "items": [{"note": "n"}]}
    flag = Flag(id="f", issue_id="i", call_id="c", type="x", created_at="")
    assert {"trust": "untrusted", "origin": "flag authors and call parties"}.items() <= shown(flag).items()
    page = shown_page(Page[FlagTypeUse](items=[FlagTypeUse(type="x")], next_cursor="more"))
    assert page == untrusted(
        "flag authors", items=[{"type": "x"}], returned=1, complete=False,
        next_cursor="more",
    )  # fmt: skip


@given(st.integers(400, 6000), st.dictionaries(st.sampled_from("abcdef"), TEXTS | st.lists(TEXTS, max_size=4)))
@bounded
def test_what_is_shortened_fits_and_says_which_text_lost_how_much(budget: int, body: dict[str, Any]) -> None:
    def at(node: Any, path: str) -> Any:
        for part in path.split("."):
            node = node[int(part) if isinstance(node, list) else part]
        return node

    try:
        short = shortened(body, budget, {"resource": "triage://issues/9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"})
    except CallError:  # no long text is left to cut
        return
    assert real_tokens(compact(short)) <= budget
    cut = short.pop("omitted", [])
    assert cut or short == body
    for entry in cut:
        whole, kept = at(body, entry["field"]), at(short, entry["field"])
        assert whole.startswith(kept)
        assert len(whole) - len(kept) == entry["characters"]
    assert [entry.get("resource", "").startswith("triage://issues/") for entry in cut[:1]] == [True] * len(cut[:1])


async def test_what_is_cut_comes_with_the_call_that_reads_it_whole(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    long = "通話的品質很差因為系統沒有回應客戶" * 500
    issue = await filed(agent, description=long[:4500])
    shown_of = await ok(agent, "get_issue", issue_id=issue["id"])
    (gap,) = shown_of["omitted"]
    assert gap["field"] == "description"
    whole = await ok(agent, gap["try_next"]["tool"], **gap["try_next"]["arguments"])
    assert whole["description"]["items"] == [{"description": long[:4500]}]
    for text in ("first ", "second "):
        await client.send(AddComment(issue_id=issue["id"], detail=text + "鬱" * 3900))
    async with Client(build_server(client, version="0", tools=select([ALL]))) as full:
        page = await ok(full, "list_activity", issue_id=issue["id"], limit=1)
        (gap,) = page["omitted"]
        read = await ok(full, gap["try_next"]["tool"], **gap["try_next"]["arguments"])
        assert read["activity"]["items"][0]["detail"] == "second " + "鬱" * 3900
        following = await ok(full, "list_activity", issue_id=issue["id"], limit=1, cursor=page["next_cursor"])
        advice = following["omitted"][0]["try_next"]["arguments"]
        assert (await ok(full, "get_evidence", **advice))["activity"]["items"][0]["detail"] == "first " + "鬱" * 3900
    await load_lines(the_desk, call_line("call-wide", "hello", long[:9000]))
    flag = {"issue_id": issue["id"], "call_id": "call-wide", "type": "x", "message_index": 1, "attach_if_missing": True}
    (gap,) = (await ok(agent, "add_flag", **flag))["omitted"]
    turns = (await ok(agent, gap["try_next"]["tool"], **gap["try_next"]["arguments"]))["transcript"]["turns"]
    assert turns[0]["text"] == long[:9000]


def test_what_cannot_be_shortened_is_refused_rather_than_sent() -> None:
    with pytest.raises(CallError) as caught:
        shortened({f"key {number}": "short" for number in range(2000)}, BUDGET, None)
    assert caught.value.code == "result_too_large"


HIDDEN = ["\u200b", "\u202e", "\U000e0041", "a\u200d"]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("budget", [500, 6_000, 19_000])
async def test_invisible_characters_count_as_the_escapes_that_they_become(
    agent: Client, the_desk: Desk, hidden: str, budget: int
) -> None:
    await load_lines(the_desk, call_line("hidden", *[hidden * 3000] * 6))
    window = await ok(agent, "get_transcript", call_id="hidden", max_tokens=budget)
    assert real_tokens(compact(window)) <= budget
    assert window["returned"] >= 1


async def test_evidence_with_invisible_characters_keeps_its_budget(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("hidden", *["\U000e0041" * 900] * 8))
    ticket = await with_call(agent, "hidden")
    for index in range(8):
        flag = {"issue_id": ticket, "call_id": "hidden", "type": "x", "note": "\u200b" * 300}
        await ok(agent, "add_flag", **flag, message_index=index)
    for budget in (1_000, 6_000, 19_000):
        bundle = await ok(agent, "get_evidence", issue_id=ticket, max_tokens=budget)
        assert real_tokens(compact(bundle)) <= budget


async def test_a_page_of_titles_with_invisible_characters_keeps_its_budget(agent: Client) -> None:
    for _ in range(30):
        await filed(agent, title="\u200b" * 200)
    assert real_tokens(compact(await ok(agent, "list_issues"))) <= BUDGET


@pytest.mark.parametrize("filling", ["\U000e0041", "龘", "\u200b", "ḧ"])
async def test_no_resource_is_above_the_wall(agent: Client, filling: str) -> None:
    issue = await filed(agent, description=filling * 10_000)
    read = await agent.read_resource(f"triage://issues/{issue['id']}")
    assert real_tokens(getattr(read.contents[0], "text", "")) <= WALL


KEYS = st.fixed_dictionaries(
    {
        "user": st.text(st.sampled_from("ab \u200b\U000e0041龘"), max_size=64),
        "text": TEXTS | st.just("\U000e0041" * 3000),
    }
)


@given(
    st.integers(500, 1500),
    st.text(st.sampled_from("abc-9_"), max_size=128),
    st.lists(KEYS, min_size=1, max_size=6),
)
@bounded
def test_a_window_ends_and_keeps_its_budget_whatever_a_turn_says_of_itself(
    budget: int, call_id: str, turns: list[dict[str, Any]]
) -> None:
    bundle = Bundle(budget, gaps=3, call_id=call_id, total=len(turns))
    kept = bundle.window(
        list(range(len(turns))), lambda n: {"message_index": n, **turns[n]}, lambda *_: AGAIN, lambda *_: AGAIN
    )
    bundle.body["transcript"] = untrusted("call parties", turns=kept)
    assert real_tokens(compact(gate(bundle.done())[0])) <= budget
    assert kept[0]["message_index"] == 0
    shown = [{"message_index": n, **turns[n]} for n in range(len(kept))]
    assert kept == shown or bundle.omitted


def test_a_very_long_text_is_cut_and_not_priced_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pricing 7.5 million characters takes seconds in which the server answers nobody."""
    priced: list[int] = []

    def counted(text: str, most: float = float("inf")) -> int:
        priced.append(len(text))
        return estimate_tokens(text, most)

    monkeypatch.setattr(text_module, "estimate_tokens", counted)
    monkeypatch.setattr(results_module, "estimate_tokens", counted)
    long = "the branch closes early " * 300_000
    short = shortened({"description": long, "title": "T"}, BUDGET)
    assert short["omitted"][0]["characters"] == len(long) - len(short["description"])
    bundle = Bundle(BUDGET, gaps=3)
    bundle.window([0], lambda n: {"message_index": n, "text": long}, lambda *_: AGAIN, lambda *_: AGAIN)
    assert max(priced) <= CHARACTERS * BUDGET + 100


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \t\n.,a"), max_size=400))
@bounded
def test_no_token_of_the_estimate_has_more_characters_than_said(text: str) -> None:
    assert len(text) <= CHARACTERS * estimate_tokens(text) + 1
