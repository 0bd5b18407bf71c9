"""Meta-validation: a method on the fixed episodes of the validation classes, its statistics brought up to date."""

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.predictions import predict_episodes
from fewshot.evaluation.stats import Score, score
from fewshot.methods.base import Method
from fewshot.settings.schema import Settings
from fewshot.system.device import Compute
from fewshot.training.batches import training_sampler

STATISTICS_IMAGES = 1000
"""Training images that a method sees before each validation; see `Method.update_statistics`."""


class Validation:
    """Validates a method, on the same episodes each time."""

    def __init__(self, settings: Settings, dataset: Dataset, banks: Banks, compute: Compute) -> None:
        """Raises what `Dataset.fixed_episodes` raises, and DataError where a training has steps but no val classes."""
        self._settings, self._dataset, self._banks, self._compute = settings, dataset, banks, compute
        options = settings.train
        if options.steps:
            dataset.class_names("val")
        has_classes = bool(dataset.scheme.splits.get("val"))
        self._episodes = None
        if has_classes:
            shape = dataset.shape_for("val", options.validation)
            self._episodes = dataset.fixed_episodes("val", shape, options.validation_episodes)

    def __call__(self, method: Method) -> Score | None:
        """The accuracy on the validation episodes; None if there are no validation classes.

        The method is left in evaluation mode, with statistics of training images.
        """
        self._update_statistics(method)
        if self._episodes is None:
            return None
        measure = partial(self._accuracies, self._episodes)
        method.choose(measure)
        return score(measure(method))

    def _accuracies(self, episodes: EpisodeIndices, method: Method) -> Float64[np.ndarray, "episode"]:
        mode, bank = method.batch_norm_modes[0], self._banks.of("val")
        return predict_episodes(method, bank, episodes, mode, self._compute).accuracy

    def _update_statistics(self, method: Method) -> None:
        """Show the method training images, the same ones each time."""
        if not method.has_statistics or not self._dataset.scheme.splits.get("train"):
            return
        sampler = training_sampler(self._settings, self._dataset)
        episodes = sampler.sample(0, math.ceil(STATISTICS_IMAGES / self._settings.train.episode.images))
        batch = self._banks.of("train").batch(episodes)
        method.eval()
        with torch.no_grad(), self._compute.autocast():
            method.update_statistics(batch.together.flatten(0, 2)[:STATISTICS_IMAGES])
