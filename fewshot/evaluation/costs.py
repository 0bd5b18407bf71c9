"""The costs of using a model, besides its errors."""

import time
from dataclasses import dataclass

import numpy as np

from fewshot.data.dataset import Dataset
from fewshot.evaluation.calibration import calibration
from fewshot.evaluation.predictions import EpisodePredictions
from fewshot.model import Model
from fewshot.settings.episode_shape import EpisodeShape

_TIMED_CALLS = 15


@dataclass(frozen=True)
class Costs:
    """Calibration and latency."""

    calibration_error: float
    """Expected calibration error, in [0, 1]."""
    latency_ms: float
    """Median time to learn a task of the gate's shape and predict one image."""


def costs_of(model: Model, predictions: EpisodePredictions, dataset: Dataset, shape: EpisodeShape) -> Costs:
    """The costs of a model, given its predictions on gate episodes of a shape."""
    return Costs(calibration(predictions.confidence, predictions.right).error, latency_ms(model, dataset, shape))


def latency_ms(model: Model, dataset: Dataset, shape: EpisodeShape) -> float:
    """Median time to learn one gate task from uint8 images and to predict one image."""
    rows = dataset.fixed_episodes("gate", shape, 1).rows[0]
    images = [np.asarray(dataset.pack.images[of_class]) for of_class in rows]
    times = []
    for _ in range(_TIMED_CALLS):
        began = time.perf_counter()
        head = model.fit([of_class[: shape.shot] for of_class in images])
        model.predict_proba(head, images[0][-1:])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
