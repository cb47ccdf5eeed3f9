"""Search looks for words at their edges, whatever index there is and however many issues hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from postgres import PostgresServer
from pydantic import SecretStr
from sqlalchemy import Connection, event, select, update
from transactions import at, new_org

from calltriage.desk.database import issue_search
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings
from calltriage.desk.handlers.issues import create_issue, delete_issue, list_issues, update_issue
from calltriage.matching.folding import exact_line, folded, unaccented
from calltriage.operations.issues import CreateIssue, DeleteIssue, ListIssues, UpdateIssue

PIECES = [
    "a", "b", "ab", "A", "%", "_", "\\", '"', "'", " ", "\n", "ß", "ss", "SS", "İ", "i", "退", "款", "退款", "😀",
    "’", "—", "don't", "’", "—", "don't", "é",
    "e\u0301", "t-", "T", "1", "0", "1001", "card", "CARD", "ς", "Σ", "*", "AND", "NEAR", "(", ":", "-", "^",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join)


def found(connection: Connection, org: str, text: str, **more: Any) -> list[int]:
    """Numbers of all issues that a search lists, page by page."""
    numbers, cursor = list[int](), None
    while True:
        call = ListIssues(search=text, limit=3, cursor=cursor, **more)
        body = list_issues(at(connection, org, 10_000), call).body
        numbers += [item["number"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return numbers


def holds(text: str, wanted: str) -> bool:
    """Whether a text holds what is wanted: every word of letters and digits; anything else as it is written."""
    said, asked = (f" {' '.join(unaccented(exact_line(one)).split())} " for one in (text, wanted))
    pieces = asked.split()
    if not pieces:
        return False
    if all(piece[0].isalnum() and "'" not in piece for piece in pieces):
        words = folded(wanted).split()
        return all(f" {' '.join(unaccented(exact_line(word)).split())} " in said for word in words)
    return (asked[:-1] if pieces[-1].isalpha() else asked) in said


def expected(texts: list[tuple[str, str]], wanted: str) -> list[int]:
    """What the contract says, newest first."""
    digits = folded(wanted).removeprefix("t").removeprefix("-")
    number = int(digits) if digits.isascii() and digits.isdigit() else None
    found = [(1001 + place, f"{title}\n{description}") for place, (title, description) in enumerate(texts)]
    return [its for its, text in reversed(found) if holds(text, wanted) or its == number]


def filed(connection: Connection, org: str, texts: list[tuple[str, str]]) -> list[str]:
    return [
        create_issue(
            at(connection, org, place),
            CreateIssue(title=title, description=description, severity="low", category="Bug"),
        ).body["id"]
        for place, (title, description) in enumerate(texts)
    ]


@pytest.fixture(params=["very few", "few", "many", "many, and none near", "too many", "no index"])
def strategy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "very few":
        monkeypatch.setattr(issue_search, "NAMED", 0)
    if request.param.startswith("many"):
        monkeypatch.setattr(issue_search, "FEW", 1)
        monkeypatch.setattr(issue_search, "FIRST", 0)
        monkeypatch.setattr(issue_search, "NEAR", 0 if "none" in request.param else 4)
    if request.param == "too many":
        for name, most in {"FEW": 0, "FIRST": 0, "MOST": 0, "NEAR": 2}.items():
            monkeypatch.setattr(issue_search, name, most)
    return request.param


@pytest.mark.slow
@budget(derandomize=True, deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=9), asked=st.lists(TEXTS, min_size=1, max_size=6))
def test_a_search_finds_the_issues_that_hold_the_text_newest_first(
    tmp_path: Path,
    database_url: SecretStr | None,
    strategy: str,
    texts: list[tuple[str, str]],
    asked: list[str],
) -> None:
    pieces = [text[start : start + size] for text, _ in texts for start in (0, 1) for size in (1, 2, 3)]

    def check(connection: Connection) -> None:
        kept = "none" if strategy == "no index" else "trigrams"
        connection.execute(update(settings).where(settings.c.name == "search_index").values(value=kept))
        org, other = new_org(connection), new_org(connection)
        filed(connection, other, [("a card 退款", "1001 %_\\")] * 3)
        filed(connection, org, texts)
        for wanted in [*asked, *filter(None, pieces)]:
            assert found(connection, org, wanted) == expected(texts, wanted), wanted

    async def run() -> None:
        store = Store(tmp_path / "desk", database_url)
        await store.write(check)
        await store.close()

    anyio.run(run)


def test_on_postgresql_matches_are_not_counted_where_the_first_issues_hold_enough(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    asked = list[str]()

    def check(connection: Connection) -> None:
        org = new_org(connection)
        filed(connection, org, [(f"Refund {n}", "") for n in range(9)])
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        listed = list_issues(at(connection, org, 10_000), ListIssues(search="refund", limit=3)).body["items"]
        assert [item["number"] for item in listed] == [1009, 1008, 1007]

    async def run(url: str) -> None:
        store = Store(tmp_path / "desk", SecretStr(url))
        await store.write(check)
        await store.close()

    with postgres.emptied_desk() as url:
        anyio.run(run, url)
    assert asked
    assert not any(statement.startswith("SELECT count(") for statement in asked)


async def test_a_search_for_frequent_words_reads_a_bounded_number_of_issues_and_leads_on(
    tmp_path: Path, database_url: SecretStr | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {"NAMED": 2, "FEW": 3, "FIRST": 2, "MOST": 4, "NEAR": 10}.items():
        monkeypatch.setattr(issue_search, name, most)

    def check(connection: Connection) -> None:
        org = new_org(connection)
        titles = ["lost card"] * 5 + ["lost", "card"] * 15
        filed(connection, org, [(title, "") for title in titles])

        def page(cursor: str | None, text: str = "lost card") -> tuple[list[int], str | None]:
            body = list_issues(at(connection, org, 10_000), ListIssues(search=text, limit=3, cursor=cursor)).body
            return [item["number"] for item in body["items"]], body["next_cursor"]

        cursor, pages = None, list[list[int]]()
        while not pages or cursor is not None:
            numbers, cursor = page(cursor)
            pages.append(numbers)
        assert pages == [[], [], [], [1005, 1004, 1003], [1002, 1001]]
        assert page(None, "lost cards") == ([], None), "a word that no issue holds"

    store = Store(tmp_path / "desk", database_url)
    await store.write(check)
    await store.close()


async def test_several_words_of_which_one_is_rare_are_found_however_many_issues_hold_the_others(
    tmp_path: Path, database_url: SecretStr | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {"NAMED": 1, "FEW": 1, "FIRST": 1, "MOST": 2, "NEAR": 3}.items():
        monkeypatch.setattr(issue_search, name, most)

    def check(connection: Connection) -> None:
        org = new_org(connection)
        filed(connection, org, [("stolen card", ""), ("stolen card", "")] + [("lost card", "")] * 9)
        body = list_issues(at(connection, org, 10_000), ListIssues(search="card stolen")).body
        assert ([item["number"] for item in body["items"]], body["next_cursor"]) == ([1002, 1001], None)

    store = Store(tmp_path / "desk", database_url)
    await store.write(check)
    await store.close()


async def test_search_follows_what_happens_to_an_issue(tmp_path: Path, database_url: SecretStr | None) -> None:
    def check(connection: Connection) -> None:
        org = new_org(connection)
        ids = filed(connection, org, [("Lost card", "first"), ("Lost purse", "second"), ("Found", "third")])
        assert found(connection, org, "LOST") == [1002, 1001]
        update_issue(at(connection, org, 50), UpdateIssue(issue_id=ids[0], title="Stolen card"))
        assert found(connection, org, "lost") == [1002]
        assert found(connection, org, "stolen") == [1001]
        assert found(connection, org, "stolen", status=["done"]) == []
        update_issue(at(connection, org, 60), UpdateIssue(issue_id=ids[2], status="done"))
        assert found(connection, org, "d") == []
        assert found(connection, org, "card stolen") == [1001], "in any order"
        assert found(connection, org, '"card stolen"') == [], "as it is written"
        assert found(connection, org, "“stolen card”") == [1001]
        delete_issue(at(connection, org, 70), DeleteIssue(issue_id=ids[1]))
        assert found(connection, org, "lost") == []
        assert found(connection, org, "t-1003") == [1003]

    store = Store(tmp_path / "desk", database_url)
    await store.write(check)
    kept = select(settings.c.value).where(settings.c.name == "search_index")
    assert await store.read(lambda connection: connection.execute(kept).scalar_one()) == "trigrams"
    await store.close()


FINDS = [
    ("Customer’s card was refused", "customer's card"), ("Customer’s card was refused", "customer"),
    ("Customer’s card was refused", "REFUSED card"), ("Cancelación en Málaga", "cancelacion malaga"),
    ("İADE İSTİYORUM", "iade istiyorum"), ("請求 が 二 回", "請求が二回"),
    ("reim\u00adbursement lost", "reimbursement"),
    ("The fee is $5.", "$5"), ("Hold on — that was never agreed", "hold on—that"), ("100% done", "100% d"),
    ("ยกเลิก คำสั่ง", "คำสั่ง"),
    ("מִסְפָּר ההזמנה", "מספר"), ("Order ٤٤١٧", "4417"),
    ("Charged fifty dollars", "$50"), ("Charged $50 twice", "fifty dollars"), ("Told to come at half past three", "3:30"),
    ("Told to come at 3:30", "come three thirty"), ("Fee of five fifty", "$5.50"), ("Fee of $5.50", '"of five fifty"'),
    ("$5.50 a week", "five fifty a week"), ("$5.50 per week", "five fifty"),
    ("ZIP is zero two one three nine", "02139"), ("PIN 0441 was refused", "zero four four one"),
    ("Das ist um 15 Uhr 30 und nicht das", "15:30"), ("The number is five five five zero one", "55501"),
]  # fmt: skip
FINDS_NOT = [
    ("The fee is $50.", "$5"), ("The slot is unconfirmed, sorry", "confirmed, sorry"), ("No, I can't", "can"),
    ("concatenated", "cat"), ("Take 150 mg", "50 mg"), ("at 12:30", "12"), ("version 11.5", "1.5"),
    ("ZIP is 02139", "2139"), ("PIN zero four four one", "441"),
    ("Fee of $550", "$5.50"), ("Room 11", "once"), ("five hundred dollars", "$5"),
]  # fmt: skip


async def test_words_of_issues_are_compared_as_all_words_are(tmp_path: Path, database_url: SecretStr | None) -> None:
    def check(connection: Connection) -> None:
        for titles, expected_ones in ((FINDS, [1001]), (FINDS_NOT, [])):
            for title, wanted in titles:
                org = new_org(connection)
                filed(connection, org, [(title, ""), ("other", "words")])
                assert found(connection, org, wanted) == expected_ones, (title, wanted)

    store = Store(tmp_path / "desk", database_url)
    await store.write(check)
    await store.close()
