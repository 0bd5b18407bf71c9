"""Shapes of fixed episodes for a dataset that declares none: those of the papers, as far as its images go."""

from collections.abc import Mapping, Sequence
from math import ceil

from fewshot.settings.episode_shape import EpisodeShape

WAYS, SHOTS, QUERIES = (5, 20), (1, 5), (15, 10, 5, 3, 2, 1)
"""Classes, support and query images of a class. Papers have 15 queries; of the others the most that there are images
for: in few steps, so that a dataset that grows keeps its shapes for long."""
_SHARE = 0.8
"""The share of the classes that should have images enough; with fewer queries, more of them do."""


def adapted_shapes(sizes: Mapping[str, Sequence[int]]) -> dict[str, list[EpisodeShape]]:
    """The shapes for each split but train, from the numbers of images of its classes.

    5-way and, with 20 classes, 20-way; 1-shot and 5-shot; up to 15 queries of a class, fewer where four in five classes
    have no more. Of fewer than five classes all are taken. A split of one class, or of single images, gets none.
    """
    return {split: _shapes(of_split) for split, of_split in sizes.items() if split != "train"}


def nearest_shape(wanted: EpisodeShape, there: Sequence[EpisodeShape]) -> EpisodeShape | None:
    """The shape in `there` that measures the most similar task: equal shots, and no more classes; None if none does.

    Of several, the one with the most classes, then the most queries, up to those that are wanted.
    """
    found = [shape for shape in there if shape.shot == wanted.shot and shape.way <= wanted.way]
    return max(found, key=lambda shape: (shape.way, shape.query <= wanted.query, shape.query), default=None)


def _shapes(sizes: Sequence[int]) -> list[EpisodeShape]:
    ordered = sorted(sizes, reverse=True)
    found = []
    for way in dict.fromkeys(min(way, len(ordered)) for way in WAYS if way == WAYS[0] or len(ordered) >= way):
        for shot in SHOTS:
            images = ordered[max(way, ceil(_SHARE * len(ordered))) - 1] if ordered else 0
            images = images if images > shot else ordered[way - 1] if ordered else 0
            if way >= 2 and images > shot:
                found.append(EpisodeShape(way, shot, next(query for query in QUERIES if query <= images - shot)))
    return found
