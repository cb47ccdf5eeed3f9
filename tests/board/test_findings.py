"""What pipelines found, before a person: judged on the page by them, in a host's view for the agent; a report of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import Clock, call_line, endpoints_to, load_lines
from mcp.client import Client as McpClient
from pipeline_filing import Bench, spec_of
from tool_calls import ok

from board.hostile import HOSTILE, only_text
from board.seats import PHONE, WIDE, Seat, Served, arrive, board_on_port
from calltriage.client.client import open_client
from calltriage.client.home import Home
from calltriage.desk.app import Desk
from calltriage.offering import ALL
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call
from calltriage.pipelines.ledger import open_ledger, reviews, runs
from calltriage.server.app import build_server
from calltriage.server.call.views import FINDINGS
from calltriage.server.toolsets import select

pytestmark = pytest.mark.slow
FILE = 'name = "hours"\n[[detect]]\nuse = "wrong_hours"\n'


@dataclass
class Found:
    """Three findings that wait, the newest first; the agent, the page and the ledger behind it."""

    bench: Bench
    agent: McpClient
    served: Served

    async def states(self) -> dict[str, str]:
        return await self.bench.states()

    async def said(self) -> list[tuple[str, str, str]]:
        """Every verdict: the call, what was said, and whether a person said it."""
        ledger, found = self.bench.ledger, list[tuple[str, str, str]]()
        for row in await self.bench.rows():
            of_one = await ledger.read(partial(reviews.of_finding, ledger=ledger, finding_id=row["id"]))
            found += [(row["call_id"], one["verdict"], one["role"]) for one in of_one]
        return found


@pytest.fixture
async def findings(the_desk: Desk, clock: Clock, tmp_path: Path) -> AsyncGenerator[Found]:
    home = Home(tmp_path / "data", "desk", None, lambda: b"a secret of the tests, long enough")
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport), home=home) as client,
        open_ledger(home.folder, home.account) as ledger,
        McpClient(build_server(client, version="0", tools=select([ALL]))) as agent,
        board_on_port(client, tmp_path) as served,
    ):
        bench = Bench(the_desk, client, ledger, clock, spec_of(""))
        run = await runs.begin(ledger, pipeline="hours", spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
        bench.run_id = run.id
        for name in ("first", "second", "third"):
            await bench.say(name, metadata={"branch": name})
            await bench.examine(name)
        yield Found(bench, agent, served)


async def test_by_keys_alone_a_person_accepts_dismisses_and_goes_on(findings: Found, page: Any) -> None:
    order = [row["call_id"] for row in await findings.bench.rows()]
    async with page(findings.served) as seat:
        await seat.press("i")
        await seat.heading("Findings")
        assert "3 findings" in await seat.board.locator("main").inner_text()
        await seat.press("Enter")
        await seat.heading("wrong hours")
        shown = await seat.board.locator("main").inner_text()
        assert f"call {order[0]}" in shown
        assert await seat.board.locator(".turns > li.flagged .note").first.inner_text() == "2"
        await seat.press("n", "p")
        await seat.board.wait_for_selector(f".facts:has-text('call {order[0]}')")
        await seat.press("a")
        assert "Its state is filed." in await seat.said("Accepted")
        await seat.board.wait_for_selector(f".facts:has-text('call {order[1]}')")
        await seat.press("d")
        await seat.page.keyboard.type("expected")
        await seat.press("Tab")
        await seat.page.keyboard.type("a holiday")
        await seat.press("Tab", "Enter")
        assert "Its state is dismissed." in await seat.said("Dismissed as expected")
        await seat.board.wait_for_selector(f".facts:has-text('call {order[2]}')")
        assert seat.complaints == []
    assert await findings.states() == {order[0]: "filed", order[1]: "dismissed", order[2]: "new"}
    assert sorted(await findings.said()) == sorted([(order[0], "right", "human"), (order[1], "expected", "human")])
    assert [issue.triage_id for issue in await findings.bench.issues()] != []


async def test_a_verdict_in_a_hosts_view_is_the_agents_and_decides_nothing(findings: Found, view: Any) -> None:
    async with view(findings.agent, uri=FINDINGS) as seat:
        await arrive(seat, findings.agent, "list_findings", state="new")
        await seat.heading("Findings")
        await seat.press("j", "Enter")
        await seat.heading("wrong hours")
        assert "it counts as the agent's" in await seat.board.locator("main").inner_text()
        await seat.press("a")
        assert "On record as an agent's verdict" in await seat.said("Accepted")
        assert seat.complaints == []
        told = await seat.seen("contexts")
    assert set((await findings.states()).values()) == {"new"}
    assert [one[1:] for one in await findings.said()] == [("right", "agent")]
    assert told[0]["structuredContent"].keys() == {"finding_id", "call_id", "message_index"}
    assert "nine thirty" not in str(told)
    assert await findings.bench.issues() == []


async def test_a_finding_that_the_agent_read_is_shown_with_its_turns(findings: Found, view: Any) -> None:
    [row, *_] = (await ok(findings.agent, "list_findings"))["items"]
    async with view(findings.agent, uri=FINDINGS) as seat:
        await arrive(seat, findings.agent, "get_finding", finding_id=row["id"])
        await seat.heading("wrong hours")
        assert await seat.board.locator(".turns > li").count() == 3
        await seat.board.get_by_role("button", name="Next finding").first.click()
        await seat.board.wait_for_selector(".facts:has-text('call second')")


async def test_two_people_see_that_the_other_judged_first(findings: Found, page: Any) -> None:
    async with page(findings.served) as one, page(findings.served, timezone_id="Asia/Tokyo", locale="en-GB") as other:
        for seat in (one, other):
            await seat.press("i")
            await seat.heading("Findings")
            await seat.press("Enter")
            await seat.heading("wrong hours")
        await one.press("d")
        await one.board.get_by_role("button", name="Dismiss", exact=True).click()
        await one.said("Dismissed as wrong")
        for answer in ("Show what it is now", "Write mine all the same"):
            await other.press("a")
            dialog = other.board.get_by_role("dialog")
            words = await dialog.inner_text()
            assert "A person said wrong" in words
            assert "Its state is dismissed now." in words
            await dialog.get_by_role("button", name=answer).click()
            if answer.startswith("Show"):
                await other.board.wait_for_selector(".pill:has-text('dismissed')")
                ident = (await findings.bench.rows())[0]["id"]
                await ok(findings.agent, "review_finding", finding_id=ident, verdict="minor")
                await other.press("a")
                assert "An agent said minor" in await dialog.inner_text()
                await dialog.get_by_role("button", name="Show what it is now").click()
                await other.board.wait_for_selector("h2:has-text('Verdicts so far (2)')")
                await other.press("a")
                await other.said("Accepted. Its state is filed.")
                break
    assert next(iter((await findings.states()).values())) == "filed"


async def test_the_report_says_what_was_found_and_how_sure_it_is(findings: Found, page: Any) -> None:
    await findings.bench.trust(18, 2)
    async with page(findings.served) as seat:
        await seat.press("r")
        await seat.heading("Report")
        cells = await seat.board.locator("tbody tr").first.locator("th, td").all_inner_texts()
        assert cells[0] == "wrong hours"
        assert cells[-1] == "90 % of 20 (70 % to 97 %)"
        await seat.board.get_by_role("combobox", name="Pipeline").select_option("hours")
        await seat.heading("Report")
        assert await seat.board.locator(".days > li").count() >= 1
        assert seat.complaints == []


@detector(version=1, kind="said")
def everything(call: Call) -> Iterator[Finding]:
    """Everything that is said."""
    for turn in call.turns:
        yield Finding(turn, turn.text, HOSTILE[turn.index], key=HOSTILE[turn.index][:60])


async def look_around(seat: Seat) -> None:
    """Go through all screens of findings."""
    from playwright.async_api import expect

    await seat.heading("Findings")
    assert await seat.board.locator(".rows > li").count() == 50
    await only_text(seat, "the list")
    await seat.board.locator(".rows button").first.click()
    await seat.heading("everything")
    for _ in range(12):
        before = await seat.board.locator("blockquote").inner_text()
        await seat.press("n")
        await expect(seat.board.locator("blockquote")).not_to_have_text(before)
        await only_text(seat, "a finding")
    await seat.press("d")
    await only_text(seat, "a dialog")
    await seat.press("Escape", "r")
    await seat.heading("Report")
    await only_text(seat, "the report")
    assert seat.complaints == []


async def test_hostile_words_of_findings_stay_words_on_the_page_and_in_a_view(
    findings: Found, the_desk: Desk, page: Any, view: Any
) -> None:
    bench = replace(findings.bench, rule=everything.configured())
    await load_lines(the_desk, call_line("call-hostile", *HOSTILE, metadata={"branch": HOSTILE[3]}))
    for text in (HOSTILE[0], HOSTILE[1]):
        await runs.begin(bench.ledger, pipeline=text, spec_hash="h", spec=FILE, mode="run", window={"asked": {}})
    await bench.examine("call-hostile")
    async with page(findings.served) as on_page, view(findings.agent, uri=FINDINGS) as in_host:
        await on_page.press("i")
        await on_page.heading("Findings")
        await on_page.board.get_by_role("combobox", name="State").select_option("")
        await on_page.board.locator(".rows > li").nth(49).wait_for()
        await look_around(on_page)
        assert [url for url in on_page.requests if not url.startswith(f"{findings.served.base}/")] == []
        await arrive(in_host, findings.agent, "list_findings", limit=50)
        await look_around(in_host)
        assert in_host.requests == []
        shared = str(await in_host.seen("contexts"))
    assert not [text for text in HOSTILE if text in shared]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_screen_of_findings_breaks_a_rule_of_accessibility(
    findings: Found, page: Any, view: Any, violations: Any, theme: str, size: tuple[int, int]
) -> None:
    await findings.bench.trust(3)
    async with page(findings.served, size, theme) as on_page, view(findings.agent, size, theme, FINDINGS) as in_host:
        await on_page.press("i")
        await arrive(in_host, findings.agent, "list_findings", state="new")
        for seat in (on_page, in_host):
            await seat.heading("Findings")
            assert await violations(seat) == []
            await seat.board.locator(".rows button").first.click()
            await seat.heading("wrong hours")
            assert await violations(seat) == []
            await seat.board.get_by_role("button", name="Dismiss…").click()
            assert await violations(seat) == []
            await seat.press("Escape", "r")
            await seat.heading("Report")
            assert await violations(seat) == []
            assert await seat.board.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "it scrolls sideways"
            )
            assert seat.complaints == []
