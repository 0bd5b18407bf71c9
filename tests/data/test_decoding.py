"""Decoding on all cores gives what one process gives, in the same order, and names a file that is none."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot.data import decoding
from fewshot.data.decoding import Originals, decode_into, unreadable
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item, open_pack, write_pack
from fewshot.errors import DamagedFileError, DataError

OPTIONS = ImageOptions(side=16, channels=3)


def encoded(number: int, mode: str = "RGB") -> bytes:
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def items(number: int) -> list[Item]:
    return [("a", "a", f"{place}.png", encoded(place)) for place in range(number)]


def packed(
    place: Path, given: list[Item], options: ImageOptions | None, originals: Originals | None = None
) -> np.ndarray:
    decode = partial(decode_into, total=len(given), options=options, originals=originals or Originals())
    write_pack(place / "pack", given, decode)
    assert sorted(file.name for file in (place / "pack").iterdir()) == ["images.npy", "index.json", "sources.txt"]
    return np.asarray(open_pack(place / "pack").images)


def drawn() -> np.ndarray:
    return np.full((3, 8, 8), 7, dtype=np.uint8)


def test_many_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = packed(tmp_path, items(150), OPTIONS)
    monkeypatch.setattr(decoding, "_WORTH_A_POOL", 100)
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    originals = Originals()
    assert np.array_equal(packed(tmp_path, items(150), OPTIONS, originals), alone)
    assert (originals.modes, originals.sizes) == ({"RGB": 150}, {(30, 20): 150})
    bad = [*items(120), ("a", "a", "cut.png", encoded(1)[:40])]
    with pytest.raises(DamagedFileError, match=r"cut\.png can't be read as an image"):
        packed(tmp_path / "other", bad, OPTIONS)
    assert not list((tmp_path / "other" / "pack").iterdir())


def test_images_that_come_in_no_order_are_put_in_order(tmp_path: Path) -> None:
    given = items(20)
    shuffled = [given[place] for place in np.random.default_rng(0).permutation(20)]
    assert np.array_equal(packed(tmp_path / "a", shuffled, OPTIONS), packed(tmp_path / "b", sorted(given), OPTIONS))


def test_originals_of_every_kind_become_arrays_of_one_form(tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(encoded(1)))
    array = np.asarray(image).transpose(2, 0, 1)
    kinds = [encoded(1), image, array, drawn, encoded(1, "L"), np.zeros((1, 9, 9), np.uint8)]
    found = Originals()
    images = packed(tmp_path, [("a", "a", str(k), kind) for k, kind in enumerate(kinds)], OPTIONS, found)
    assert images.shape == (6, 3, 16, 16)
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])
    assert images[3].max() == 7
    assert found.modes == {"RGB": 3, "L": 1}, "arrays were no files"


def test_arrays_stay_as_they_are_without_options(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    assert np.array_equal(packed(tmp_path, [("a", "a", "x", array), ("a", "a", "y", drawn)], None), [array, drawn()])
    with pytest.raises(DataError, match=r"x: a source without options gives arrays, not files"):
        packed(tmp_path, [("a", "a", "x", encoded(1))], None)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    files = [("good.png", encoded(1)), ("bad.png", b"half an upload"), ("worse.png", b"")]
    wrong = unreadable(files, 3, OPTIONS)
    assert [text.partition(" ")[0] for text in wrong] == ["bad.png", "worse.png"]
