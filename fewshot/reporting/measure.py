"""The numbers of a report card, measured on a dataset's test classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices, EpisodeSampler
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.calibration import Calibration, calibration
from fewshot.evaluation.costs import latency_ms, machine_load
from fewshot.evaluation.predictions import EpisodePredictions, predict_episodes
from fewshot.evaluation.stats import Score, score
from fewshot.model import Model
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.progress import report_progress

SHOTS = (1, 2, 3, 5, 8, 12)
"""Of the learning curve, with as many queries as a class leaves, LEAST_QUERIES at least."""
LEAST_QUERIES, MOST_QUERIES = 3, 15
WORST = 8


@dataclass(frozen=True)
class WeakClass:
    """A class that is often missed, and the one it is most often taken for."""

    name: str
    score: Score
    """Over the episodes in which it stood."""
    taken_for: str
    share: float
    """Of its queries, in episodes where both stood, that were answered with the other."""
    image: UInt8[np.ndarray, "channel height width"]
    other_image: UInt8[np.ndarray, "channel height width"]


@dataclass(frozen=True)
class Measured:
    """What a model reached."""

    grid: dict[str, Score]
    """By task, all that are frozen: "5w1s"."""
    learning: list[tuple[int, Score]]
    """Images of each class -> accuracy of 5-way tasks."""
    groups: list[tuple[str, Score]]
    """Accuracy by group (alphabet, writing system), the worst first; the interval is over episodes."""
    weakest: list[WeakClass]
    calibration: Calibration
    latency_ms: float
    """Least time to learn a task of the first shape and to answer one image."""
    load: float
    """As `fewshot.evaluation.costs.Costs.load`."""
    parameters: int
    size_bytes: int
    """Of the weights file."""


def measure(model: Model, dataset: Dataset, episodes: int) -> Measured:
    """Measure a model for its report card."""
    method, bank = model.method, Banks(model.method, dataset, model.compute).of("test")
    mode = method.batch_norm_modes[0]
    shapes = dataset.fixed_shapes("test")
    shots = [shape for shot in SHOTS if (shape := _of_shot(dataset, shot)) is not None]
    with report_progress("measuring for the report", len(shapes) + len(shots)) as reporter:
        grid: dict[str, Score] = {}
        answers: dict[str, tuple[EpisodeIndices, EpisodePredictions]] = {}
        for shape in shapes:
            drawn = dataset.fixed_episodes("test", shape, episodes)
            answers[shape.task] = (drawn, predict_episodes(method, bank, drawn, mode, model.compute))
            grid[shape.task] = score(answers[shape.task][1].accuracy)
            reporter(len(grid), f"{shape.task} {grid[shape.task]}")
        learning = []
        for shape in shots:
            drawn = EpisodeSampler(dataset.class_table("test"), shape, 0, "report").sample(0, episodes)
            learning.append((shape.shot, score(predict_episodes(method, bank, drawn, mode, model.compute).accuracy)))
            reporter(len(grid) + len(learning), f"{shape.task} {learning[-1][1]}")
    drawn, given = answers[shapes[0].task]
    return Measured(
        grid=grid,
        learning=learning,
        groups=_by_group(dataset, drawn, given),
        weakest=_weakest(dataset, drawn, given),
        calibration=calibration(given.confidence, given.right),
        latency_ms=latency_ms(model, dataset, shapes[0]),
        load=machine_load(),
        parameters=sum(parameter.numel() for parameter in method.parameters()),
        size_bytes=model.size_bytes,
    )


def _of_shot(dataset: Dataset, shot: int) -> EpisodeShape | None:
    """5-way episodes of so many shots, with as many queries as most classes leave; None if they leave too few."""
    counts = np.sort(dataset.class_table("test").count)
    left = int(counts[len(counts) // 4]) - shot
    way = min(5, len(counts))
    return EpisodeShape(way, shot, min(left, MOST_QUERIES)) if left >= LEAST_QUERIES else None


def _by_group(dataset: Dataset, drawn: EpisodeIndices, answers: EpisodePredictions) -> list[tuple[str, Score]]:
    names = np.array(dataset.groups("test"))[drawn.classes]  # episode way
    of_class = answers.right.mean(-1)
    scores = []
    for name in sorted(set(names.ravel())):
        here = names == name
        stands = here.any(1)
        if stands.sum() >= 2:
            sums, numbers = (of_class * here).sum(1)[stands], here.sum(1)[stands]
            scores.append((str(name), score(sums / numbers)))
    return sorted(scores, key=lambda one: one[1].accuracy)


def _weakest(dataset: Dataset, drawn: EpisodeIndices, answers: EpisodePredictions) -> list[WeakClass]:
    names, of_class = dataset.class_names("test"), answers.right.mean(-1)
    seen = {int(place): of_class[drawn.classes == place] for place in np.unique(drawn.classes)}
    often = sorted((place for place in seen if len(seen[place]) >= 3), key=lambda place: float(seen[place].mean()))
    answered = answers.classes(drawn)
    weak = []
    for place in often[:WORST]:
        taken_for, share = _confused(place, drawn, answered)
        if share > 0:
            images = [_picture(dataset, other) for other in (place, taken_for)]
            weak.append(WeakClass(names[place], score(seen[place]), names[taken_for], share, images[0], images[1]))
    return weak


def _confused(place: int, drawn: EpisodeIndices, answered: np.ndarray) -> tuple[int, float]:
    """The class that a class is most often taken for, as a share of the queries in episodes where both stood."""
    episodes, positions = np.nonzero(drawn.classes == place)
    taken = answered[episodes, positions]  # appearance query
    others = [int(other) for other in np.unique(taken) if other != place]
    shares = {other: float((taken[(drawn.classes[episodes] == other).any(1)] == other).mean()) for other in others}
    return max(shares.items(), key=lambda item: item[1], default=(place, 0.0))


def _picture(dataset: Dataset, place: int) -> UInt8[np.ndarray, "channel height width"]:
    table = dataset.class_table("test")
    return np.rot90(dataset.pack.images[table.start[place]], int(table.rotation[place]), axes=(-2, -1))
