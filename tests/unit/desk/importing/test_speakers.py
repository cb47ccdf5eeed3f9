"""Speakers of a call stay as many as they were, under their names."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import call_line, load_lines

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import ImportFileError
from calltriage.operations.calls import GetCall


def spoken_by(labels: list[Any]) -> str:
    return call_line("spoken", turns=[{"speaker": one, "text": f"turn {n}"} for n, one in enumerate(labels)])


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["agent", "caller"], ["assistant", "user"]),
        (["assistant", "caller", "agent"], ["assistant", "user", "agent"]),
        (["caller", "agent", "customer"], ["caller", "assistant", "customer"]),
        (["Agent", "agent", "CALLER"], ["assistant", "assistant", "user"]),
        ([0, 1], ["0", "1"]), ([1.0, 2.5], ["1", "2.5"]), ([None, "caller"], [None, "user"]),
        (["Dana", "speaker_1"], ["Dana", "speaker_1"]),
    ],
)  # fmt: skip
async def test_speakers_stay_as_many_as_they_were(
    the_desk: Desk, client: Client, labels: list[Any], shown: list[Any]
) -> None:
    await load_lines(the_desk, spoken_by(labels))
    call = await client.send(GetCall(call_id="spoken"))
    assert [turn.user for turn in call.transcripts or []] == shown
    whole = (call.concatenated_transcript or "").split("\n")
    assert whole == [f"turn {n}" if who is None else f"{who}: turn {n}" for n, who in enumerate(shown)]


@pytest.mark.parametrize("label", [True, "", ["agent"], "x" * 65])
async def test_a_speaker_that_is_no_name_is_refused(the_desk: Desk, label: Any) -> None:
    with pytest.raises(ImportFileError):
        await load_lines(the_desk, spoken_by([label]))
