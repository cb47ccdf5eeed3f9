"""Markdown as a terminal shows it, with no name or id cut."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.table import Table

from calltriage.cli.terminal import say

LEAST_WIDE = 120
"""Columns that the tables of a report need."""


class _Whole(TableElement):
    """A table that breaks what is too long for its column, where rich cuts it. What a row is about stays on one line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                part.columns[0].no_wrap = True
                for column in part.columns:
                    column.overflow = "fold"
            yield part


class _LaidOut(Markdown):
    """Renders Markdown whose tables keep every character."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "table_open": _Whole}


def show_markdown(text: str, console: Console | None = None) -> None:
    """Print Markdown: laid out on a console that is wide enough, else as it is."""
    if console is not None and console.width >= LEAST_WIDE:
        console.print(_LaidOut(text))
        return
    for line in text.rstrip("\n").split("\n"):
        say(line)
