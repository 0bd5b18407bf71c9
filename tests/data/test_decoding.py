"""Decoding on all cores gives what one process gives, in the same order, and names a file that is none."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot.data import decoding
from fewshot.data.decoding import Originals, decoded, unreadable
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.errors import DamagedFileError, DataError

OPTIONS = ImageOptions(side=16, channels=3)


def encoded(number: int, mode: str = "RGB") -> bytes:
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def items(number: int) -> list[Item]:
    return [("a", "a", f"{place}.png", encoded(place)) for place in range(number)]


def drawn() -> np.ndarray:
    return np.full((3, 8, 8), 7, dtype=np.uint8)


def test_many_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(decoded(items(150), 150, OPTIONS, Originals()))
    monkeypatch.setattr(decoding, "_WORTH_A_POOL", 100)
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    originals = Originals()
    together = list(decoded(items(150), 150, OPTIONS, originals))
    assert [item[:3] for item in together] == [item[:3] for item in alone]
    assert np.array_equal([item[3] for item in together], [item[3] for item in alone])
    assert (originals.modes, originals.sizes) == ({"RGB": 150}, {(30, 20): 150})
    bad = [*items(120), ("a", "a", "cut.png", encoded(1)[:40])]
    with pytest.raises(DamagedFileError, match=r"cut\.png can't be read as an image"):
        list(decoded(bad, 121, OPTIONS, Originals()))


def test_originals_of_every_kind_become_arrays_of_one_form() -> None:
    image = Image.open(io.BytesIO(encoded(1)))
    kinds = [
        encoded(1),
        image,
        np.asarray(image).transpose(2, 0, 1),
        drawn,
        encoded(1, "L"),
        np.zeros((1, 9, 9), np.uint8),
    ]
    found = Originals()
    packed = list(decoded([("a", "a", str(k), kind) for k, kind in enumerate(kinds)], len(kinds), OPTIONS, found))
    assert {one[3].shape for one in packed} == {(3, 16, 16)}
    assert np.array_equal(packed[0][3], packed[1][3])
    assert np.array_equal(packed[0][3], packed[2][3])
    assert packed[3][3].max() == 7
    assert found.modes == {"RGB": 3, "L": 1}, "arrays were no files"


def test_arrays_of_the_wanted_form_stay_and_others_need_options() -> None:
    array = np.zeros((3, 16, 16), dtype=np.uint8)
    assert next(decoded([("a", "a", "x", array)], 1, OPTIONS, Originals()))[3] is array
    assert next(decoded([("a", "a", "x", drawn())], 1, None, Originals()))[3].shape == (3, 8, 8)
    with pytest.raises(DataError, match=r"x: a source without options gives arrays, not files"):
        list(decoded([("a", "a", "x", encoded(1))], 1, None, Originals()))


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    files = [("good.png", encoded(1)), ("bad.png", b"half an upload"), ("worse.png", b"")]
    wrong = unreadable(files, 3, OPTIONS)
    assert [text.partition(" ")[0] for text in wrong] == ["bad.png", "worse.png"]
