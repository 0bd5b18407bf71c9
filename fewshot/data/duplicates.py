"""Images that are nearly the same in two splits: what is learned from one is then known of the other."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from imagehash import phash
from jaxtyping import Int64, UInt8, UInt64
from PIL import Image

from fewshot.data.dataset import Dataset
from fewshot.data.pack import unrotated
from fewshot.system.progress import report_progress

LARGEST_DISTANCE = 3
"""Bits of 64 by which the perceptual hashes of two images differ at most: the same photo saved again, or resized."""
LARGEST_DIFFERENCE = 12.0
"""Mean difference of 16x16 grey pixels at most, of 255: images with little in them have equal hashes by chance."""
_BANDS = LARGEST_DISTANCE + 1  # of two hashes that differ in as many bits, one band is equal


class Pair(NamedTuple):
    """Two nearly equal images, each as row of the pack, and the split that it is in."""

    row: int
    split: str
    other: int
    other_split: str


def near_duplicates(dataset: Dataset) -> list[Pair]:
    """Pairs of nearly equal images of different splits, in the order of their rows.

    Perceptual hashes (discrete cosine transform, as in Zauner 2010) find candidates, small grey copies confirm them.
    """
    split_of = _splits(dataset)
    hashes, small = _described(dataset.pack.images)
    pairs = []
    for row, other in sorted(set(_close(hashes))):
        if split_of[row] != split_of[other] and split_of[row] and split_of[other]:
            difference = np.abs(small[row].astype(np.int16) - small[other].astype(np.int16)).mean()
            if difference <= LARGEST_DIFFERENCE:
                pairs.append(Pair(row, split_of[row], other, split_of[other]))
    return pairs


def _splits(dataset: Dataset) -> list[str]:
    """The split of each image; "" for one whose class is in none."""
    of_class = {unrotated(name): split for split, names in dataset.scheme.splits.items() for name in names}
    found = [""] * len(dataset.pack.images)
    for packed in dataset.pack.classes:
        found[packed.start : packed.start + packed.count] = [of_class.get(packed.name, "")] * packed.count
    return found


def _described(
    images: UInt8[np.ndarray, "image channel height width"],
) -> tuple[UInt64[np.ndarray, "image"], UInt8[np.ndarray, "image 16 16"]]:
    """The perceptual hash of each image, and a small grey copy."""
    hashes, small = np.empty(len(images), np.uint64), np.empty((len(images), 16, 16), np.uint8)
    with report_progress("comparing", len(images)) as reporter:
        for row, pixels in enumerate(images):
            image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            hashes[row] = np.packbits(phash(image).hash).view(">u8")[0]
            small[row] = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX))
            reporter(row + 1, "images")
    return hashes, small


def _close(hashes: UInt64[np.ndarray, "image"]) -> Iterator[tuple[int, int]]:
    """Pairs of images, the first one first, whose hashes differ in LARGEST_DISTANCE bits at most.

    Of equal hashes, each image is paired with the first one alone.
    """
    distinct, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    yield from ((int(first[at]), row) for row, at in enumerate(place) if first[at] != row)
    width = 64 // _BANDS
    for band in range(_BANDS):
        value = (distinct >> np.uint64(band * width)) & np.uint64(2**width - 1)
        order = np.argsort(value, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(value[order])) + 1):
            yield from _close_in(group, distinct, first)


def _close_in(
    group: Int64[np.ndarray, "member"], hashes: UInt64[np.ndarray, "hash"], first: Int64[np.ndarray, "hash"]
) -> Iterator[tuple[int, int]]:
    for place, one in enumerate(group[:-1]):
        rest = group[place + 1 :]
        for other in rest[np.bitwise_count(hashes[rest] ^ hashes[one]) <= LARGEST_DISTANCE]:
            row, later = sorted((int(first[one]), int(first[other])))
            yield row, later
