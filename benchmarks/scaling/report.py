"""From measured points to laws, a table and a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.scaling.curves import CURVES, Cost, MetricWriter

Points = dict[int, list[dict[str, float]]]
"""Size -> the costs that each round measured there."""

_STEEP = 0.3
"""Above this slope a cost is drawn on a logarithmic axis, below it on one that begins at 0."""


class Law(NamedTuple):
    """How a cost grows: its slope as `Cost.law` says, with the half-width of its 95 % interval over all points."""

    slope: float
    ci95: float
    surprise: bool
    """The slope is above what was expected, its interval included."""


def law_of(cost: Cost, sizes: Sequence[float], values: Sequence[float]) -> Law:
    """The least-squares line through the points, or through their logarithms for a power law."""
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    if cost.law == "power":
        x, y = np.log(x), np.log(np.maximum(y, 1e-9))
    else:
        x = x / cost.per
    fitted = stats.linregress(x, y)
    # Two points leave no degree of freedom: the line goes through both, and how far off it is can't be said.
    interval = float(stats.t.ppf(0.975, len(x) - 2) * fitted.stderr) if len(x) > 2 else float("nan")
    slope = float(fitted.slope)
    surely_at_least = slope - (interval if len(x) > 2 else 0)
    return Law(slope, interval, cost.at_most is not None and surely_at_least > cost.at_most)


def laws_of(curve: MetricWriter, points: Points) -> dict[str, Law]:
    """The law of each cost of a curve."""
    sizes = [size for size, rounds in points.items() for _ in rounds]
    return {
        cost.key: law_of(cost, sizes, [values[cost.key] for rounds in points.values() for values in rounds])
        for cost in curve.costs
    }


def middle(points: Points, key: str) -> dict[int, float]:
    """Size -> the median of a cost over the rounds."""
    return {size: float(np.median([values[key] for values in rounds])) for size, rounds in points.items()}


def table(name: str, points: Points) -> str:
    """The medians of all costs of a curve, and below them its laws."""
    curve = CURVES[name]
    rows = [["size", *(cost.key for cost in curve.costs)]]
    medians = {cost.key: middle(points, cost.key) for cost in curve.costs}
    rows += [[f"{size:,}", *(_rounded(medians[cost.key][size]) for cost in curve.costs)] for size in points]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    laws = laws_of(curve, points)
    return "\n".join([f"{name}: {curve.axis}", *lines, *(f"  {_in_words(c, laws[c.key])}" for c in curve.costs), ""])


def picture(found: dict[str, Points]) -> Figure:
    """A row for each curve, a panel for each cost; one that grows faster than expected is red."""
    columns = max(len(CURVES[name].costs) for name in found)
    figure = Figure(figsize=(3.2 * columns, 2.6 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), columns, squeeze=False)
    for row, (name, points) in zip(grid, found.items(), strict=True):
        for axes, cost in zip(row, CURVES[name].costs, strict=False):
            _panel(axes, CURVES[name], cost, points)
        for axes in row[len(CURVES[name].costs) :]:
            axes.axis("off")
    return figure


def _panel(axes: Axes, curve: MetricWriter, cost: Cost, points: Points) -> None:
    law = laws_of(curve, points)[cost.key]
    for size, rounds in points.items():
        axes.plot([size] * len(rounds), [values[cost.key] for values in rounds], ".", color="0.7")
    line = middle(points, cost.key)
    axes.plot(list(line), list(line.values()), "o-", color="tab:red" if law.surprise else "tab:blue")
    axes.set_xscale("log")
    axes.set_xticks(list(line), [f"{size:,}" for size in line])
    axes.minorticks_off()
    if cost.law == "power" and law.slope > _STEEP:
        axes.set_yscale("log")
        ends = (min(line.values()), max(line.values()))
        axes.set_yticks(ends, [_rounded(value) for value in ends])
        axes.minorticks_off()
    else:
        axes.set_ylim(0, 1.3 * max(values[cost.key] for rounds in points.values() for values in rounds))
    axes.set_title(f"{cost.label}\n{_slope(cost, law)}", fontsize=8)
    axes.set_xlabel(curve.axis, fontsize=7)
    axes.tick_params(labelsize=7)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _slope(cost: Cost, law: Law) -> str:
    interval = "" if np.isnan(law.ci95) else f" ± {law.ci95:.2f}"
    return f"size^{law.slope:.2f}{interval}" if cost.law == "power" else f"{law.slope:.2f}{interval} {cost.unit}"


def _in_words(cost: Cost, law: Law) -> str:
    expected = "" if cost.at_most is None else f", expected at most {cost.at_most:g}"
    return f"{cost.key}: {_slope(cost, law)}{expected}{'   SURPRISE' if law.surprise else ''}"
