"""Divide the classes of a packed dataset into splits, and sample its fixed episodes."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.data.class_numbers import missing_classes
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.data.fixed_episodes import write_fixed_episodes
from fewshot.data.pack import Pack, open_pack, unrotated
from fewshot.data.splits import SplitScheme, assign_classes, class_table, episodes_path, scheme_path, write_scheme
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError
from fewshot.settings.episode_shape import EpisodeShape

Shapes = Mapping[str, Sequence[EpisodeShape]]
"""Split -> the shapes of which episodes are sampled."""


def split(
    dataset: str, definitions: Mapping[str, dict[str, Any]], data_dir: Path, shapes: Shapes, number: int, seed: int
) -> None:
    """Write every split scheme of a packed dataset with its fixed episodes into data_dir/<dataset>/split.

    `definitions` are the dataset's schemes by name; `number` episodes of each shape are sampled. Raises DataError if a
    split has too few classes or images for a shape.
    """
    packed, target = open_pack(data_dir / dataset / "pack"), data_dir / dataset / "split"
    with disk_errors(target):
        if target.exists():
            shutil.rmtree(target)
        for name, definition in definitions.items():
            _write_scheme(data_dir, dataset, name, definition, packed, shapes, number, seed)


def _write_scheme(
    data_dir: Path,
    dataset: str,
    name: str,
    definition: dict[str, Any],
    packed: Pack,
    shapes: Shapes,
    number: int,
    seed: int,
) -> None:
    splits = assign_classes(definition, packed.classes)
    count = {one.name: one.count for one in packed.classes}
    sizes = {of_split: [count[unrotated(of)] for of in names] for of_split, names in splits.items()}
    shares = definition.get("shares", {})
    # Of the validation classes of a hash, one half is for the gate.
    halved = {**shares, "val": shares.get("val", 0) / 2, "gate": shares.get("val", 0) / 2}
    if shares and (said := missing_classes(sizes, shapes, halved)):
        raise DataError(f"{dataset} has too few classes ({len(packed.classes)} in all): {said}")
    sets = {}
    for of_split, split_shapes in shapes.items():
        if of_split not in splits:
            there = ", ".join(splits)
            raise DataError(f"split scheme {name} of {dataset} has no {of_split} classes for episodes; it has: {there}")
        table = class_table(packed.classes, splits[of_split])
        for shape in split_shapes:
            # Another purpose would be other episodes: the word "frozen" stays.
            purpose = f"frozen {dataset} {name} {of_split} {shape}"
            sets[f"{of_split}/{shape}"] = EpisodeSampler(table, shape, seed, purpose).sample(0, number)
    digest = write_fixed_episodes(episodes_path(data_dir, dataset, name), sets)
    write_scheme(scheme_path(data_dir, dataset, name), SplitScheme(dataset, name, packed.digest, splits, digest))
