"""The same images and the same weights for every contestant, made from fixed seeds."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.cases import CHANNELS, IMAGE_SHAPE, Case
from fewshot.data.episode_sampler import ClassTable, EpisodeIndices, EpisodeSampler
from fewshot.settings.episode_shape import EpisodeShape

CLASSES, IMAGES_OF_CLASS = 1692, 20
"""The size of the test part of Omniglot's Vinyals split: how often episodes meet an image again depends on it."""


@dataclass(frozen=True)
class Tasks:
    """Tasks in memory, images float32 in [0, 1]."""

    support: Tensor
    """[task way shot channel height width]"""
    query: Tensor
    """[task way query channel height width]"""

    @property
    def support_labels(self) -> Tensor:
        """[task way*shot], for support images whose way and shot are flattened."""
        return _labels(self.support)

    @property
    def query_labels(self) -> Tensor:
        """[task way*query]"""
        return _labels(self.query)

    def flat(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """For each task (support images, support labels, query images, query labels), as the peers take them."""
        return list(
            zip(self.support.flatten(1, 2), self.support_labels, self.query.flatten(1, 2), self.query_labels,
                strict=True)
        )  # fmt: skip


def make_tasks(case: Case) -> Tasks:
    """Tasks of the case's shape whose classes can be told apart: half of an image is its class's, half is noise."""
    generator = torch.Generator().manual_seed(1)
    way, shot, query = case.shape
    of_class = torch.rand(case.tasks, way, 1, *IMAGE_SHAPE, generator=generator)
    noise = torch.rand(case.tasks, way, shot + query, *IMAGE_SHAPE, generator=generator)
    images = (of_class + noise) / 2
    return Tasks(images[:, :, :shot].contiguous(), images[:, :, shot:].contiguous())


def make_weights(case: Case) -> dict[str, Tensor]:
    """Weights of Conv-4 with a linear layer, by names of our own; each contestant loads them into its network.

    Statistics ("mean.*", "variance.*") are used by networks in evaluation mode only. Scales and shifts differ from
    one and zero, so that one in the wrong place is noticed.
    """
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    weights = {}
    before = IMAGE_SHAPE[0]
    for block in range(4):
        weights[f"convolution.{block}"] = normal(CHANNELS, before, 3, 3, std=math.sqrt(2 / (9 * before)))
        weights[f"scale.{block}"] = 1 + normal(CHANNELS, std=0.1)
        weights[f"shift.{block}"] = normal(CHANNELS, std=0.1)
        weights[f"mean.{block}"] = normal(CHANNELS, std=0.1)
        weights[f"variance.{block}"] = 1 + normal(CHANNELS, std=0.1).abs()
        before = CHANNELS
    weights["linear"] = normal(case.shape.way, CHANNELS, std=1 / math.sqrt(CHANNELS))
    weights["bias"] = normal(case.shape.way, std=0.1)
    return weights


def make_images() -> np.ndarray:
    """uint8 images of CLASSES classes, to be drawn from; those of one class are alike, in consecutive rows."""
    numbers = np.random.default_rng(3)
    of_class = numbers.integers(0, 128, (CLASSES, 1, *IMAGE_SHAPE), dtype=np.uint8)
    noise = numbers.integers(0, 128, (CLASSES, IMAGES_OF_CLASS, *IMAGE_SHAPE), dtype=np.uint8)
    return (of_class + noise).reshape(-1, *IMAGE_SHAPE)


def draw(shape: EpisodeShape, number: int) -> EpisodeIndices:
    """Episodes of `make_images`, the same for every contestant."""
    start = np.arange(CLASSES, dtype=np.int64) * IMAGES_OF_CLASS
    table = ClassTable(start, np.full(CLASSES, IMAGES_OF_CLASS, dtype=np.int64), np.zeros(CLASSES, dtype=np.int8))
    return EpisodeSampler(table, shape, 0, "race").sample(0, number)


def _labels(images: Tensor) -> Tensor:
    tasks, way, of_class = images.shape[:3]
    return torch.arange(way).repeat_interleave(of_class).expand(tasks, -1).contiguous()
