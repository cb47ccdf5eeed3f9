"""The recall that follows from calls labelled blind, and which calls are named to be labelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledgers import Url, opened_ledger
from sqlalchemy import Connection, event, insert, select

from calltriage.errors import NotFound
from calltriage.pipelines.ledger import Ledger, reviews
from calltriage.pipelines.ledger.blind import Recall
from calltriage.pipelines.ledger.reviews import Review, Verdict
from calltriage.pipelines.ledger.tables import findings, labels, results
from calltriage.pipelines.reports.figures import gathered
from calltriage.pipelines.reports.markdown import as_markdown
from calltriage.pipelines.reports.page import as_page
from calltriage.pipelines.reviewing import unflagged

NAME, OTHER = "agent_silence", "talk_over"


@pytest.fixture
async def ledger(tmp_path: Path, ledger_url: Url) -> AsyncIterator[Ledger]:
    """A ledger with twelve calls that two detectors examined: this one flags two, the other one three."""
    async with opened_ledger(tmp_path, ledger_url) as opened:
        for number in range(12):
            await _examined(opened, f"call-{number:02}", NAME, is_found=number < 2)
            await _examined(opened, f"call-{number:02}", OTHER, is_found=number in (1, 2, 3))
        yield opened


async def _examined(
    ledger: Ledger, call_id: str, name: str, *, is_found: bool, version: str = "v1", **more: Any
) -> None:
    at = ledger.now()
    about = {
        "account": ledger.account,
        "call_id": call_id,
        "content_hash": "h",
        "detector": name,
        "version_hash": version,
    }
    verdict = {"verdict": "found" if is_found else "not_found", "at": at, **more}
    await ledger.write(lambda it: it.execute(insert(results).values(about | verdict)) and None)
    if is_found:
        finding = {
            "id": f"{call_id}-{name}", "pipeline": "line", "kind": "silence", "quote": "", "verification": "exact",
            "state": "new", "created_at": at, "updated_at": at, "fingerprint": "v1:1",
        }  # fmt: skip
        await ledger.write(lambda it: it.execute(insert(findings).values(about | finding)) and None)


async def say(ledger: Ledger, call_id: str, verdict: Verdict, name: str = NAME, role: reviews.Role = "human") -> None:
    of = f"{call_id}-{name}" if verdict in (*reviews.RIGHT, "wrong") else None
    said = Review(call_id, name, verdict, "a person", role, finding_id=of)
    await ledger.write(partial(reviews.add, ledger=ledger, review=said))


async def recall(ledger: Ledger) -> Recall | None:
    figures = await ledger.read(partial(gathered, ledger=ledger, since="2026-01-01"))
    return next(one.recall for one in figures.detectors if one.name == NAME)


def test_a_recall_counted_by_hand() -> None:
    """20 calls are flagged, and of 10 that were judged 8 are right: 16 right ones. 400 are not, and of 50 labelled ones 2
    have a miss: 16 missed ones. So half of them are flagged.

    Wilson: 8 of 10 is 0.4902 to 0.9433, so 9.80 to 18.87 calls; 2 of 50 is 0.0110 to 0.1346, so 4.42 to 53.84 calls. With
    x = r / (1 - r), the low bound solves (16 - 16x)² = 6.20² + (37.84x)², so x = 0.2645; the high one (16 - 16x)² =
    2.87² + (11.58x)² beyond 1, so x = 3.64.
    """
    known = Recall.of(flagged=20, judged=10, right=8, unflagged=400, labelled=50, missed=2)
    assert known.value == pytest.approx(0.5)
    assert (known.low, known.high) == pytest.approx((0.2645 / 1.2645, 3.64 / 4.64), abs=0.002)
    assert (known.miss_low, known.miss_high) == pytest.approx((0.0110, 0.1346), abs=0.0001)


def test_calls_that_somebody_came_upon_stand_for_themselves() -> None:
    """Of 410 unflagged calls 10 were labelled without being drawn, 4 of them missed: the sample speaks for the other 400."""
    known = Recall.of(
        flagged=20, judged=10, right=10, unflagged=410, labelled=50, missed=2, known=10, known_missed=4
    )  # fmt: skip
    assert known.value == pytest.approx(20 / (20 + 4 + 16))


def test_no_miss_in_a_sample_leaves_a_bound_below_one() -> None:
    known = Recall.of(flagged=20, judged=20, right=20, unflagged=100, labelled=50, missed=0)
    assert (known.value, known.high) == (1, 1)
    assert 0.6 < known.low < 0.8  # up to 7 % of 100 calls may be missed beside 17 to 20 that are found


@pytest.mark.parametrize(
    "counts",
    [
        {"flagged": 5, "judged": 5, "right": 5, "unflagged": 10, "labelled": 0, "missed": 0},
        {"flagged": 5, "judged": 0, "right": 0, "unflagged": 10, "labelled": 5, "missed": 1},
        {"flagged": 0, "judged": 0, "right": 0, "unflagged": 10, "labelled": 5, "missed": 0},
    ],
    ids=["no label", "no verdict", "nothing to find"],
)
def test_without_what_it_follows_from_there_is_no_recall(counts: dict[str, int]) -> None:
    known = Recall.of(**counts)
    assert (known.value, known.low, known.high) == (None, 0, 1)


def test_a_detector_that_flags_nothing_and_misses_something_has_a_recall_of_none_at_all() -> None:
    known = Recall.of(flagged=0, judged=0, right=0, unflagged=10, labelled=5, missed=1)
    assert (known.value, known.low, known.high) == (0, 0, pytest.approx(0))


async def test_a_report_counts_the_recall_from_labels_on_named_calls_and_verdicts_on_findings(ledger: Ledger) -> None:
    named = await unflagged(ledger, 4, NAME)
    for number, call_id in enumerate(named):
        await say(ledger, call_id, "nothing")
        if number == 0:
            await say(ledger, call_id, "missed")  # the last label counts
    beside = next(f"call-{n:02}" for n in range(2, 12) if f"call-{n:02}" not in named)
    await say(ledger, beside, "missed")
    await say(ledger, "call-00", "wrong")
    await say(ledger, "call-00", "right")
    await say(ledger, "call-01", "wrong")
    known = await recall(ledger)
    assert known is not None
    assert known == Recall.of(
        flagged=2, judged=2, right=1, unflagged=10, labelled=4, missed=1, known=1, known_missed=1
    )  # fmt: skip
    assert known.value == pytest.approx(1 / (1 + 1 + 9 / 4))

    figures = await ledger.read(partial(gathered, ledger=ledger, since="2026-01-01"))
    row = f"{known.value:.2f} ({known.low:.2f} to {known.high:.2f}, n 4)"
    text, page = as_markdown(figures), as_page(figures)
    assert f"| agent\\_silence | 2 | 2 | 1 | 10 | 4 | 1 | 0.25 (0.05 to 0.70) | {row} |" in text
    assert f"<td>{row}</td>" in page
    assert "not measured" in text  # the other detector
    assert "not measured" in page


async def test_of_verdicts_of_one_millisecond_the_last_counts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ledger.clock()
    monkeypatch.setattr(ledger, "clock", lambda: at)
    verdicts: list[Verdict] = ["wrong", "right"] * 8
    for verdict in verdicts:
        await say(ledger, "call-00", verdict)
    of_finding = partial(reviews.of_finding, ledger=ledger, finding_id=f"call-00-{NAME}")
    assert [review["verdict"] for review in await ledger.read(of_finding)] == verdicts
    assert await ledger.read(partial(reviews.tallies, ledger=ledger)) == {(NAME, "v1"): reviews.Tally(right=1)}


async def test_agents_labels_and_labels_for_others_count_for_no_recall(ledger: Ledger) -> None:
    for call_id in await unflagged(ledger, 4, NAME):
        await say(ledger, call_id, "missed", role="agent")
        await say(ledger, call_id, "missed", OTHER)
    assert await recall(ledger) is None


async def test_a_call_that_the_present_version_flags_is_no_miss_any_more(ledger: Ledger) -> None:
    [first] = await unflagged(ledger, 1, NAME)
    await say(ledger, first, "missed")
    later = "2099-01-01T00:00:00.000Z"
    await _examined(ledger, first, NAME, is_found=True, version="v2", at=later)
    known = await recall(ledger)
    assert known is not None
    assert (known.flagged, known.unflagged, known.labelled) == (1, 0, 0)


async def test_calls_for_one_detector_may_have_findings_of_others_and_stay_until_they_are_labelled_for_it(
    ledger: Ledger,
) -> None:
    every = {f"call-{number:02}" for number in range(12)}
    assert set(await unflagged(ledger, 50, NAME)) == every - {"call-00", "call-01"}
    assert set(await unflagged(ledger, 50)) == every - {f"call-{number:02}" for number in range(4)}
    await say(ledger, "call-05", "nothing", OTHER)
    assert "call-05" in await unflagged(ledger, 50, NAME)
    assert "call-05" not in await unflagged(ledger, 50, OTHER)
    assert "call-05" not in await unflagged(ledger, 50)


async def test_labels_on_calls_that_were_named_for_all_detectors_count_for_each(ledger: Ledger) -> None:
    [first] = await unflagged(ledger, 1)
    await say(ledger, first, "nothing")
    known = await recall(ledger)
    assert known is not None
    assert (known.labelled, known.known) == (1, 0)


async def test_a_sample_for_an_unknown_detector_names_the_nearest_one(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="Did you mean agent_silence"):
        await unflagged(ledger, 1, "agent_silense")


@pytest.mark.parametrize("detector", [NAME, None])
async def test_calls_are_chosen_before_others_have_to_wait_for_the_write(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, detector: str | None
) -> None:
    write, done = ledger.write, list[str]()

    async def told(change: Callable[[Connection], Any]) -> Any:
        def listened(connection: Connection) -> Any:
            event.listen(connection, "before_cursor_execute", lambda _c, _k, sql, *_: done.append(sql))
            return change(connection)

        return await write(listened)

    monkeypatch.setattr(ledger, "write", told)
    named = await unflagged(ledger, 4, detector)

    kept = await ledger.read(lambda it: set(it.execute(select(labels.c.call_id)).scalars()))
    assert len(named) == 4
    assert kept == set(named)
    assert [sql.split()[0] for sql in done] == ["INSERT"]
