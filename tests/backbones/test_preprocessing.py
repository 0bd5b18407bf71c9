"""Photos become the same pixels as by timm's own transform."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fewshot.backbones.preprocessing import Preprocessing, pixels

LANDSCAPE, PORTRAIT, STRIP = (301, 200), (123, 350), (900, 31)


def photo(size: tuple[int, int]) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [LANDSCAPE, PORTRAIT, STRIP, (224, 224), (256, 256), (40, 41), (225, 257)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("fit", "crop_mode"), [("crop", "center"), ("stretch", "squash")])
def test_pixels_are_those_of_timm_to_the_last_bit(
    size: tuple[int, int], interpolation: str, fit: str, crop_mode: str
) -> None:
    options = {"interpolation": interpolation, "crop_pct": 0.875, "crop_mode": crop_mode, "normalize": False}
    transform = timm.data.create_transform((3, 224, 224), **options)
    expected = torch.as_tensor(transform(photo(size))).numpy()
    found = pixels(photo(size), Preprocessing(224, 256, interpolation, fit))  # type: ignore[arg-type]
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_a_whole_image_is_centred_in_a_black_frame() -> None:
    white = Image.new("L", (100, 50), 255)
    found = pixels(white, Preprocessing(40, 40, fit="whole"))
    assert (found[:, 10:30] == 255).all()
    assert found.sum() == 3 * 255 * 40 * 20


@pytest.mark.parametrize("size", [(900, 1), (1, 900)])
def test_a_strip_keeps_a_pixel(size: tuple[int, int]) -> None:
    assert pixels(Image.new("RGB", size, "white"), Preprocessing(40, 40, fit="whole")).sum() == 3 * 255 * 40
