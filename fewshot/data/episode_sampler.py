"""Drawing episodes: `episode(i)` is a pure function of (classes, shape, seed, i), vectorised over i.

An episode is drawn as indexes only: `way` classes without replacement, then `shot + query` images of each without
replacement, so that support and query never share an image, nor one that is only turned. The cost is O(way x images
drawn), whatever the size of the dataset. Frozen episodes are drawn once, written to a file and versioned with the data.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fewshot.errors import DamagedFileError, DataError
from fewshot.randomness import below, key_of, many_bits
from fewshot.settings.schema import EpisodeShape
from fewshot.system.files import sha256_file, write_bytes


@dataclass(frozen=True)
class ClassTable:
    """The classes that episodes are drawn from: where their images stand in the pack, and how they are turned."""

    start: Int64[np.ndarray, "class"]
    """First row of each class in the pack."""
    count: Int64[np.ndarray, "class"]
    """Number of its images, in consecutive rows."""
    turns: Int8[np.ndarray, "class"]
    """Quarter turns, counter-clockwise, that make this class of the packed images (0: as they are)."""

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class EpisodeRows:
    """Drawn episodes. Of each class the first `shot` rows are the support set, the others the queries."""

    shape: EpisodeShape
    rows: Int64[np.ndarray, "episode way image"]
    """Rows of the pack."""
    turns: Int8[np.ndarray, "episode way"]
    classes: Int64[np.ndarray, "episode way"]
    """Index of each class in its ClassTable."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "EpisodeRows":
        return EpisodeRows(self.shape, self.rows[part], self.turns[part], self.classes[part])


class EpisodeSource:
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

    def draw(self, first: int, number: int = 1) -> EpisodeRows:
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
        return EpisodeRows(self._shape, rows, self._table.turns[classes], classes)


def write_frozen(path: Path, sets: dict[str, EpisodeRows]) -> str:
    """Write named sets of episodes, for example "test/5w1s15q", atomically. Returns the file's SHA-256."""
    tensors = {}
    for name, drawn in sets.items():
        tensors[f"{name}/rows"] = drawn.rows.astype(np.int32)
        tensors[f"{name}/turns"] = drawn.turns
        tensors[f"{name}/classes"] = drawn.classes.astype(np.int32)
    write_bytes(path, save(tensors))
    return sha256_file(path)


def read_frozen(path: Path, digest: str, part: str, shape: EpisodeShape, number: int) -> EpisodeRows:
    """The first `number` frozen episodes of one part ("val", "test", "gate") and shape.

    `digest` is the file's SHA-256 from the split that it belongs to. A damaged file raises DamagedFileError; a shape
    or number that was not frozen raises DataError that names what there is.
    """
    tensors = _frozen_tensors(path, digest)
    name = f"{part}/{shape}"
    if f"{name}/rows" not in tensors:
        there = ", ".join(_frozen_names(tensors))
        raise DataError(
            f"{path} has no frozen episodes {name}; it has: {there}. Further shapes are listed in params.yaml"
        )
    rows = tensors[f"{name}/rows"].astype(np.int64)
    if len(rows) < number:
        raise DataError(f"{path} has {len(rows)} frozen episodes {name}, {number} were asked for; lower the number")
    drawn = EpisodeRows(shape, rows, tensors[f"{name}/turns"], tensors[f"{name}/classes"].astype(np.int64))
    return drawn[:number]


def frozen_shapes(path: Path, digest: str, part: str) -> list[EpisodeShape]:
    """The shapes that are frozen of a part, smaller ways and shots first. Raises as `read_frozen` does."""
    names = [name.partition("/") for name in _frozen_names(_frozen_tensors(path, digest))]
    return sorted(EpisodeShape.parse(shape) for of_part, _, shape in names if of_part == part)


def _frozen_tensors(path: Path, digest: str) -> dict[str, np.ndarray]:
    if not path.exists() or sha256_file(path) != digest:
        raise DamagedFileError(
            f"{path} is missing or damaged (its digest differs); delete it and prepare the data again"
        )
    try:
        return dict(load(path.read_bytes()))
    except SafetensorError as error:
        raise DamagedFileError(f"{path} can't be read ({error}); delete it and prepare the data again") from None


def _frozen_names(tensors: dict[str, np.ndarray]) -> list[str]:
    return sorted(key.removesuffix("/rows") for key in tensors if key.endswith("/rows"))


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
