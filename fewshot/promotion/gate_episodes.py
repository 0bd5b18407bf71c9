"""Two models on the same gate episodes, none of whose classes either was trained on; and what a model costs to use."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fewshot.classifier import FewShotClassifier
from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices, EpisodeSampler
from fewshot.data.splits import class_table, unrotated
from fewshot.errors import DataError
from fewshot.evaluation.predictions import EpisodePredictions, predict_episodes
from fewshot.evaluation.stats import calibration_error
from fewshot.model import compute_of, describe_model, load_model
from fewshot.promotion.gate import Costs
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import GateSettings

_TIMED_CALLS = 15


def compare(
    champion: Path, challenger: Path, dataset: Dataset, gate: GateSettings, device: torch.device
) -> tuple[EpisodePredictions, EpisodePredictions, tuple[str, ...]]:
    """The answers of both models on the same gate episodes, and the classes that were left out.

    These are the frozen ones, unless one of the models was trained on a class that is now the gate's: then as many are
    drawn from the other classes. Raises DataError if too few are left.
    """
    bank = ImageBank(dataset.pack.images, device)
    drawn, left_out = gate_episodes(dataset, [champion, challenger], gate.shape, gate.episodes)
    answers = []
    for folder in (champion, challenger):
        method = load_model(folder, device)
        answers.append(predict_episodes(method, bank, drawn, method.batch_norm_modes[0], compute_of(folder, device)))
    return answers[0], answers[1], left_out


def gate_episodes(
    dataset: Dataset, models: Sequence[Path], shape: EpisodeShape, number: int
) -> tuple[EpisodeIndices, tuple[str, ...]]:
    """Episodes that none of the models has seen the classes of, and the gate's classes that are left out for it."""
    seen = {unrotated(name) for folder in models for name in _trained_on(folder, dataset.name)}
    names = dataset.class_names("gate")
    left_out = tuple(name for name in names if unrotated(name) in seen)
    if not left_out:
        return dataset.fixed_episodes("gate", shape, number), ()
    others = [name for name in names if name not in left_out]
    if len(others) < shape.way:
        raise DataError(
            f"{len(left_out)} of the {len(names)} gate classes were trained on by one of the models; {len(others)} are "
            f"left, too few for {shape}. Lower the way of gate.shape, or give the gate more classes"
        )
    source = EpisodeSampler(class_table(dataset.pack.classes, others), shape, 0, "gate")
    return source.sample(0, number), left_out


def costs_of(
    folder: Path, answers: EpisodePredictions, dataset: Dataset, shape: EpisodeShape, device: torch.device
) -> Costs:
    """What a model costs to use, given its answers on gate episodes of a shape."""
    right = answers.predicted == np.arange(shape.way)[:, None]
    return Costs(calibration_error(answers.confidence, right), _latency_ms(folder, dataset, shape, device))


def _trained_on(folder: Path, dataset: str) -> list[str]:
    data = describe_model(folder)["data"]
    return list(data["classes"]) if data["dataset"] == dataset else []


def _latency_ms(folder: Path, dataset: Dataset, shape: EpisodeShape, device: torch.device) -> float:
    """Median time to learn one gate task from uint8 images and to answer one image."""
    classifier = FewShotClassifier.load(folder, str(device))
    rows = dataset.fixed_episodes("gate", shape, 1).rows[0]
    images = [np.asarray(dataset.pack.images[of_class]) for of_class in rows]
    names, times = [str(place) for place in range(shape.way)], []
    for _ in range(_TIMED_CALLS):
        began = time.perf_counter()
        classifier.fit([of_class[: shape.shot] for of_class in images], names)
        classifier.predict(images[0][-1:])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
