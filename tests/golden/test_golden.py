"""The surface that agents see, pinned tool by tool: a change shows in the diff of a file, or fails here."""

from golden.first_answers import first_answers
from golden.hosts import FOLDER, installed
from golden.update import HERE, surface

from calltriage.first_answers import FILE


def test_every_tool_is_listed_as_its_golden_file_says() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.json")}
    assert surface() == written, (
        "the surface changed: run `uv run --group dev python tests/golden/update.py` and look at the diff"
    )


def test_each_host_on_each_system_gets_what_its_golden_file_says() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
    assert installed() == written, (
        "what hosts get changed: run `uv run --group dev python tests/golden/update.py` and look at the diff"
    )


async def test_the_answers_that_come_with_the_code_are_the_servers_own() -> None:
    assert await first_answers() == FILE.read_text(encoding="utf-8"), (
        "what hosts are answered first changed: run `uv run --group dev python tests/golden/update.py`"
    )
