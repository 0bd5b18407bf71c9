"""Class-disjoint splits of a pack, and datasets opened with one.

A split has up to four parts: `train`, `val` (for early stopping), `gate` (for promotion decisions) and `test`.
Published lists have three; their validation classes are shared out between `val` and `gate` by a hash of the class
name, so that the two together are the published list. Where a hash decides, new classes never move old ones.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.data.episode_sampler import ClassTable, EpisodeRows, frozen_shapes, read_frozen
from fewshot.data.pack import Pack, PackedClass, open_pack
from fewshot.errors import DamagedFileError, DataError, unknown
from fewshot.settings.schema import SPLITS, EpisodeShape
from fewshot.system.files import read_json, sha256_json, write_json

PARTS = ("train", "val", "gate", "test")


@dataclass(frozen=True)
class Split:
    """Which classes of a pack are for what. Class names may end in a rotation: "Angelic/character01@90"."""

    dataset: str
    name: str
    pack_digest: str
    """SHA-256 of the images.npy that the split was made for."""
    parts: dict[str, tuple[str, ...]]
    """Part ("train", "val", "gate", "test") -> class names, sorted."""
    episodes_digest: str
    """SHA-256 of the frozen episodes."""


@dataclass(frozen=True)
class Dataset:
    """An opened, checked pack with one of its splits."""

    name: str
    pack: Pack
    split: Split
    episodes: Path = Path()
    """File of the frozen episodes."""

    def part(self, part: str) -> ClassTable:
        """The classes of a part, as a table to draw episodes from."""
        return class_table(self.pack.classes, self.class_names(part))

    def class_names(self, part: str) -> tuple[str, ...]:
        """The names of a part's classes, in the order of its table. DataError if the split has no such part."""
        if not self.split.parts.get(part):
            there = ", ".join(name for name in PARTS if self.split.parts.get(name))
            raise DataError(f"split {self.split.name} of {self.name} has no {part} classes; it has: {there}")
        return self.split.parts[part]

    def groups(self, part: str) -> tuple[str, ...]:
        """The group (alphabet, writing system) of each class of a part, in the order of its table."""
        group_of = {packed.name: packed.group for packed in self.pack.classes}
        return tuple(group_of[unturned(name)] for name in self.class_names(part))

    def frozen(self, part: str, shape: EpisodeShape, number: int) -> EpisodeRows:
        """The first `number` frozen episodes of a part; raises what `read_frozen` raises."""
        return read_frozen(self.episodes, self.split.episodes_digest, part, shape, number)

    def frozen_shapes(self, part: str) -> list[EpisodeShape]:
        """The shapes of the frozen episodes of a part, smaller ones first; raises what `frozen` raises."""
        return frozen_shapes(self.episodes, self.split.episodes_digest, part)

    @property
    def digest(self) -> str:
        """One digest of the images, the parts and the frozen episodes."""
        parts = {part: list(names) for part, names in self.split.parts.items()}
        return sha256_json([self.pack.digest, parts, self.split.episodes_digest])


def open_dataset(data_dir: Path, dataset: str, split: str = "") -> Dataset:
    """Open a prepared dataset with a split (empty: its default) and check that every file is what was written.

    Raises UsageError for an unknown name, DataError if it is not prepared, DamagedFileError if a file was changed.
    """
    if dataset not in SPLITS:
        raise unknown("dataset", dataset, SPLITS)
    split = split or SPLITS[dataset][0]
    if split not in SPLITS[dataset]:
        raise unknown(f"split of {dataset}", split, SPLITS[dataset])
    folder = data_dir / dataset
    pack_folder, split_file = folder / "pack", split_path(data_dir, dataset, split)
    if not pack_folder.is_dir() or not split_file.exists():
        raise DataError(f"{folder} is not prepared; run: fewshot data prepare {dataset}")
    pack = open_pack(pack_folder)
    opened = read_split(split_file)
    if opened.pack_digest != pack.digest:
        raise DamagedFileError(f"{split_file} belongs to another {pack_folder}; run: fewshot data prepare {dataset}")
    return Dataset(dataset, pack, opened, episodes_path(data_dir, dataset, split))


def split_path(data_dir: Path, dataset: str, split: str) -> Path:
    """The file of a split."""
    return data_dir / dataset / "split" / f"{split}.json"


def episodes_path(data_dir: Path, dataset: str, split: str) -> Path:
    """The file of a split's frozen episodes."""
    return data_dir / dataset / "split" / f"{split}-episodes.safetensors"


def write_split(path: Path, split: Split) -> None:
    """Write a split atomically."""
    parts = {part: list(split.parts[part]) for part in PARTS if split.parts.get(part)}
    head = {"dataset": split.dataset, "name": split.name, "pack_digest": split.pack_digest}
    write_json(path, {**head, "parts": parts, "episodes_digest": split.episodes_digest})


def read_split(path: Path) -> Split:
    """Read a split; DamagedFileError if it is not what was written."""
    value = read_json(path, "delete it and prepare the data again")
    parts = {part: tuple(names) for part, names in value.pop("parts").items()}
    return Split(**value, parts=parts)


def class_table(classes: Sequence[PackedClass], names: Sequence[str]) -> ClassTable:
    """The table of the named classes; a name may end in a rotation ("@90": a quarter turn counter-clockwise)."""
    by_name = {packed.name: packed for packed in classes}
    chosen = [by_name[unturned(name)] for name in names]
    return ClassTable(
        start=np.array([packed.start for packed in chosen], dtype=np.int64),
        count=np.array([packed.count for packed in chosen], dtype=np.int64),
        turns=np.array([int(name.partition("@")[2] or 0) // 90 for name in names], dtype=np.int8),
    )


def unturned(name: str) -> str:
    """The packed class behind a class name: without its rotation."""
    return name.partition("@")[0]


def make_parts(dataset: str, split: str, classes: Sequence[PackedClass]) -> dict[str, tuple[str, ...]]:
    """The parts of a split as `published/<dataset>.json` defines it. Raises DataError if the pack is not covered.

    A definition lists classes by group and number, or whole groups, or gives the share of all classes that a part gets
    by a hash of their names; `held_out` is the share of the training groups that becomes validation, `turns` the
    rotations that make a class of each character.
    """
    text = resources.files("fewshot.data").joinpath("published", f"{dataset}.json").read_text(encoding="utf-8")
    definition = json.loads(text)["splits"][split]
    kinds = {"groups": _by_group, "shares": _by_hash}
    part_of = next((kinds[kind] for kind in kinds if kind in definition), _by_class)(definition)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for packed in classes:
        part = part_of(packed)
        if part == "val" and hashed_share(packed.name, "gate") < 0.5:
            part = "gate"
        for turn in definition.get("turns", [0]):
            parts[part].append(f"{packed.name}@{turn}" if turn else packed.name)
    return {part: tuple(sorted(names)) for part, names in parts.items() if names}


def hashed_share(name: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the name and purpose only: classes below a share go to one side."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{name}".encode()).digest()[:6], "big") / 2**48


def _by_class(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    lists = {part: definition[part] for part in PARTS if part in definition}
    part_of = {
        f"{group}/{definition['pattern'].format(number)}": part
        for part, groups in lists.items()
        for group, numbers in groups.items()
        for number in numbers
    }
    return lambda packed: _looked_up(part_of, packed.name, packed)


def _by_group(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    part_of = dict(chain.from_iterable(((g, part) for g in groups) for part, groups in definition["groups"].items()))
    for group in definition["groups"].get("train", []):
        if hashed_share(group, "validation") < definition.get("held_out", 0):
            part_of[group] = "val"
    return lambda packed: _looked_up(part_of, packed.group, packed)


def _by_hash(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    shares: dict[str, float] = definition["shares"]
    ends = list(zip(shares, accumulate(shares.values()), strict=True))

    def part_of(packed: PackedClass) -> str:
        place = hashed_share(packed.name, "part")
        return next(part for part, end in ends if place < end)

    return part_of


def _looked_up(part_of: dict[str, str], key: str, packed: PackedClass) -> str:
    if key not in part_of:
        raise DataError(
            f"class {packed.name} of group {packed.group} stands in no part of the split; add it to its list"
        )
    return part_of[key]
