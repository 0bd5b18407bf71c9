"""The way from a photo to the square of pixels that a pretrained encoder was trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Fit = Literal["crop", "whole", "stretch"]
Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """The pixels that an encoder takes: a square of `side` pixels, cut from an image resized to `resize`."""

    side: int
    """Height and width in pixels."""
    resize: int
    """Length of the short side before the crop, in pixels; of both sides for "stretch"; unused for "whole"."""
    interpolation: Interpolation = "bicubic"
    fit: Fit = "crop"
    """crop: the centre of the image, as encoders are tested on ImageNet. whole: all of the image, centred in a black
    frame. stretch: resized without keeping its proportions, then the centre."""
    channels: int = 3
    """Red, green and blue."""


def pixels(image: Image.Image, preprocessing: Preprocessing) -> UInt8[np.ndarray, "3 side side"]:
    """The pixels of an upright image, as `preprocessing` describes them.

    For crop and stretch they equal timm's transform for evaluation, to the last bit. Turn the image upright and put it
    on a background first (`PIL.ImageOps.exif_transpose`); a mode other than RGB is converted.
    """
    rgb, side = image.convert("RGB"), preprocessing.side
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    if preprocessing.fit == "whole":
        scale = side / max(rgb.size)
        width, height = (max(1, round(length * scale)) for length in rgb.size)
        square = Image.new("RGB", (side, side))
        square.paste(rgb.resize((width, height), resample), ((side - width) // 2, (side - height) // 2))
    else:
        square = _centre(rgb.resize(_size_before_crop(rgb, preprocessing), resample), side)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def _size_before_crop(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height), the long side being rounded down as torchvision does it."""
    short = preprocessing.resize
    if preprocessing.fit == "stretch":
        return short, short
    long = int(short * max(image.size) / min(image.size))
    return (short, long) if image.width <= image.height else (long, short)


def _centre(image: Image.Image, side: int) -> Image.Image:
    """The central square; half a pixel is rounded to the even number, as torchvision does it."""
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
