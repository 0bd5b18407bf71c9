"""Nearly equal images of two splits are found, and no others."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fewshot.data import duplicates
from fewshot.data.dataset import Dataset
from fewshot.data.duplicates import near_duplicates


def photo(number: int, side: int = 64) -> Image.Image:
    noise = Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return noise.resize((side, side), Image.Resampling.BICUBIC)


def saved_again(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((50, 50)).save(buffer, "JPEG", quality=60)
    return Image.open(buffer).resize(image.size)


def dataset(images: list[Image.Image], labels: list[str]) -> Dataset:
    arrays = np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])
    names = sorted(set(labels))
    return Dataset.from_arrays(arrays, labels, splits={"train": names[:2], "test": names[2:]})


def test_the_same_photo_saved_again_in_another_split_is_found() -> None:
    photos = [photo(number) for number in range(40)]
    labels = [f"class {number % 4}" for number in range(40)]
    copies = [saved_again(photos[0]), saved_again(photos[4]), photos[1].filter(ImageFilter.GaussianBlur(1))]
    given = dataset([*photos, *copies], [*labels, "class 2", "class 0", "class 3"])
    pairs = near_duplicates(given)
    # 0 and its copy, 1 and its copy; the copy of 4 is in the same split.
    assert [(pair.split, pair.other_split) for pair in pairs] == [("train", "test")] * 2
    rows = {row for pair in pairs for row in (pair.row, pair.other)}
    assert len(rows) == 4


def test_images_with_little_in_them_are_not_taken_for_each_other() -> None:
    shades = [Image.new("RGB", (32, 32), (shade,) * 3) for shade in range(0, 240, 20)]
    assert near_duplicates(dataset(shades, [f"class {number % 4}" for number in range(12)])) == []
    same = [Image.new("RGB", (32, 32))] * 4
    found = near_duplicates(dataset(same, [f"class {number}" for number in range(4)]))
    assert [(pair.row, pair.other) for pair in found] == [(0, 2), (0, 3)]


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 20])
def test_hashes_are_close_up_to_the_largest_distance(distance: int) -> None:
    numbers = np.random.default_rng(distance)
    one = numbers.integers(0, 2**64, 50, dtype=np.uint64)
    flips = [np.bitwise_or.reduce(np.uint64(1) << numbers.permutation(64)[:distance].astype(np.uint64), initial=0)
             for _ in one]  # fmt: skip
    other = one ^ np.array(flips, dtype=np.uint64)
    found = set(duplicates._close(np.concatenate([one, other])))
    expected = {(k, k + 50) for k in range(50)} if distance <= duplicates.LARGEST_DISTANCE else set()
    assert found == expected
