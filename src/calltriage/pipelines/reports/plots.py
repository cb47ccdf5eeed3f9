"""Plots as SVG: only text and shapes, no scripts and no external styles. All words are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calltriage.leaves.gate import one_line
from calltriage.pipelines.reports.figures import DetectorFigures

COLOURS = ("#2563a8", "#c2571a", "#3f7d3a", "#8a3ea0", "#a8802a", "#2a8a8a", "#a83244", "#5c5c5c")
"""Colours with contrast on white, distinguishable for people with colour blindness. A legend names each."""
WIDTH, ROW = 720, 26
MOST_DAYS, MOST_SERIES = 60, len(COLOURS)
NAME = 24


def _word(text: object, most: int = NAME) -> str:
    line = one_line(str(text))
    return escape(line if len(line) <= most else f"{line[: most - 1]}…")


def _svg(height: float, title: str, body: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def by_day(days: dict[str, dict[str, int]]) -> str:
    """Findings by day as stacked bars: one bar for each day, one colour for each detector."""
    shown = sorted(days)[-MOST_DAYS:]
    totals = dict[str, int]()
    for day in shown:
        for name, count in days[day].items():
            totals[name] = totals.get(name, 0) + count
    series = sorted(totals, key=lambda name: (-totals[name], name))[:MOST_SERIES]
    most = max((sum(days[day].values()) for day in shown), default=0) or 1
    top, left, high = 30 + 18 * -(-len(series) // 3), 40, 180
    step = (WIDTH - left - 10) / max(1, len(shown))
    body = [*_legend(series), f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{most}</text>']
    body.append(f'<line x1="{left}" y1="{top + high}" x2="{WIDTH - 10}" y2="{top + high}" stroke="#888"/>')
    for place, day in enumerate(shown):
        base = float(top + high)
        for name in [*series, None]:
            count = _count(days[day], name, series)
            tall = high * count / most
            base -= tall
            colour = "#bbbbbb" if name is None else COLOURS[series.index(name)]
            if count:
                told = f"{_word(day)}: {_word(name or 'others')}: {count}"
                body.append(
                    f'<rect x="{left + place * step + 1:.1f}" y="{base:.1f}" width="{max(1.0, step - 2):.1f}" '
                    f'height="{tall:.1f}" fill="{colour}"><title>{told}</title></rect>'
                )
        if place % max(1, -(-len(shown) // 8)) == 0:
            body.append(f'<text x="{left + place * step:.1f}" y="{top + high + 16}">{_word(day[5:])}</text>')
    return _svg(top + high + 24, "Findings by day and detector", body)


def _count(of_day: dict[str, int], name: str | None, series: Sequence[str]) -> int:
    if name is not None:
        return of_day.get(name, 0)
    return sum(count for other, count in of_day.items() if other not in series)


def _legend(series: Sequence[str]) -> list[str]:
    found = list[str]()
    for place, name in enumerate(series):
        x, y = 40 + (place % 3) * 225, 6 + (place // 3) * 18
        found.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{COLOURS[place]}"/>')
        found.append(f'<text x="{x + 18}" y="{y + 11}">{_word(name, 28)}</text>')
    return found


def precision(detectors: Sequence[DetectorFigures]) -> str:
    """Each detector's precision as a point, and its 95 % interval as a line, on a scale from 0 to 1."""
    left, wide = 190, WIDTH - 190 - 110
    low_edge = 26 + ROW * len(detectors)
    body = [
        f'<text x="{x:.0f}" y="14" text-anchor="middle" fill="#666">{share:.1f}</text>'
        f'<line x1="{x:.0f}" y1="20" x2="{x:.0f}" y2="{low_edge}" stroke="#ddd"/>'
        for share in (0, 0.2, 0.4, 0.6, 0.8, 1)
        for x in (left + wide * share,)
    ]
    for place, one in enumerate(detectors):
        y = 20 + ROW * place + ROW / 2
        body.append(f'<text x="{left - 10}" y="{y + 4:.0f}" text-anchor="end">{_word(one.name)}</text>')
        if one.precision is None:
            body.append(f'<text x="{left + 4}" y="{y + 4:.0f}" fill="#666">no verdict yet</text>')
            continue
        low, high, at = (left + wide * share for share in (one.low, one.high, one.precision))
        body.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="#2563a8" stroke-width="3"/>')
        body.append(f'<circle cx="{at:.1f}" cy="{y}" r="5" fill="#2563a8"/>')
        body.append(f'<text x="{left + wide + 12}" y="{y + 4:.0f}">{one.right} of {one.reviewed}</text>')
    return _svg(32 + ROW * len(detectors), "Precision on people's verdicts, with 95 % intervals", body)


def coverage(detectors: Sequence[DetectorFigures]) -> str:
    """The share of each detector's findings with a person's verdict, as bars."""
    left, wide = 190, WIDTH - 190 - 110
    body = list[str]()
    for place, one in enumerate(detectors):
        y = 6 + ROW * place
        body.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{_word(one.name)}</text>')
        body.append(f'<rect x="{left}" y="{y + 3}" width="{wide}" height="14" fill="#eee"/>')
        body.append(f'<rect x="{left}" y="{y + 3}" width="{wide * one.coverage:.1f}" height="14" fill="#3f7d3a"/>')
        body.append(f'<text x="{left + wide + 12}" y="{y + 14}">{one.seen} of {one.found}</text>')
    return _svg(14 + ROW * len(detectors), "Findings that a person has seen", body)
