"""Split schemes: which classes of a pack are for training, validation, the promotion gate and the test.

A scheme has up to four splits: `train`, `val` (for early stopping), `gate` (for promotion decisions) and `test`; no
class is in two. Published lists have three; their validation classes are divided between `val` and `gate` by a hash of
the class name, so that the two together are the published list. Where a hash decides, new classes never move old ones.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.data.episode_sampler import ClassTable
from fewshot.data.pack import PackedClass, degrees, unrotated
from fewshot.errors import DataError
from fewshot.settings.declarations import SPLITS
from fewshot.system.files import read_json, write_json


@dataclass(frozen=True)
class SplitScheme:
    """The classes of each split. Class names may end in a rotation: "Angelic/character01@90"."""

    dataset: str
    name: str
    pack_digest: str
    """SHA-256 of the images.npy that the scheme was made for."""
    splits: dict[str, tuple[str, ...]]
    """Split ("train", "val", "gate", "test") -> class names, sorted."""
    episodes_digest: str
    """SHA-256 of the file of fixed episodes."""


def scheme_path(data_dir: Path, dataset: str, scheme: str) -> Path:
    """The file of a split scheme."""
    return data_dir / dataset / "split" / f"{scheme}.json"


def episodes_path(data_dir: Path, dataset: str, scheme: str) -> Path:
    """The file of a scheme's fixed episodes."""
    return data_dir / dataset / "split" / f"{scheme}-episodes.safetensors"


def write_scheme(path: Path, scheme: SplitScheme) -> None:
    """Write a split scheme atomically. Its file calls the splits "parts", as it always did."""
    parts = {split: list(scheme.splits[split]) for split in SPLITS if scheme.splits.get(split)}
    head = {"dataset": scheme.dataset, "name": scheme.name, "pack_digest": scheme.pack_digest}
    write_json(path, {**head, "parts": parts, "episodes_digest": scheme.episodes_digest})


def read_scheme(path: Path) -> SplitScheme:
    """Read a split scheme; DamagedFileError if the file is not what was written."""
    value = read_json(path, "delete it and prepare the data again")
    splits = {split: tuple(names) for split, names in value.pop("parts").items()}
    return SplitScheme(**value, splits=splits)


def class_table(classes: Sequence[PackedClass], names: Sequence[str]) -> ClassTable:
    """The table of the named classes; a name may end in a rotation ("@90": a quarter turn counter-clockwise)."""
    by_name = {packed.name: packed for packed in classes}
    chosen = [by_name[unrotated(name)] for name in names]
    return ClassTable(
        start=np.array([packed.start for packed in chosen], dtype=np.int64),
        count=np.array([packed.count for packed in chosen], dtype=np.int64),
        rotation=np.array([degrees(name) // 90 for name in names], dtype=np.int8),
    )


def assign_classes(definition: dict[str, Any], classes: Sequence[PackedClass]) -> dict[str, tuple[str, ...]]:
    """The classes of each split by the definition of a scheme. DataError for a class that it leaves out.

    A definition lists the classes by name, or by group and number, or whole groups, or gives the share of all classes
    that a split gets by a hash of their names, or the one split of all; `held_out` is the share of the training groups
    that becomes validation, `turns` the rotations (degrees) that make a class of each character.
    """
    kinds = {"groups": _by_group, "shares": _by_hash, "classes": _by_name, "rest": _all_in_one}
    split_of = next((kinds[kind] for kind in kinds if kind in definition), _by_number)(definition)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for packed in classes:
        split = split_of(packed)
        if split == "val" and hashed_share(packed.name, "gate") < 0.5:
            split = "gate"
        for turn in definition.get("turns", [0]):
            splits[split].append(f"{packed.name}@{turn}" if turn else packed.name)
    return {split: tuple(sorted(names)) for split, names in splits.items() if names}


def hashed_share(name: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the name and purpose only: classes below a share go to one side."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{name}".encode()).digest()[:6], "big") / 2**48


def _by_name(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    split_of = {name: split for split, names in definition["classes"].items() for name in names}
    return lambda packed: _looked_up(split_of, packed.name, packed)


def _all_in_one(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    return lambda packed: str(definition["rest"])


def _by_number(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    lists = {split: definition[split] for split in SPLITS if split in definition}
    split_of = {
        f"{group}/{definition['pattern'].format(number)}": split
        for split, groups in lists.items()
        for group, numbers in groups.items()
        for number in numbers
    }
    return lambda packed: _looked_up(split_of, packed.name, packed)


def _by_group(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    groups = definition["groups"]
    split_of = dict(chain.from_iterable(((group, split) for group in of_split) for split, of_split in groups.items()))
    for group in groups.get("train", []):
        if hashed_share(group, "validation") < definition.get("held_out", 0):
            split_of[group] = "val"
    return lambda packed: _looked_up(split_of, packed.group, packed)


def _by_hash(definition: dict[str, Any]) -> Callable[[PackedClass], str]:
    shares: dict[str, float] = definition["shares"]
    ends = list(zip(shares, accumulate(shares.values()), strict=True))

    def split_of(packed: PackedClass) -> str:
        place = hashed_share(packed.name, "part")  # the purpose is part of the hash: another word moves every class
        return next(split for split, end in ends if place < end)

    return split_of


def _looked_up(split_of: dict[str, str], key: str, packed: PackedClass) -> str:
    if key not in split_of:
        raise DataError(
            f"class {packed.name} (group {packed.group}) is in none of train, val, gate and test; add it to the scheme"
        )
    return split_of[key]
