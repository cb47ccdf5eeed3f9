"""Take the README's pictures of pages: invented calls on a desk of their own, seen in Chromium.

uv run --group dev python manifests/pictures/photograph.py            take them all
uv run --group dev python manifests/pictures/photograph.py --check    exit 1 and name those of pages that have changed

It needs Debian's chromium. Pixels differ with its version, so a picture keeps a digest of its page. Only a page of another
digest is taken again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner
from playwright.sync_api import Page, sync_playwright
from running import running

from calltriage.cli.main import cli

HERE = Path(__file__).parent
STYLE = HERE.parents[1] / "src" / "calltriage" / "server" / "surfaces" / "board" / "board.css"
WIDTH = 760
REFUND = "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e01"
OUTAGE = "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e02"
PLAN: tuple[dict[str, Any], ...] = (
    {"tool": "create_issue", "arguments": {
        "title": "Caller reached billing instead of outages", "severity": "medium", "category": "Routing",
        "resource_links": [{"resource_type": "call", "resource_id": OUTAGE}]}},
    {"tool": "add_flag", "arguments": {
        "issue_id": "$1", "call_id": OUTAGE, "type": "wrong_queue", "quote": "connecting you to billing"}},
    {"tool": "create_issue", "arguments": {
        "title": "Refund transferred without verifying the account", "severity": "high", "category": "Dialogue",
        "description": "The agent moved the caller on before asking who was on the line.",
        "resource_links": [{"resource_type": "call", "resource_id": REFUND}]}},
    {"tool": "add_flag", "arguments": {
        "issue_id": "$3", "call_id": REFUND, "type": "skipped_verification", "quote": "No, that's fine.",
        "note": "The account was never checked."}},
    {"tool": "add_flag", "arguments": {
        "issue_id": "$3", "call_id": REFUND, "type": "ignored_caller", "quote": "Transferring you now. Goodbye."}},
    {"tool": "link_issue", "arguments": {
        "issue_id": "$3", "related_issue_id": "$1", "relation_type": "related_to"}},
)  # fmt: skip

PIPELINE = """\
name = "refund-line"
calls = { settle = "0s" }

[[detect]]
use = "agent_silence"
at_least = "6s"

[[detect]]
name = "skipped_verification"
use = "before"
first = ["account number", "date of birth"]
then = ["transferring you"]
severity = "high"

[[detect]]
use = "caller_repeats"
"""
CALLS = 28
SINCE, UNTIL = "2026-05-01", "2026-05-15"
VERDICTS: tuple[tuple[str, str, int], ...] = (
    ("accept", "agent_silence", 2),
    ("accept", "skipped_verification", 2),
    ("dismiss", "agent_silence", 1),
)
"""What a person says of findings: of how many of a detector."""


def _call(number: int) -> str:
    """A line of an import file: an invented call of the refund line. Every third is slow, every fourth skips a question."""
    wait = 9.0 if number % 3 == 0 else 1.0
    asked = "May I have your account number first?" if number % 4 else "No need to check who you are."
    said = [
        ("agent", "Northwind Energy, this is Ava. How can I help?", 0.5),
        ("caller", f"I paid invoice {4000 + number} twice and want one payment back.", 0.8),
        ("agent", f"I have found invoice {4000 + number}. {asked}", wait),
        ("caller", f"It is {7310 + number}, as I said before." if number % 4 else "As you like.", 0.7),
        ("agent", "Thank you. I am transferring you to the refunds team.", 0.9),
        *(
            [("caller", f"I paid invoice {4000 + number} twice and want one payment back.", 0.8)]
            if number % 7 == 5
            else []
        ),
    ]
    turns, at = list[dict[str, Any]](), 0.0
    for speaker, text, pause in said:
        lasts = len(text) / 15
        turns.append({"speaker": speaker, "text": text, "start_ms": (at + pause) * 1000, "duration_ms": lasts * 1000})
        at += pause + lasts
    began = f"2026-05-{1 + number * 5 % 14:02d}T{8 + number % 9:02d}:{number % 60:02d}:00.000Z"
    return json.dumps({"call_id": f"call-{number:03d}", "created_at": began, "turns": turns})


@dataclass(frozen=True)
class Command:
    """The command line, on a data folder of its own."""

    folder: Path

    @property
    def env(self) -> dict[str, str | None]:
        """The variables of the environment that differ: no setting of this machine, and the folder."""
        ours = dict.fromkeys(name for name in os.environ if name.startswith("CALLTRIAGE_"))
        return {**ours, "CALLTRIAGE_DATA_DIR": str(self.folder / "desk")}

    def __call__(self, *arguments: str | Path) -> str:
        """What one command prints. All run in this process: each start of Python would cost a second."""
        done = CliRunner(env=self.env).invoke(cli, [*map(str, arguments)], catch_exceptions=False)
        if done.exit_code:
            sys.exit(f"{arguments} failed: {done.output}")
        return done.stdout

    @contextmanager
    def board(self) -> Iterator[str]:
        """The link of the running board."""
        env = {name: value for name, value in {**os.environ, **self.env}.items() if value is not None}
        with running("board", env=env) as link:
            yield link


def report(folder: Path) -> str:
    """The page of `calltriage pipeline report` on invented calls, with fixed days.

    It ends before the findings that wait: they stand in the order in which they were found, which differs from run to run.
    """
    run = Command(folder)
    (folder / "calls.jsonl").write_text("\n".join(map(_call, range(CALLS))), encoding="utf-8")
    (folder / "refund-line.toml").write_text(PIPELINE, encoding="utf-8")
    run("desk", "import", folder / "calls.jsonl")
    run("pipeline", "run", folder / "refund-line.toml")
    found = [json.loads(line) for line in run("pipeline", "findings", "--json").splitlines()]
    found.sort(key=lambda one: (one["call_id"], one["id"]))
    for verdict, detector, count in VERDICTS:
        mine = [one for one in found if one["detector"] == detector][:count]
        found = [one for one in found if one not in mine]
        for one in mine:
            run("pipeline", verdict, one["id"], *(("--reason", "wrong") if verdict == "dismiss" else ()))
    run("pipeline", "report", "--since", SINCE, "--html", folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    page, _, _ = page.partition("<h2>Findings that wait")
    return re.sub(rf"({SINCE} to )[\d-]{{10}}", rf"\g<1>{UNTIL}", page)


@contextmanager
def _report(folder: Path) -> Iterator[str]:
    seen = folder / "seen.html"
    seen.write_text(report(folder), encoding="utf-8")
    yield seen.as_uri()


@contextmanager
def _board(folder: Path) -> Iterator[str]:
    run, plan = Command(folder), folder / "plan.jsonl"
    plan.write_text("\n".join(map(json.dumps, PLAN)), encoding="utf-8")
    run("desk", "sample")
    run("apply", plan)
    with run.board() as link:
        yield link


def _at_a_call(page: Page) -> str:
    page.wait_for_selector("h1:has-text('Issues')")
    page.get_by_role("button", name="Refund transferred").click()
    page.wait_for_selector("h1:has-text('Refund')")
    page.keyboard.press("c")
    page.wait_for_selector("h1:has-text('Call')")
    page.keyboard.press("j")
    page.wait_for_selector("main:not([aria-busy])")
    return page.inner_text("body") + STYLE.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Photograph:
    """A picture of a page. `opened` gives the page's address, `seen` goes to what is shown and returns what is in it."""

    height: int
    opened: Callable[[Path], AbstractContextManager[str]]
    seen: Callable[[Page, Path], str]


PAGES = {
    "board": Photograph(620, _board, lambda page, _: _at_a_call(page)),
    "report": Photograph(780, _report, lambda _, folder: (folder / "seen.html").read_text(encoding="utf-8")),
}


def taken(name: str) -> tuple[bytes, str]:
    """A picture as PNG, and the digest of its page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium here (Debian: apt-get install chromium).")
    wanted = PAGES[name]
    viewport: Any = {"width": WIDTH, "height": wanted.height}
    with (
        TemporaryDirectory() as temporary,
        wanted.opened(folder := Path(temporary)) as link,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=viewport, color_scheme="light", timezone_id="Europe/Berlin", locale="en-GB")
        page.goto(link)
        seen = wanted.seen(page, folder)
        return page.screenshot(), digest(seen)


def digest(seen: str) -> str:
    return hashlib.sha256(seen.encode()).hexdigest()


KEYWORD = b"Source"
"""PNG's own word for what a picture was made of."""


def with_source(png: bytes, source: str) -> bytes:
    """The picture with a text in it that readers of pictures do not show (PNG, section 11.3.3.2)."""
    body = b"tEXt" + KEYWORD + b"\0" + source.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    header = len(b"\x89PNG\r\n\x1a\n") + 25  # the first chunk, IHDR, is 25 bytes
    return png[:header] + chunk + png[header:]


def source_of(png: bytes) -> str | None:
    """The text that `with_source` put in."""
    found = re.search(rb"tEXt" + KEYWORD + rb"\0([0-9a-f]{64})", png)
    return None if found is None else found[1].decode()


def kept_source(name: str) -> str | None:
    file = HERE / f"{name}.png"
    return source_of(file.read_bytes()) if file.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    stale = list[str]()
    for name in PAGES:
        png, source = taken(name)
        if kept_source(name) == source:
            continue
        stale.append(name)
        if not is_check:
            (HERE / f"{name}.png").write_bytes(with_source(png, source))
    for name in stale if is_check else ():
        print(
            f"manifests/pictures/{name}.png is stale: run `uv run --group dev python manifests/pictures/photograph.py`"
        )
    sys.exit(1 if is_check and stale else 0)


if __name__ == "__main__":
    main()
