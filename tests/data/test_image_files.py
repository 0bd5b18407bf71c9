"""A user's own image files."""

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fewshot.data.image_files import image_files, read_image, read_support
from fewshot.errors import DataError, UsageError

SHAPE = (1, 28, 28)


def drawn(ink: int = 0, paper: int = 255, size: tuple[int, int] = (60, 60)) -> Image.Image:
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).line((10, 30, size[0] - 10, 30), fill=ink, width=8)
    return image


def test_ink_on_paper_and_chalk_on_a_board_become_the_same(tmp_path: Path) -> None:
    drawn(0, 255).save(tmp_path / "paper.png")
    drawn(255, 0).save(tmp_path / "board.png")
    paper, board = (read_image(tmp_path / name, SHAPE) for name in ("paper.png", "board.png"))
    np.testing.assert_array_equal(paper, board)
    assert paper[0, 0, 0] == 0
    assert paper[0, 14, 14] > 240
    assert read_image(tmp_path / "paper.png", SHAPE, ink="bright")[0, 0, 0] == 255


def test_an_image_is_fitted_whole_and_not_stretched(tmp_path: Path) -> None:
    drawn(size=(120, 60)).save(tmp_path / "wide.png")
    wide = read_image(tmp_path / "wide.png", SHAPE)[0]
    assert not wide[:6].any()
    assert not wide[-6:].any()
    assert wide[14, 3:25].min() > 200


def test_colour_transparency_and_upright(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", (3, 20, 40)) == 255).all()
    turned = Image.new("RGB", (40, 20), "red")
    exif = turned.getexif()
    exif[0x0112] = 6  # taken with the camera on its side
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", (3, 40, 20))[0].min() > 200


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name, number in (("dog", 1), ("cat", 3)):
        (tmp_path / name).mkdir()
        for place in range(number):
            drawn().save(tmp_path / name / f"{place}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    support = read_support(tmp_path, SHAPE)
    assert list(support) == ["cat", "dog"]
    assert [images.shape for images in support.values()] == [(3, 1, 28, 28), (1, 1, 28, 28)]


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds 0 folders of images, two or more are needed"):
        read_support(tmp_path / "nowhere", SHAPE)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="a holds no image; put one or more there"):
        read_support(tmp_path, SHAPE)
    for name in ("a", "b"):
        (tmp_path / name / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a/x\.png can't be read as an image .*b/x\.png can't be read as an image"):
        read_support(tmp_path, SHAPE)
    with pytest.raises(UsageError, match="does not exist; give an image or a folder"):
        image_files(tmp_path / "c")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "I;16", "I;16B", "I", "F"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_mode_keeps_its_picture_or_is_refused_by_name(mode: str, suffix: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
    file = tmp_path / f"x.{suffix}"
    if mode.startswith("I;16"):
        levels = (ramp.astype(np.uint32) * 257).astype(np.dtype("<u2" if mode == "I;16" else ">u2"))
        picture = Image.frombytes(mode, (8, 8), levels.tobytes())
    elif mode in ("I", "F"):
        picture = Image.fromarray(ramp.astype(np.int32 if mode == "I" else np.float32))
    else:
        picture = Image.fromarray(ramp).convert("RGB").convert(mode)
    try:
        picture.save(file)
    except (OSError, ValueError):
        pytest.skip(f"there is no {suffix} in mode {mode}")
    if mode in ("I", "F"):
        with pytest.raises(
            DataError, match=rf"can't be read as an image \(its pixels are {mode}, 32 bits without a known"
        ):
            read_image(file, (1, 8, 8), "bright")
        return
    read = read_image(file, (1, 8, 8), "bright")[0].astype(int)
    wanted = np.asarray(picture.convert("L")) if mode in ("1", "P") else ramp
    assert np.abs(read - wanted).max() <= 2


@pytest.mark.parametrize("size", [(20, 6000), (6000, 20), (1, 65000), (3, 400)])
def test_a_strip_keeps_a_pixel(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, "white").save(tmp_path / "x.png")
    for shape in ((1, 28, 28), (3, 84, 84)):
        read = read_image(tmp_path / "x.png", shape, "bright")
        assert read.shape == shape
        assert (read > 127).sum() >= shape[0] * shape[1]


def test_a_file_that_breaks_its_decoder_is_named(tmp_path: Path) -> None:
    picture = BytesIO()
    Image.new("L", (9, 9)).save(picture, "PNG")
    whole = picture.getvalue()
    rng = np.random.default_rng(0)
    for number in range(200):
        broken = bytearray(whole)
        for place in rng.integers(8, len(whole), 3):
            broken[place] = rng.integers(256)
        file = tmp_path / f"{number}.png"
        file.write_bytes(bytes(broken))
        with suppress(DataError):  # nothing else
            assert read_image(file, SHAPE).shape == SHAPE


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png is no file that can be read"):
        read_image(tmp_path / "x.png", SHAPE)
