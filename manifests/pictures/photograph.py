"""Take the README's picture of the board: invented calls on a desk of their own, seen in Chromium.

uv run --group dev python manifests/pictures/photograph.py

It needs Debian's chromium. The board runs as `calltriage board` does; an agent's tools file what is seen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SIZE = (760, 620)
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


@contextmanager
def board() -> Iterator[str]:
    """The link of a board with a few issues."""
    with TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
        about: dict[str, Any] = {"env": {**kept, "CALLTRIAGE_DATA_DIR": folder}, "text": True}
        command = [sys.executable, "-m", "calltriage"]
        subprocess.run([*command, "desk", "sample"], check=True, capture_output=True, **about)  # noqa: S603  our own command
        lines = "\n".join(map(json.dumps, PLAN))
        subprocess.run([*command, "apply", "-"], input=lines, check=True, capture_output=True, **about)  # noqa: S603
        with subprocess.Popen([*command, "board"], stderr=subprocess.PIPE, **about) as running:  # noqa: S603
            try:
                said = running.stderr.readline() if running.stderr else ""
                found = re.search(r"http://\S+", said)
                if found is None:
                    sys.exit(f"The board did not start: {said}")
                yield found[0]
            finally:
                running.terminate()


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium here (Debian: apt-get install chromium).")
    with board() as link, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        viewport: Any = {"width": SIZE[0], "height": SIZE[1]}
        page = browser.new_page(viewport=viewport, color_scheme="light", timezone_id="Europe/Berlin", locale="en-GB")
        page.goto(link)
        page.wait_for_selector("h1:has-text('Issues')")
        page.get_by_role("button", name="Refund transferred").click()
        page.wait_for_selector("h1:has-text('Refund')")
        page.keyboard.press("c")
        page.wait_for_selector("h1:has-text('Call')")
        page.keyboard.press("j")
        page.wait_for_selector("main:not([aria-busy])")
        page.screenshot(path=HERE / "board.png")
        browser.close()


if __name__ == "__main__":
    main()
