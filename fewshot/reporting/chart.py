"""Line charts as SVG that takes its colours from the page, so that they fit a light and a dark one."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 28, 44
"""Room around the plot for its axes and the names of its lines, in pixels."""
NAME_WIDTH = 80
"""Room for the name of one line, in pixels."""


class Line(NamedTuple):
    """One line: its name, and (x, y, half width of the interval or 0) for each point."""

    name: str
    points: Sequence[tuple[float, float, float]]


def line_chart(title: str, x_label: str, y_label: str, lines: Sequence[Line], diagonal: bool = False) -> str:
    """An SVG element. `title` says for those who can't see it what the chart shows; `diagonal` adds y = x."""
    points = [point for line in lines for point in line.points]
    xs = [x for x, _, _ in points] + ([0.0, 1.0] if diagonal else [])
    ys = [y + sign * half for _, y, half in points for sign in (-1, 1)] + ([0.0, 1.0] if diagonal else [])
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    x_range, y_range = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in x_ticks:
        (x, bottom), (_, top) = place(tick, y_range[0]), place(tick, y_range[1])
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        (left, y), (right, _) = place(x_range[0], tick), place(x_range[1], tick)
        parts.append(f'<line class="grid" x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    if diagonal:
        (x1, y1), (x2, y2) = place(0.0, 0.0), place(1.0, 1.0)
        parts.append(f'<line class="ideal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    for number, line in enumerate(lines):
        parts += _drawn(line, number, place)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    return "\n".join([*parts, "</svg>"])


def _drawn(line: Line, number: int, place: Callable[[float, float], tuple[float, float]]) -> list[str]:
    spots = [(*place(x, y), place(x, y - half)[1], place(x, y + half)[1]) for x, y, half in line.points]
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in spots)
    parts = [f'<polyline class="line line{number}" points="{way}"/>']
    for (x, y, low, high), (_, _, half) in zip(spots, line.points, strict=True):
        if half:
            parts.append(f'<line class="line{number}" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>')
            parts.append(f'<circle class="line{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    if line.name:
        across = LEFT + NAME_WIDTH * number
        parts.append(f'<text class="name{number}" x="{across}" y="{TOP - 10}">{escape(line.name)}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that span a range."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [float(tick) for tick in MaxNLocator(nbins=6).tick_values(low, high)]
