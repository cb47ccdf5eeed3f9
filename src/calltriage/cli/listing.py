"""Rows that a person reads as a table and a program as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import click

from calltriage.cli.terminal import say
from calltriage.leaves.gate import one_line

WIDTH = 10_000
"""Wide enough for any row: a line is neither broken nor cut, so that an id can be copied from it."""
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")


def show_rows(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    """Print rows with these of their members, a line each."""
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
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console(width=WIDTH).print(table)


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {one}" for name, one in cast("Mapping[str, object]", value).items()) or None
    return "-" if value is None else one_line(str(value))
