"""A report card as one HTML file: no script, no font and no picture from the net."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from fewshot.evaluation.stats import Score
from fewshot.reporting.chart import Line, line_chart
from fewshot.reporting.measure import Measured


def render(
    title: str,
    measured: Measured,
    history: Sequence[dict[str, Any]],
    lineage: Sequence[tuple[str, str]],
    command: str = "",
    promotion: Any = None,
) -> str:
    """The page. `history` are the points of the training curve, `lineage` names and texts, `promotion` the gate's
    record."""
    environment = Environment(
        loader=PackageLoader("fewshot.reporting", ""),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    first_task = next(iter(measured.grid))
    return environment.get_template("page.html.j2").render(
        title=title,
        summary=_summary(measured),
        episodes=measured.grid[first_task].episodes,
        first_task=first_task,
        measured=measured,
        learning_chart=_learning(measured),
        learning_text=_in_words(measured),
        calibration_chart=_calibration(measured),
        training_chart=_training(history),
        promotion=promotion,
        lineage=lineage,
        command=command,
        percent=_percent,
        picture=_picture,
    )


def _percent(one: Score) -> str:
    return f"{100 * one.accuracy:.2f} ± {100 * one.ci95:.2f}"


def _summary(measured: Measured) -> str:
    task, first = next(iter(measured.grid.items()))
    way, _, shot = task.removesuffix("s").partition("w")
    images = "one image" if shot == "1" else f"{shot} images"
    return (
        f"Shown {images} of each of {way} classes it has never seen, it names a new image rightly {first} of the time."
    )


def _learning(measured: Measured) -> Markup:
    points = [(float(shot), 100 * one.accuracy, 100 * one.ci95) for shot, one in measured.learning]
    return Markup(line_chart("Accuracy over the number of images of each class", "images of each class", "accuracy, %",
                             [Line("", points)]))  # fmt: skip


def _in_words(measured: Measured) -> str:
    """What each further step of the learning curve gained."""
    steps = [
        f"from {few} to {many}: {100 * (more.accuracy - less.accuracy):+.1f} points"
        for (few, less), (many, more) in zip(measured.learning, measured.learning[1:], strict=False)
    ]
    return f"What more images of each class are worth, {'; '.join(steps)}."


def _calibration(measured: Measured) -> Markup:
    points = [(x, y, 0.0) for x, y in zip(measured.calibration.confidence, measured.calibration.accuracy, strict=True)]
    title = "Share of right answers over confidence; the dashed line is where both are equal"
    return Markup(line_chart(title, "confidence", "share right", [Line("", points)], diagonal=True))


def _training(history: Sequence[dict[str, Any]]) -> Markup:
    seen = [(float(point["step"]), 100 * point["accuracy"], 0.0) for point in history if "accuracy" in point]
    if not seen:  # no training step was made
        return Markup("")
    held_out = [
        (float(point["step"]), 100 * point["val_accuracy"], 100 * point["val_ci95"])
        for point in history
        if "val_accuracy" in point
    ]
    lines = [Line("training", seen), Line("validation classes", held_out)]
    return Markup(
        line_chart("Accuracy over training steps", "step", "accuracy, %", [line for line in lines if line.points])
    )


def _picture(image: UInt8[np.ndarray, "channel height width"]) -> str:
    """A data URI of a PNG."""
    buffer = BytesIO()
    grey = image.shape[0] == 1
    Image.fromarray(image[0] if grey else np.moveaxis(image, 0, -1)).save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
