"""A user's own image files."""

import os
import struct
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fewshot.data.image_files import fit, image_files, read_image, read_support
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
    support = read_support(tmp_path, partial(fit, image_shape=SHAPE))
    assert list(support) == ["cat", "dog"]
    assert [images.shape for images in support.values()] == [(3, 1, 28, 28), (1, 1, 28, 28)]


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds 0 folders of images, two or more are needed"):
        read_support(tmp_path / "nowhere", partial(fit, image_shape=SHAPE))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="a holds no image; put one or more there"):
        read_support(tmp_path, partial(fit, image_shape=SHAPE))
    for name in ("a", "b"):
        (tmp_path / name / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a/x\.png can't be read as an image .*b/x\.png can't be read as an image"):
        read_support(tmp_path, partial(fit, image_shape=SHAPE))
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


def tiff(pixels: bytes, bits: int, *more: tuple[int, int], side: int = 8) -> bytes:
    """A grey TIFF file by hand, as Pillow writes none of these."""
    tags = {256: side, 257: side, 258: bits, 259: 1, 262: 1, 277: 1, 278: side, 279: len(pixels), 273: 0} | dict(more)
    tags[273] = 14 + 12 * len(tags)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + pixels


def test_the_numbers_of_a_tiff_mean_what_its_tags_say() -> None:
    ramp, eight = np.linspace(0, 65535, 64).astype("<u2"), np.linspace(0, 255, 64)
    twelve = [int(level) for level in np.linspace(0, 4095, 64)]
    pairs = zip(twelve[::2], twelve[1::2], strict=True)
    packed = b"".join(((one << 12) | other).to_bytes(3, "big") for one, other in pairs)
    turned = ramp.reshape(8, 8)[::-1, ::-1]
    for content in (
        tiff(ramp.tobytes(), 16),
        tiff((65535 - ramp).astype("<u2").tobytes(), 16, (262, 0)),  # 0 is white
        tiff(packed, 12),
        tiff(turned.tobytes(), 16, (274, 3)),  # upside down
        tiff((65535 - turned).tobytes(), 16, (274, 3), (262, 0)),
    ):
        read = read_image(BytesIO(content), (1, 8, 8), "bright", "x.tif")[0].ravel()
        assert np.abs(read - eight).max() <= 1
    for bits, kind in ((8, "i1"), (16, "<i2")):
        signed = tiff(np.zeros(64, kind).tobytes(), bits, (339, 2))
        with pytest.raises(DataError, match=r"x\.tif can't be read as an image \(its pixels are"):
            read_image(BytesIO(signed), (1, 8, 8), "bright", "x.tif")


@pytest.mark.parametrize("bits", [8, 16])
def test_what_shows_through_is_white_paper_at_every_depth(bits: int) -> None:
    image = Image.fromarray(np.array([[0, 200]] * 2, np.uint8 if bits == 8 else np.uint16) * (1 if bits == 8 else 257))
    file = BytesIO()
    image.save(file, "PNG", transparency=0)
    assert read_image(file, (1, 2, 2), "bright", "x.png")[0].tolist() == [[255, 200]] * 2


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
