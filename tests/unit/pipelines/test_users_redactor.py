"""A user's redactor in a process of its own: what it does wrong lets no text pass and stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from pipeline_calls import call_of

from calltriage.errors import SettingsError
from calltriage.pipelines.examining import examine, prepared
from calltriage.pipelines.redaction import BuiltIn, RedactionError, Redactor
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.users_redactor import opened_redactor

CODE = """
import os

def mask(text):
    print("said", text, flush=True)
    if "hang" in text:
        while True:
            pass
    if "raise" in text:
        raise LookupError(text)
    if "exit" in text:
        os._exit(3)
    if "none" in text:
        return None
    if "long" in text:
        return "x" * (17 * 2**20)
    if "environment" in text:
        return ",".join(sorted(os.environ))
    return text.replace("north", "(somewhere)")
"""

Open = Callable[..., AbstractAsyncContextManager[Redactor | None]]


@pytest.fixture
def users(tmp_path: Path) -> Open:
    """Opens the redactor of the user's own module."""
    (tmp_path / "acme_masking.py").write_text(CODE)

    def opens(function: str = "mask", deadline_s: float = 30.0) -> AbstractAsyncContextManager[Redactor | None]:
        return opened_redactor(f"acme_masking:{function}", tmp_path, deadline_s)

    return opens


async def test_a_users_function_masks_texts_of_which_known_values_are_masked_before(users: Open) -> None:
    async with users() as redactor:
        assert redactor is not None
        one, other = await redactor.mask(["the north, Smith", "Smith \ud800"], ["Smith"])

    assert (one.text, other.text) == ("the (somewhere), [known]", "[known] \ud800")
    assert one.original(0, len(one.text)) == (0, len("the north, Smith"))


async def test_a_function_that_raises_exits_or_answers_nonsense_lets_no_text_pass_and_goes_on(
    users: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", "secret")
    monkeypatch.setenv("USERS_OWN", "kept")
    line = next(number for number, text in enumerate(CODE.split("\n"), 1) if "raise LookupError" in text)
    says = {
        "raise": "Redactor acme_masking:mask raised LookupError in acme_masking.py line {line}; the text is not used.",
        "none": "Redactor acme_masking:mask gave no text; the text is not used.",
        "exit": "The process of redactor acme_masking:mask ended on this call; the text is not used.",
        "long": "Redactor acme_masking:mask answered with more than 16 MiB on this call; the text is not used.",
    }

    async with users() as redactor:
        assert redactor is not None
        for mood, says_ in says.items():
            with pytest.raises(RedactionError) as failed:
                await redactor.mask(["fine", f"{mood} words"])
            assert str(failed.value) == says_.format(line=line)
        [environment] = await redactor.mask(["environment"])

    assert "USERS_OWN" in environment.text
    assert "CALLTRIAGE_" not in environment.text


async def test_a_function_that_hangs_is_stopped_and_fails_what_it_was_asked_for(users: Open, tmp_path: Path) -> None:
    file = (
        'name = "line"\nredact = "acme_masking:mask"\n[limits]\nseconds_per_call = "2s"\n'
        '[[detect]]\nuse = "forbidden"\nphrases = ["hang", "north"]\n'
    )
    async with prepared(parse_spec(file, folder=tmp_path)) as detectors:
        hung = await examine(call_of([("agent", "we hang on")]), detectors)
        fine = await examine(call_of([("agent", "to the north")]), detectors)

    assert hung.found == ()
    assert [one.error for one in hung.results] == [
        "Redactor acme_masking:mask took longer than 2 s on this call and was stopped (1 of 3 times before it is switched "
        "off); the text is not used."
    ]
    assert [one.verified.quote for one in fine.found] == ["(somewhere)"]


async def test_a_file_names_the_built_in_one_a_function_or_none(tmp_path: Path) -> None:
    async with opened_redactor(None, tmp_path, 5) as none, opened_redactor("builtin", tmp_path, 5) as ours:
        assert none is None
        assert isinstance(ours, BuiltIn)
    for named in ("built_in", "acme_nothing:mask", "json:nothing"):
        with pytest.raises(SettingsError):
            async with opened_redactor(named, tmp_path, 5):
                pass
