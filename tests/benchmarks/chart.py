"""Bars of a few measures of a few servers, as SVG: text and shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from calltriage.pipelines.reports.plots import COLOURS

WIDTH, COLUMNS, GAP = 900, 2, 24
BAR, HEAD, LABEL = 22, 30, 150
"""Heights of a bar and of a panel's title, and the width that names have."""


@dataclass(frozen=True)
class Panel:
    """One measure: what each server has of it, None where it has none."""

    title: str
    bars: Sequence[tuple[str, float | None]]
    decimals: int = 0


def drawn(title: str, panels: Sequence[Panel]) -> str:
    """The panels side by side, each with a scale of its own from 0."""
    wide = (WIDTH - GAP * (COLUMNS + 1)) / COLUMNS
    high = HEAD + BAR * max(len(panel.bars) for panel in panels) + GAP
    body = [
        piece
        for place, panel in enumerate(panels)
        for piece in _panel(panel, GAP + (place % COLUMNS) * (wide + GAP), GAP + (place // COLUMNS) * high, wide)
    ]
    height = GAP + high * -(-len(panels) // COLUMNS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "</svg>\n"
    )


def _panel(panel: Panel, x: float, y: float, wide: float) -> list[str]:
    most = max((value for _, value in panel.bars if value is not None), default=0.0) or 1.0
    room = wide - LABEL - 60
    found = [f'<text x="{x:.0f}" y="{y + 12:.0f}" font-weight="bold">{escape(panel.title)}</text>']
    for place, (name, value) in enumerate(panel.bars):
        top = y + HEAD + BAR * place
        found.append(f'<text x="{x + LABEL - 6:.0f}" y="{top + 12:.0f}" text-anchor="end">{escape(name)}</text>')
        if value is None:
            found.append(f'<text x="{x + LABEL:.0f}" y="{top + 12:.0f}" fill="#666666">none</text>')
            continue
        long = max(1.0, room * value / most)
        colour = COLOURS[place % len(COLOURS)]
        found.append(f'<rect x="{x + LABEL:.0f}" y="{top:.0f}" width="{long:.1f}" height="16" fill="{colour}"/>')
        text = f"{value:,.{panel.decimals}f}"
        found.append(f'<text x="{x + LABEL + long + 6:.1f}" y="{top + 12:.0f}">{text}</text>')
    return found
