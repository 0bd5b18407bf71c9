"""The number of classes that a dataset lacks for its fixed episodes, said so that the user knows what to add."""

from collections.abc import Mapping, Sequence
from math import comb

from fewshot.settings.episode_shape import EpisodeShape

LIKELY = 0.95
"""The chance with which the advised number of new classes is enough."""


def missing_classes(
    sizes: Mapping[str, Sequence[int]], shapes: Mapping[str, Sequence[EpisodeShape]], shares: Mapping[str, float]
) -> str:
    """A sentence about the splits with too few classes for their episodes; empty if each has enough.

    `sizes` are the images of each class of a split, `shapes` those of its episodes, `shares` the part of all classes
    that a hash of their names gives to a split, if one does.
    """
    short: list[str] = []
    more = 0
    for split, of_split in shapes.items():
        for shape in of_split:
            images = shape.shot + shape.query
            there = sum(size >= images for size in sizes.get(split, ()))
            if there < shape.way:
                short.append(f"{split} has {there} of {shape.way} classes with {images} or more images for {shape}")
                more = max(more, _needed(shape.way - there, shares.get(split, 0.0)))
    if not short:
        return ""
    advice = f"about {more} classes more are likely to be enough, or " if more else ""
    return (
        f"{'; '.join(short)}: {advice}hold all classes out for a pretrained encoder (splits: [test-only] in "
        "data/datasets.yaml), or write smaller episodes there"
    )


def small_classes(sizes: Mapping[str, int], shapes: Mapping[str, Sequence[EpisodeShape]]) -> list[str]:
    """Classes with fewer images than any episode takes of one, which are therefore in none: "cat (3 images)"."""
    least = min((shape.shot + shape.query for of_split in shapes.values() for shape in of_split), default=0)
    return [f"{name} ({number} image{'s' * (number != 1)})" for name, number in sorted(sizes.items()) if number < least]


def _needed(missing: int, share: float) -> int:
    """The number of new classes of which `missing` or more fall to a split of this share, with a chance of LIKELY."""
    if not 0 < share < 1:
        return 0
    number = missing
    while sum(comb(number, k) * share**k * (1 - share) ** (number - k) for k in range(missing)) > 1 - LIKELY:
        number += 1
    return number
