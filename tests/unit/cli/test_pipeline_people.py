"""What people do with findings and incidents at the command line, and the report that they read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from html.parser import HTMLParser
from itertools import count as count_up
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from click.testing import CliRunner, Result
from conftest import DESK_URL, KEY, Clock, endpoints_to
from pipeline_filing import Bench, spec_of
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.cli.main import cli
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.errors import StoreBusyError
from calltriage.operations.attachments import ListAttachments
from calltriage.operations.issues import CreateIssue
from calltriage.operations.resource_links import ListResources
from calltriage.pipelines import counting, filing_step
from calltriage.pipelines.ledger import Ledger, turns
from calltriage.pipelines.ledger.tables import reviews
from calltriage.settings import load_settings
from calltriage.wiring import open_ledger

HOSTILE = "we open at nine thirty </td><script>alert(1)</script> | [x](javascript:y) \u202e"
"""Words that would be markup, a table's end, a link or a direction."""
Act = Callable[[Bench], Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with three calls that have the fault, examined and not filed."""
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "data"))

    async def examine(bench: Bench) -> None:
        await bench.say("call-0", HOSTILE)
        await bench.say("call-1")
        await bench.say("call-2", metadata={"branch": "south"})
        for number in range(3):
            await bench.examine(f"call-{number}")

    on_bench(tmp_path / "data", examine)
    return tmp_path / "data"


def on_bench(folder: Path, act: Act) -> Any:
    """Do something on the desk and the ledger of a data folder."""

    async def run() -> Any:
        clock = Clock()
        desk = Desk(folder, SecretStr(KEY), DESK_URL, clock=clock)
        transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        async with (
            open_ledger(load_settings(data_dir=folder)) as ledger,
            open_client(endpoints_to(transport)) as client,
        ):
            try:
                return await act(Bench(desk, client, ledger, clock, spec_of("")))
            finally:
                await desk.close()

    return anyio.run(run)


def said(*arguments: str, status: int = 0) -> str:
    """What a command prints on standard output."""
    done: Result = CliRunner().invoke(cli, ["pipeline", *arguments])
    assert done.exit_code == status, done.output + repr(done.exception)
    return done.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(*arguments, "--json").splitlines()]


def test_findings_are_listed_for_people_and_for_programs(folder: Path) -> None:
    found = rows("findings", "--state", "new")

    assert {row["call_id"] for row in found} == {"call-0", "call-1", "call-2"}
    assert {row["quote"] for row in found} == {"nine thirty"}
    one = next(row for row in found if row["call_id"] == "call-2")
    head, below, *_ = said("findings", "--call", "call-2").splitlines()[1:]
    assert head.split()[:4] == [one["id"][:12], "new", one["detector"], "call-2"]
    assert below.strip() == "“nine thirty”"
    assert rows("findings", "--state", "filed") == []


def test_an_accepted_finding_is_filed_and_a_dismissed_one_is_not(folder: Path) -> None:
    by_call = {row["call_id"]: row["id"] for row in rows("findings")}
    accepted = json.loads(said("accept", by_call["call-1"][:12], "--json"))
    dismissed = said("dismiss", by_call["call-0"], "--reason", "expected")
    states = {row["call_id"]: row["state"] for row in rows("findings")}
    issues = on_bench(folder, lambda bench: bench.issues())

    assert accepted["state"] == "filed"
    assert "dismissed as expected" in dismissed
    assert states == {"call-0": "dismissed", "call-1": "filed", "call-2": "new"}
    assert [issue.id for issue in issues] == [accepted["issue_id"]]


@pytest.mark.parametrize("turn", [1, 2])
def test_accepting_what_is_busy_keeps_the_verdict_and_says_whether_it_was_filed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """The first turn files the finding, the second one comments on further calls."""
    finding = rows("findings", "--call", "call-1")[0]
    taken, whole = count_up(1), turns.alone

    @asynccontextmanager
    async def alone(ledger: Ledger, *names: str) -> AsyncGenerator[None]:
        if next(taken) == turn:
            raise StoreBusyError("Another process works on the same.")
        async with whole(ledger, *names):
            yield

    for module in (counting, filing_step):
        monkeypatch.setattr(module, "alone", alone)
    done = CliRunner().invoke(cli, ["pipeline", "accept", finding["id"]])

    assert done.exit_code == (1 if turn == 1 else 0), repr(done.exception)
    assert ("The next run files it" in done.stderr) == (turn == 1)
    [after] = rows("findings", "--call", "call-1")
    assert after["state"] == ("accepted" if turn == 1 else "filed")


def test_dismissing_what_was_filed_says_what_a_person_can_undo(folder: Path) -> None:
    finding = rows("findings", "--call", "call-1")[0]["id"]
    said("accept", finding)
    [issue] = on_bench(folder, lambda bench: bench.issues())
    [flag] = on_bench(folder, lambda bench: bench.flags(issue))

    told = said("dismiss", finding, "--reason", "wrong")
    assert flag.id in told
    assert f"stays on {issue.triage_id} until" in told


def test_a_name_of_no_finding_or_of_several_is_refused_with_what_to_do(folder: Path) -> None:
    nothing = CliRunner().invoke(cli, ["pipeline", "accept", "ffffff"])

    assert nothing.exit_code == 1
    assert "calltriage pipeline findings" in str(nothing.exception)
    short = CliRunner().invoke(cli, ["pipeline", "accept", rows("findings")[0]["id"][:4]])
    assert (short.exit_code, str(short.exception)) == (1, "This id is too short: give 6 characters of it at least.")


async def reasons(bench: Bench, verdict: str) -> list[str | None]:
    query = select(reviews.c.reason).where(reviews.c.verdict == verdict)
    return await bench.ledger.read(lambda connection: list(connection.execute(query).scalars()))


def test_a_missed_moment_and_a_call_without_one_are_labels(folder: Path) -> None:
    def label(*arguments: str) -> dict[str, Any]:
        return json.loads(said("missed", *arguments, "--json"))

    missed = label("call-1", "agent_silence", "when do you open")
    nothing = label("call-2", "agent_silence", "--nothing", "--reason", "it was a test call")
    wrong_name = CliRunner().invoke(cli, ["pipeline", "missed", "call-1", "agent_silense", "open"])
    wrong_words = CliRunner().invoke(cli, ["pipeline", "missed", "call-1", "agent_silence", "never said"])

    assert (missed["turn"], missed["detector"], nothing["call_id"]) == (1, "agent_silence", "call-2")
    assert on_bench(folder, partial(reasons, verdict="nothing")) == ["it was a test call"]
    assert "Did you mean agent_silence?" in str(wrong_name.exception)
    assert "no turn has these words" in str(wrong_words.exception)


def test_incidents_are_muted_merged_and_split(folder: Path) -> None:
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    others = next(row for row in rows("incidents") if row["key"] is None)["fingerprint"]
    said("mute", south[:20], "--reason", "known")
    muted = [row["fingerprint"] for row in rows("incidents", "--muted")]
    said("unmute", south)
    said("merge", south, others, "--reason", "one fault")
    merged = rows("incidents")
    finding = rows("findings", "--call", "call-2")[0]["id"]
    said("accept", finding)
    owner = next(row for row in rows("incidents") if row["fingerprint"] == others)
    said("split", south, "--reason", "two faults after all")

    assert muted == [south]
    assert [row["fingerprint"] for row in merged] == [others]
    assert owner["issue_id"] is not None
    assert {row["fingerprint"] for row in rows("incidents")} == {south, others}
    twice = CliRunner().invoke(cli, ["pipeline", "split", south, "--reason", "again"])
    assert "neither merged nor joined" in str(twice.exception)


def test_incidents_show_why_they_are_merged_muted_and_split_on_lines_that_a_terminal_holds(folder: Path) -> None:
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    others = next(row for row in rows("incidents") if row["key"] is None)["fingerprint"]
    long = "every branch was told the hours of the branch in the north, which the release of May mends " * 2
    said("mute", others, "--until-escalating", "--reason", long)
    said("merge", south, others, "--reason", "one | fault")
    shown, merged = said("incidents"), said("incidents", "--merged")
    report = said("report", "--since", "30d")
    said("split", south, "--reason", "two faults")
    split = said("incidents", "--heard")

    words = " ".join(shown.split())
    assert f"muted until it escalates: {long.strip()}" in words
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert f"    into {others[:19]}, merged by a person: one | fault\n" in merged
    assert "    group: south\n" in merged
    assert [line.split()[0] for line in split.splitlines() if line[0] != " "] == ["fingerprint", south[:19]]
    assert "    split by a person: two faults\n" in split
    assert "| why |" in report
    assert "| muted until it escalates\\: every branch" in report


def test_incidents_are_narrowed_to_muted_heard_and_merged_ones(folder: Path) -> None:
    def named(*narrowed: str) -> set[str]:
        return {row["fingerprint"] for row in rows("incidents", *narrowed)}

    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    [others] = named() - {south}
    muted = json.loads(said("mute", south, "--until-escalating", "--reason", "known", "--json"))
    assert (muted["muted"], muted["muted_why"]) == ("until_escalating", "known")
    assert (named("--muted"), named("--heard"), named("--merged")) == ({south}, {others}, set())
    said("merge", south, others, "--reason", "one fault")
    assert (named("--muted"), named("--heard"), named("--merged")) == (set(), {others}, {south})


def test_a_merged_incident_is_told_with_the_one_that_it_was_merged_into(folder: Path) -> None:
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    others = next(row for row in rows("incidents") if row["key"] is None)["fingerprint"]
    said("merge", south, others, "--reason", "one fault")
    for arguments in (("mute", south), ("unmute", south), ("merge", south, others), ("merge", others, south[:19])):
        more = () if arguments[0] == "unmute" else ("--reason", "more")
        done = CliRunner().invoke(cli, ["pipeline", *arguments, *more])
        told = f"{south[:19]} is merged into {others[:19]}; split it first, or name that one."
        assert (done.exit_code, str(done.exception)) == (1, told)
    said("split", south[:19], "--reason", "two faults after all")
    said("mute", south, "--reason", "known")


def test_an_incident_is_not_merged_with_itself(folder: Path) -> None:
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    done = CliRunner().invoke(cli, ["pipeline", "merge", south, south[:20], "--reason", "one"])

    assert done.exit_code == 1
    assert "cannot be merged with itself" in str(done.exception)


def test_a_split_waits_until_nobody_files_for_the_incident(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    others = next(row for row in rows("incidents") if row["key"] is None)["fingerprint"]
    said("merge", south, others, "--reason", "one fault")
    monkeypatch.setattr(turns, "PATIENCE_S", 0.1)

    async def split_meanwhile(bench: Bench) -> Result:
        async with turns.alone(bench.ledger, f"incident {others}"):
            split = ["pipeline", "split", south, "--reason", "two"]
            return await anyio.to_thread.run_sync(partial(CliRunner().invoke, cli, split))

    done = on_bench(folder, split_meanwhile)
    assert "Another process works on the same" in str(done.exception)
    assert [row["fingerprint"] for row in rows("incidents")] == [others]


def test_a_split_takes_a_ticket_and_asks_which_where_it_means_several(folder: Path) -> None:
    theirs = CreateIssue(title="Wrong hours", severity="low", category="Dialogue")
    ticket = on_bench(folder, lambda bench: bench.client.send(theirs)).triage_id
    south = next(row for row in rows("incidents") if row["key"] == "south")["fingerprint"]
    others = next(row for row in rows("incidents") if row["key"] is None)["fingerprint"]
    said("accept", rows("findings", "--call", "call-1")[0]["id"])  # joins their issue
    said("merge", south, ticket, "--reason", "one fault")
    several = CliRunner().invoke(cli, ["pipeline", "split", ticket, "--reason", "two"])
    said("split", south[:12], "--reason", "two faults")
    left = json.loads(said("split", ticket.lower(), "--reason", "another fault", "--json"))
    nothing = CliRunner().invoke(cli, ["pipeline", "split", ticket, "--reason", "again"])

    assert all(one[:19] in str(several.exception) for one in (south, others))
    assert left == {"fingerprint": others, "left": ticket}
    assert "No incident has this fingerprint or ticket" in str(nothing.exception)


def test_the_command_in_the_comment_on_a_joined_issue_works_as_it_stands(folder: Path) -> None:
    theirs = CreateIssue(title="Wrong hours", severity="low", category="Dialogue")
    issue = on_bench(folder, lambda bench: bench.client.send(theirs))
    said("accept", rows("findings", "--call", "call-1")[0]["id"])
    [comment] = on_bench(folder, lambda bench: bench.comments(issue))
    _, command = comment.split("calltriage pipeline ")

    assert "has an issue of its own" in said(*shlex.split(command))


def test_the_report_says_what_was_found_and_no_word_of_a_caller_is_markup(folder: Path, tmp_path: Path) -> None:
    said("accept", rows("findings", "--call", "call-1")[0]["id"])
    page = tmp_path / "report.html"
    text = said("report", "--since", "30d", "--html", str(page))

    assert "3 findings: 1 filed, 2 new" in text
    assert "1.00 (0.21 to 1.00, n 1)" in text
    assert "script" not in text.lower()
    html = page.read_text(encoding="utf-8")
    assert {tag for tag, _ in tags(html)} >= {"svg", "table", "rect", "circle"}
    assert_harmless(html)


@pytest.mark.parametrize(("columns", "is_laid_out"), [(120, True), (80, False)])
def test_a_wide_terminal_shows_the_report_laid_out_with_every_name_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int, is_laid_out: bool
) -> None:
    finding = rows("findings")[0]
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = said("report", "--since", "2000-01-01")
    assert ("##" not in shown) is is_laid_out
    assert ("\\_" not in shown) is is_laid_out
    if is_laid_out:
        assert finding["id"] in shown
        assert finding["detector"] in shown


def test_the_report_for_a_program_is_one_object(folder: Path) -> None:
    told = json.loads(said("report", "--since", "30d", "--json"))
    [detector] = told["detectors"]
    assert (detector["name"], sum(detector["states"].values())) == ("wrong_hours", len(told["waiting"]))


def test_a_report_with_hostile_words_everywhere_is_harmless(folder: Path, tmp_path: Path) -> None:
    async def poison(bench: Bench) -> None:
        from calltriage.pipelines.ledger.tables import findings, incidents

        words = (
            '"><img src=x onerror=alert(1)><script>alert(2)</script>\n# head\n| a | [l](javascript:b) ![i](http://e)'
        )
        for table, names in (
            (findings, ("detector", "quote", "note", "call_id")),
            (incidents, ("detector", "kind", "key")),
        ):
            await bench.ledger.write(
                lambda it, t=table, n=names: it.execute(t.update().values(dict.fromkeys(n, words)))
            )

    on_bench(folder, poison)
    page = tmp_path / "report.html"
    text = said("report", "--since", "2026-01-01", "--html", str(page))

    assert_harmless(page.read_text(encoding="utf-8"))
    assert not re.search(r"^# head", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"(?<!\\)<", text)


ALLOWED = {"href": "", "src": ""}


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    found = list[tuple[str, dict[str, str | None]]]()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


def assert_harmless(page: str) -> None:
    """Nothing in a page runs, loads or leads anywhere, and nothing hides."""
    for tag, attributes in tags(page):
        assert tag not in {"script", "img", "iframe", "object", "embed", "link", "form", "a", "base"}, tag
        assert not [name for name in attributes if name.startswith("on") or name in ALLOWED], (tag, attributes)
    assert "\u202e" not in page
    assert "default-src 'none'" in page


def test_calls_without_a_finding_are_sampled_until_they_are_labelled(folder: Path) -> None:
    async def examined(bench: Bench) -> None:
        from calltriage.pipelines.ledger.tables import results

        row = {
            "account": bench.ledger.account,
            "content_hash": "h", "detector": "agent_silence", "version_hash": "v", "verdict": "not_found",
            "at": bench.ledger.now(),
        }  # fmt: skip
        for name in ("quiet-0", "quiet-1"):
            await bench.say(name, "we open at ten")
        ids = ("quiet-0", "quiet-1", "call-0")
        await bench.ledger.write(lambda it: it.execute(results.insert(), [{**row, "call_id": one} for one in ids]))

    on_bench(folder, examined)
    before = said("sample", "--unflagged", "10").split()
    said("missed", "quiet-0", "agent_silence", "--nothing")

    assert sorted(before) == ["quiet-0", "quiet-1"]
    assert said("sample").split() == ["quiet-1"]
    assert sorted(said("sample", "--detector", "agent_silence").split()) == ["call-0", "quiet-1"]
    assert "not measured" in said("report", "--since", "30d")


async def pages_of(bench: Bench) -> list[str]:
    """The type of each resource that is attached to the first issue, and the name of each stored file."""
    [issue] = await bench.issues()
    links = (await bench.client.send(ListResources(issue_id=issue.id))).items
    files = (await bench.client.send(ListAttachments())).items
    ids = {one.id: one.name for one in files}
    return [f"{link.resource_type} {ids[link.resource_id]}" for link in links]


def test_a_report_is_attached_to_an_issue_as_a_page(folder: Path) -> None:
    theirs = CreateIssue(title="Wrong hours", severity="low", category="Dialogue")
    issue = on_bench(folder, lambda bench: bench.client.send(theirs))
    done = CliRunner().invoke(cli, ["pipeline", "report", "--since", "30d", "--attach-to", issue.triage_id.lower()])
    [page] = on_bench(folder, pages_of)

    assert (done.exit_code, done.stderr) == (0, f"Attached to {issue.triage_id}.\n")
    assert page.startswith("file pipeline report ")
    assert page.endswith(".html")


def test_a_report_for_no_issue_is_attached_to_none(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["pipeline", "report", "--attach-to", "T-9999"])

    assert done.exit_code == 1
    assert str(done.exception) == "No issue has this ticket number."
    assert on_bench(folder, lambda bench: bench.client.send(ListAttachments())).items == []
