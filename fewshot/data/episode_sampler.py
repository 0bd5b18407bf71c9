"""Drawing episodes: `episode(i)` is a pure function of (classes, shape, seed, i), vectorised over i.

An episode is drawn as indexes only: `way` classes without replacement, then `shot + query` images of each without
replacement, so that support and query never share an image, nor one that is only turned. The cost is O(way x images
drawn), whatever the size of the dataset. Frozen episodes are drawn once, written to a file and versioned with the data.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Int64

from fewshot.errors import DataError
from fewshot.randomness import below, key_of, many_bits
from fewshot.settings.episode_shape import EpisodeShape


@dataclass(frozen=True)
class ClassTable:
    """The classes that episodes are drawn from: where their images stand in the pack, and how they are turned."""

    start: Int64[np.ndarray, "class"]
    """First row of each class in the pack."""
    count: Int64[np.ndarray, "class"]
    """Number of its images, in consecutive rows."""
    rotation: Int8[np.ndarray, "class"]
    """Quarter turns, counter-clockwise, that make this class of the packed images (0: as they are)."""

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class EpisodeIndices:
    """Drawn episodes. Of each class the first `shot` rows are the support set, the others the queries."""

    shape: EpisodeShape
    rows: Int64[np.ndarray, "episode way image"]
    """Rows of the pack."""
    rotation: Int8[np.ndarray, "episode way"]
    classes: Int64[np.ndarray, "episode way"]
    """Index of each class in its ClassTable."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "EpisodeIndices":
        return EpisodeIndices(self.shape, self.rows[part], self.rotation[part], self.classes[part])


class EpisodeSampler:
    """Draws episodes of one shape from a table of classes."""

    def __init__(self, table: ClassTable, shape: EpisodeShape, seed: int, purpose: str) -> None:
        """`purpose` ("train", "test", ...) separates streams under one seed.

        Classes with fewer than shot + query images are never drawn; DataError if fewer than `way` remain.
        """
        images = shape.shot + shape.query
        eligible = np.flatnonzero(table.count >= images)
        if len(eligible) < shape.way:
            raise DataError(
                f"{purpose}: {len(eligible)} of {len(table)} classes hold {images} images (shot={shape.shot} + "
                f"query={shape.query}), but way={shape.way}; lower way, shot or query"
            )
        self._table, self._shape, self._eligible = table, shape, eligible
        self._key = key_of(seed, f"episodes/{purpose}")

    def sample(self, first: int, number: int = 1) -> EpisodeIndices:
        """Episodes first, first + 1, ..., first + number - 1."""
        way, images = self._shape.way, self._shape.shot + self._shape.query
        episode = np.arange(first, first + number, dtype=np.uint64)
        choice = _distinct(self._key, episode, np.full(number, len(self._eligible)), way, slot=0)
        classes = self._eligible[choice]
        # One stream for each (episode, place in the episode), behind those of the class draw. Classes that are the same
        # images, turned, share that of the first, or a support image of one could be a query of another.
        start = self._table.start[classes]
        first_place = (start[:, :, None] == start[:, None, :]).argmax(-1).astype(np.uint64)
        place = episode[:, None] * np.uint64(way) + first_place
        within = _distinct(self._key, place, self._table.count[classes], images, slot=2 * way)
        rows = start[..., None] + within
        return EpisodeIndices(self._shape, rows, self._table.rotation[classes], classes)


def _distinct(
    key: int,
    index: np.ndarray,
    bound: np.ndarray,
    number: int,
    slot: int,
) -> np.ndarray:
    """`number` distinct whole numbers in [0, bound) for each index, in random order: shape [*index, number].

    Floyd's algorithm (Bentley & Floyd 1987) needs `number` draws whatever the bound; random sort keys then make the
    order uniform as well, which decides which image is support and which query. Uses slots [slot, slot + 2 number).
    """
    random = many_bits(key, index, slot, 2 * number)
    last = bound[..., None] - number + np.arange(number)
    chosen = below(last + 1, random[..., :number])
    for k in range(1, number):
        taken = (chosen[..., :k] == chosen[..., k, None]).any(axis=-1)
        np.copyto(chosen[..., k], last[..., k], where=taken)
    return np.take_along_axis(chosen, np.argsort(random[..., number:], axis=-1), axis=-1)
