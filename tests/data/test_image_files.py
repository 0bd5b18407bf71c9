"""A user's own image files."""

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
    (tmp_path / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png can't be read as an image"):
        read_support(tmp_path, SHAPE)
    with pytest.raises(UsageError, match="does not exist; give an image or a folder"):
        image_files(tmp_path / "c")
