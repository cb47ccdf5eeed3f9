"""Rows that a person reads as a table and a program as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, cast

import click

from calltriage.cli.terminal import say
from calltriage.leaves.gate import one_line

WIDTH = 10_000
"""Wide enough for any row: a line is neither broken nor cut, so that an id can be copied from it."""
LEAST_WIDE, INDENT = 80, "    "
"""How lines below a row are broken and indented."""
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")


def show_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: tuple[str, ...],
    *,
    as_json: bool,
    notes: Callable[[Mapping[str, Any]], list[str]] | None = None,
) -> None:
    """Print rows with these of their members, a line each. `notes`: further lines on a row for a person, below it and broken
    to the terminal's width."""
    if as_json:
        for row in rows:
            say(json.dumps(row))
        return
    from rich.console import Console  # noqa: PLC0415  20 ms that no server's start needs
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    below = list[list[str]]()
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
        below.append([] if notes is None else notes(row))
    console = Console(width=WIDTH)
    if notes is None:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    wide = max(LEAST_WIDE, get_terminal_size((LEAST_WIDE, 0)).columns) - len(INDENT)
    for line, told in zip(drawn.get().splitlines(), [[], *below], strict=True):  # the first line names the columns
        console.print(Text.from_ansi(line.rstrip()))
        for part in (part for note in told for part in wrap(one_line(note), wide)):
            say(f"{INDENT}{part}")


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {one}" for name, one in cast("Mapping[str, object]", value).items()) or None
    return "-" if value is None else one_line(str(value))
