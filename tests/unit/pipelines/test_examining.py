"""What the detectors of a file make of a call: masked where the file asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_calls import call_of

from calltriage.pipelines.examining import examine, prepared
from calltriage.pipelines.spec import SpecError, parse_spec

CALL = call_of([("agent", "your card 4111 1111 1111 1111 is guaranteed")])
FILE = 'name = "line"\nredact = "{redact}"\n[[detect]]\nuse = "forbidden"\nphrases = ["1111 is guaranteed"]\n'
HOOK = "def mask(text):\n    return text.replace('guaranteed', '...')\ndef fails(text):\n    raise LookupError(text)\n"


async def quotes(redact: str, folder: Path) -> tuple[list[str], list[str | None]]:
    async with prepared(parse_spec(FILE.format(redact=redact), folder=folder)) as detectors:
        examination = await examine(CALL, detectors)
    return [one.verified.quote for one in examination.found], [one.error for one in examination.results]


async def test_what_a_file_masks_is_masked_before_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "acme_masks.py").write_text(HOOK)

    assert await quotes("builtin", tmp_path) == (["[card] is guaranteed"], [None])
    assert await quotes("acme_masks:mask", tmp_path) == (["1111 is ..."], [None])


async def test_a_redactor_that_fails_fails_the_detector_and_lets_no_word_pass(tmp_path: Path) -> None:
    (tmp_path / "acme_fails.py").write_text(HOOK)

    found, errors = await quotes("acme_fails:fails", tmp_path)

    assert found == []
    assert errors == ["The redactor raised LookupError; the text is not used."]


@pytest.mark.parametrize("redact", ["built-in", "no_such_module_at_all:mask", "json:nothing"])
async def test_a_redactor_that_is_none_is_told_with_its_line(redact: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="line 2: redact is wrong"):
        await quotes(redact, tmp_path)
