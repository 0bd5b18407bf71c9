"""Fixed episodes: sampled once, written to a file and versioned with the data, so that all models see the same ones."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.errors import DamagedFileError, DataError
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import sha256_file, write_bytes


def write_fixed_episodes(path: Path, sets: dict[str, EpisodeIndices]) -> str:
    """Write named sets of episodes, for example "test/5w1s15q", atomically. Returns the file's SHA-256."""
    tensors = {}
    for name, drawn in sets.items():
        tensors[f"{name}/rows"] = drawn.rows.astype(np.int32)
        tensors[f"{name}/turns"] = drawn.rotation
        tensors[f"{name}/classes"] = drawn.classes.astype(np.int32)
    write_bytes(path, save(tensors))
    return sha256_file(path)


def read_fixed_episodes(path: Path, digest: str, split: str, shape: EpisodeShape, number: int) -> EpisodeIndices:
    """The first `number` fixed episodes of one split ("val", "test", "gate") and shape.

    `digest` is the file's SHA-256 from the scheme that it belongs to. A damaged file raises DamagedFileError; a shape
    or number that there is none of raises DataError that names what there is.
    """
    tensors = _fixed_tensors(path, digest)
    name = f"{split}/{shape}"
    if f"{name}/rows" not in tensors:
        there = ", ".join(_fixed_names(tensors))
        raise DataError(
            f"{path} has no fixed episodes {name}; it has: {there}. declare further shapes in data/datasets.yaml"
        )
    rows = tensors[f"{name}/rows"].astype(np.int64)
    if len(rows) < number:
        raise DataError(f"{path} has {len(rows)} fixed episodes {name}, {number} were asked for; lower the number")
    drawn = EpisodeIndices(shape, rows, tensors[f"{name}/turns"], tensors[f"{name}/classes"].astype(np.int64))
    return drawn[:number]


def fixed_shapes(path: Path, digest: str, split: str) -> list[EpisodeShape]:
    """The shapes that a split has fixed episodes of, smaller ones first; raises what `read_fixed_episodes` raises."""
    names = [name.partition("/") for name in _fixed_names(_fixed_tensors(path, digest))]
    return sorted(EpisodeShape.parse(shape) for of_split, _, shape in names if of_split == split)


def _fixed_tensors(path: Path, digest: str) -> dict[str, np.ndarray]:
    if not path.exists() or sha256_file(path) != digest:
        raise DamagedFileError(
            f"{path} is missing or damaged (its digest differs); delete it and prepare the data again"
        )
    try:
        return dict(load(path.read_bytes()))
    except SafetensorError as error:
        raise DamagedFileError(f"{path} can't be read ({error}); delete it and prepare the data again") from None


def _fixed_names(tensors: dict[str, np.ndarray]) -> list[str]:
    return sorted(key.removesuffix("/rows") for key in tensors if key.endswith("/rows"))
