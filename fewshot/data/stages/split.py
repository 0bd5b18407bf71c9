"""Divide the classes of a packed dataset into splits, and sample its fixed episodes."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.data.class_numbers import missing_classes
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.data.episode_shapes import adapted_shapes
from fewshot.data.fixed_episodes import write_fixed_episodes
from fewshot.data.pack import Pack, open_pack, unrotated
from fewshot.data.splits import SplitScheme, assign_classes, class_table, episodes_path, scheme_path, write_scheme
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError
from fewshot.settings.declarations import EpisodeOptions
from fewshot.settings.episode_shape import EpisodeShape

Shapes = Mapping[str, Sequence[EpisodeShape]]
"""Split -> the shapes of which episodes are sampled."""

LEAST_WAY = 5
"""Classes that a split by hash needs at least, so that its episodes can be compared with anybody's."""


def split(
    dataset: str,
    definitions: Mapping[str, dict[str, Any]],
    data_dir: Path,
    episodes: EpisodeOptions,
    assigned: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Write every split scheme of a packed dataset with its fixed episodes into data_dir/<dataset>/split.

    `definitions` are the dataset's schemes by name; `assigned` gives the split of each class as the source has it.
    Raises DataError if a split has too few classes or images for a shape.
    """
    packed, target = open_pack(data_dir / dataset / "pack"), data_dir / dataset / "split"
    with disk_errors(target):
        if target.exists():
            shutil.rmtree(target)
        for name, definition in definitions.items():
            if definition.get("rest") == "column":
                definition = {"classes": _by_split(assigned())}
            _write_scheme(data_dir, dataset, name, definition, packed, episodes)


def _write_scheme(
    data_dir: Path, dataset: str, name: str, definition: dict[str, Any], packed: Pack, episodes: EpisodeOptions
) -> None:
    splits = assign_classes(definition, packed.classes)
    count = {one.name: one.count for one in packed.classes}
    sizes = {of_split: [count[unrotated(of)] for of in names] for of_split, names in splits.items()}
    shapes = _shapes(dataset, definition, sizes, episodes)
    sets = {}
    for of_split, split_shapes in shapes.items():
        if of_split not in splits:
            there = ", ".join(splits)
            raise DataError(f"split scheme {name} of {dataset} has no {of_split} classes for episodes; it has: {there}")
        table = class_table(packed.classes, splits[of_split])
        for shape in split_shapes:
            # Another purpose would be other episodes: the word "frozen" stays.
            purpose = f"frozen {dataset} {name} {of_split} {shape}"
            sets[f"{of_split}/{shape}"] = EpisodeSampler(table, shape, episodes.seed, purpose).sample(
                0, episodes.number
            )
    digest = write_fixed_episodes(episodes_path(data_dir, dataset, name), sets)
    write_scheme(scheme_path(data_dir, dataset, name), SplitScheme(dataset, name, packed.digest, splits, digest))


def _shapes(dataset: str, definition: dict[str, Any], sizes: dict[str, list[int]], episodes: EpisodeOptions) -> Shapes:
    """The shapes that are declared, or those that the classes allow. DataError if there are too few classes."""
    shares = definition.get("shares", {})
    # Of the validation classes of a hash, one half is for the gate.
    halved = {**shares, "val": shares.get("val", 0) / 2, "gate": shares.get("val", 0) / 2}
    least: Shapes = {of_split: [EpisodeShape(LEAST_WAY, 1, 1)] for of_split in halved if of_split != "train"}
    wanted = episodes.shapes if episodes.shapes is not None else least
    if shares and (said := missing_classes(sizes, wanted, halved)):
        raise DataError(f"{dataset} has too few classes ({sum(map(len, sizes.values()))} in all) to train on: {said}")
    if episodes.shapes is not None:
        return episodes.shapes
    shapes = adapted_shapes(sizes)
    if not any(shapes.values()):
        raise DataError(
            f"{dataset} has no episode: of val, gate and test none has two classes of two or more images; add images"
        )
    return shapes


def _by_split(assigned: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, of_split in assigned.items():
        found.setdefault(of_split, []).append(name)
    return found
