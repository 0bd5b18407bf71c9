"""Episodes for training loops of others: a batch sampler and a collate function for torch's DataLoader.

loader = DataLoader(dataset, batch_sampler=EpisodeBatchSampler(labels, "5w1s15q", 1000), collate_fn=collate("5w1s15q"))
for support, support_labels, query, query_labels, classes in loader: ...
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Sampler

from fewshot.data.episode_sampler import ClassTable, EpisodeSampler
from fewshot.data.in_memory import class_names
from fewshot.errors import UsageError
from fewshot.settings.episode_shape import EpisodeShape

Episode = tuple[Tensor, Tensor, Tensor, Tensor, list[Any]]
"""Support images [way x shot, ...], their labels (0 to way - 1), query images [way x query, ...], their labels, and
the dataset's own label of each class."""


class EpisodeBatchSampler(Sampler[list[int]]):
    """The places in a dataset of one episode after another, each class by itself, its support images first.

    An episode is a function of (labels, shape, seed, number): two loops, or two runs, see the same ones.
    """

    def __init__(self, labels: Any, shape: EpisodeShape | str, episodes: int, seed: int = 0) -> None:
        """`labels` has one label for each item of the dataset.

        Raises DataError if too few classes are large enough, UsageError for labels that name no class or two at once.
        """
        if episodes < 0:
            raise UsageError(f"episodes={episodes}; give their number, 0 or more")
        names = np.array(class_names(labels))
        self._order = np.argsort(names, kind="stable")
        _, starts, counts = np.unique(names[self._order], return_index=True, return_counts=True)
        table = ClassTable(starts.astype(np.int64), counts.astype(np.int64), np.zeros(len(starts), dtype=np.int8))
        self._sampler = EpisodeSampler(table, parsed(shape), seed, "loader")
        self._episodes = episodes

    def __len__(self) -> int:
        return self._episodes

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self._episodes):
            yield self._order[self._sampler.sample(number).rows[0].ravel()].tolist()


def collate(shape: EpisodeShape | str) -> Callable[[list[tuple[Tensor, Any]]], Episode]:
    """The function that makes an episode of the (image, label) pairs that `EpisodeBatchSampler` chose.

    An image is a tensor or an array. The function raises UsageError for items of another number than the shape's.
    """
    way, shot, query = parsed(shape)
    number = way * (shot + query)

    def episode(items: list[tuple[Any, Any]]) -> Episode:
        if len(items) != number:
            of = EpisodeShape(way, shot, query)
            raise UsageError(
                f"{len(items)} items, but an episode of {of} has {number}; give the sampler and collate one shape"
            )
        images = torch.stack([torch.as_tensor(image) for image, _ in items]).unflatten(0, (way, shot + query))
        support, queries = images[:, :shot].flatten(0, 1), images[:, shot:].flatten(0, 1)
        classes = [label for _, label in items[:: shot + query]]
        return support, _labels(way, shot), queries, _labels(way, query), classes

    return episode


def parsed(shape: EpisodeShape | str) -> EpisodeShape:
    """A shape, or its text such as "5w1s15q"; UsageError for another text."""
    try:
        return EpisodeShape.parse(shape)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _labels(way: int, images: int) -> Int64[Tensor, "image"]:
    return torch.arange(way).repeat_interleave(images)
