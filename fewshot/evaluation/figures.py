"""Figures of a run, drawn without a screen: the training curve and the confusion between classes."""

from collections.abc import Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewshot.evaluation.stats import Score
from fewshot.system.text import shown

LABEL_WIDTH = 40
"""Letters in a line of a row's label."""

_AS_TEXT = {"text.parse_math": False}
"""Two dollar signs in names of classes are no formula."""


def training_curve(points: Sequence[dict[str, Any]]) -> bytes:
    """PNG of loss and accuracy over steps; validation with its 95 % interval as bars."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _line(above, points, "loss", "training loss")
    _line(below, points, "accuracy", "training")
    measured = [point for point in points if point.get("val_accuracy") is not None]
    if measured:
        below.errorbar(
            [point["step"] for point in measured],
            [point["val_accuracy"] for point in measured],
            yerr=[point.get("val_ci95") or 0.0 for point in measured],
            fmt="o-",
            capsize=3,
            label="meta-validation, 95 % interval",
        )
    above.set_ylabel("loss (nat)")
    below.set(xlabel="step", ylabel="accuracy", ylim=(0, 1))
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return _png(figure)


@rc_context(_AS_TEXT)
def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> bytes:
    """PNG of a confusion matrix [true class, predicted class], as shares of each true class."""
    total = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(total, 1)
    side = min(14.0, 3.0 + 0.16 * len(counts))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(names) <= 60:
        labels = [shown(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), labels, fontsize=6)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return _png(figure)


@rc_context(_AS_TEXT)
def accuracies(names: Sequence[str], scores: Sequence[Score], title: str) -> bytes:
    """PNG of one accuracy a row, the first above, with its 95 % interval."""
    labels = [fill(shown(name), LABEL_WIDTH) for name in names]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(8, 1.2 + 0.2 * lines + 0.1 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    axes.errorbar(
        [100 * of_row.accuracy for of_row in scores],
        places,
        xerr=[100 * of_row.ci95 for of_row in scores],
        fmt="o",
        capsize=3,
    )
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="accuracy (%), 95 % interval over episodes", title=title)
    axes.grid(alpha=0.3, axis="x")
    return _png(figure)


def _line(axes: Any, points: Sequence[dict[str, Any]], name: str, label: str) -> None:
    known = [(point["step"], point[name]) for point in points if point.get(name) is not None]
    if known:
        axes.plot(*zip(*known, strict=True), label=label)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
