"""The costs of using a model, besides its errors."""

import os
import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fewshot.data.dataset import Dataset
from fewshot.data.decoding import as_image
from fewshot.evaluation.calibration import calibration
from fewshot.evaluation.predictions import EpisodePredictions
from fewshot.model import Model
from fewshot.settings.episode_shape import EpisodeShape

_TIMED_CALLS, _TIMED_S = 15, 0.5


@dataclass(frozen=True)
class Costs:
    """Calibration and latency."""

    calibration_error: float
    """Expected calibration error, in [0, 1]."""
    latency_ms: float
    """Least time to learn a task of the gate's shape and predict one image."""
    load: float = 0.0
    """Programs that wanted to run on each core of the machine meanwhile, on average over a minute; 0: not known."""


def costs_of(model: Model, predictions: EpisodePredictions, dataset: Dataset, shape: EpisodeShape) -> Costs:
    """The costs of a model, given its predictions on gate episodes of a shape."""
    error = calibration(predictions.confidence, predictions.right).error
    return Costs(error, latency_ms(model, dataset, shape), machine_load())


def latency_ms(model: Model, dataset: Dataset, shape: EpisodeShape) -> float:
    """Least time to learn one gate task from uint8 images and to predict one image.

    Not the median: what else runs on the machine can only make a call longer, and may do so for most of them.
    """
    shape = dataset.shape_for(dataset.gate, shape)
    rows = dataset.fixed_episodes(dataset.gate, shape, 1).rows[0]
    images = [_prepared(model, dataset.pack.images[of_class]) for of_class in rows]
    times: list[float] = []
    while len(times) < _TIMED_CALLS or (sum(times) < _TIMED_S and len(times) < 20 * _TIMED_CALLS):
        began = time.perf_counter()
        head = model.fit([of_class[: shape.shot] for of_class in images])
        model.predict_proba(head, images[0][-1:])
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def _prepared(
    model: Model, images: UInt8[np.ndarray, "image channel height width"]
) -> UInt8[np.ndarray, "image _channel _height _width"]:
    """Packed images as the model takes them."""
    if images.shape[1:] == model.image_shape:
        return np.asarray(images)
    return np.stack([model.prepare(as_image(image), "bright") for image in images])


def machine_load() -> float:
    """Programs that wanted to run on each core during the last minute, on average; 0 where the system does not say."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return 0.0
