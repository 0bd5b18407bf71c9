"""Predictions of a meta-learner on episodes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot.data.batches import ImageBank
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.methods.base import BatchNorm, Method
from fewshot.methods.embedding import EmbeddingMethod
from fewshot.methods.task_threads import Workers
from fewshot.system.device import Compute

IMAGES_AT_ONCE = 500
"""Images in one forward pass: enough to be fast; with more, activations leave the caches and memory grows."""


@dataclass(frozen=True, eq=False)
class EpisodePredictions:
    """The most probable class of each query of a set of episodes."""

    predicted: Int64[np.ndarray, "episode way query"]
    """Its place among the classes of the episode, 0 to way - 1."""
    confidence: Float[np.ndarray, "episode way query"]
    """Its probability."""

    @property
    def right(self) -> Bool[np.ndarray, "episode way query"]:
        """True for each query that was recognised."""
        return np.asarray(self.predicted == np.arange(self.predicted.shape[1])[:, None])

    @property
    def accuracy(self) -> Float[np.ndarray, "episode"]:
        """Share of each episode's queries that were recognised, in [0, 1]."""
        return np.asarray(self.right.mean((1, 2)))

    def classes(self, episodes: EpisodeIndices) -> Int64[np.ndarray, "episode way query"]:
        """The predicted classes, as indices into the class table that the episodes were sampled from."""
        flat = self.predicted.reshape(len(self.predicted), -1)
        return np.take_along_axis(episodes.classes, flat, axis=1).reshape(self.predicted.shape)


def predict_episodes(
    method: Method, bank: ImageBank, drawn: EpisodeIndices, batch_norm: BatchNorm, compute: Compute
) -> EpisodePredictions:
    """Learn and answer each drawn episode. The method is left in evaluation mode."""
    method.eval()
    way, _, query = drawn.shape
    size = method.tasks_at_once(drawn.rows[0].size)
    parts = [drawn[first : first + size] for first in range(0, len(drawn), size)]
    with torch.no_grad(), compute.autocast():
        if isinstance(method, EmbeddingMethod):
            logits = _logits_of_embeddings(method, bank, drawn, parts)
        else:
            logits = Workers(method, compute).map(partial(_logits, method, bank, batch_norm, compute), parts)
        best = [of_part.float().softmax(-1).max(-1) for of_part in logits]
    confidence, places = (
        torch.cat(of_parts).view(-1, way, query).cpu().numpy() for of_parts in zip(*best, strict=True)
    )
    return EpisodePredictions(places, confidence)


def _logits(method: Method, bank: ImageBank, batch_norm: BatchNorm, compute: Compute, part: EpisodeIndices) -> Tensor:
    with torch.no_grad(), compute.autocast():
        return method.logits(bank.batch(part), batch_norm)


def _logits_of_embeddings(
    method: EmbeddingMethod, bank: ImageBank, drawn: EpisodeIndices, parts: Iterable[EpisodeIndices]
) -> Iterator[Tensor]:
    """Logits as `method.logits` gives them, but each image that stands in any episode is embedded only once."""
    images, place = np.unique(_rotated_rows(drawn), return_inverse=True)
    embedded = torch.cat(
        [
            method.embed(bank.take(some // 4, some % 4))
            for some in np.split(images, range(IMAGES_AT_ONCE, len(images), IMAGES_AT_ONCE))
        ]
    )
    first, shot = 0, drawn.shape.shot
    for part in parts:
        rows = torch.from_numpy(place.reshape(drawn.rows.shape)[first : first + len(part)]).to(bank.device)
        first += len(part)
        yield method.episode_logits(embedded[rows[:, :, :shot]], embedded[rows[:, :, shot:].flatten(1)])


def _rotated_rows(drawn: EpisodeIndices) -> Int64[np.ndarray, "episode way image"]:
    """One number for each image of the episodes: its row and its quarter turns."""
    return np.asarray(drawn.rows * 4 + drawn.rotation[..., None])
