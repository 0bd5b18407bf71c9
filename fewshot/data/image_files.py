"""A user's own image files, made into what a model was trained on.

my-classes/
  cat/  one.png two.jpg
  dog/  a.png
"""

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fewshot.errors import DataError, UsageError

Ink = Literal["auto", "dark", "bright"]
"""Letters are trained as bright ink on black. "auto" inverts a grey image whose border is bright: ink on paper."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def read_support(
    folder: Path, image_shape: tuple[int, int, int], ink: Ink = "auto"
) -> dict[str, UInt8[np.ndarray, "image channel height width"]]:
    """Class name -> images, one class for each sub-folder of `folder`, sorted by name.

    Raises UsageError for a folder without at least two classes or a class without images, DataError for a file that
    is no image.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(classes) < 2:
        raise UsageError(
            f"{folder} holds {len(classes)} folders of images, two or more are needed: one folder for each class, "
            "named as the class, with one or more images in it"
        )
    support = {}
    for of_class in classes:
        files = image_files(of_class)
        if not files:
            raise UsageError(f"{of_class} holds no image; put one or more there ({', '.join(SUFFIXES)})")
        support[of_class.name] = np.stack([read_image(file, image_shape, ink) for file in files])
    return support


def image_files(place: Path) -> list[Path]:
    """The image files of a folder, sorted by name; a file stands for itself. UsageError if there is no such place."""
    if place.is_dir():
        return sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES)
    if not place.exists():
        raise UsageError(f"{place} does not exist; give an image or a folder of images")
    return [place]


def read_image(
    file: Path | BytesIO, image_shape: tuple[int, int, int], ink: Ink = "auto", name: str = ""
) -> UInt8[np.ndarray, "channel height width"]:
    """A file as an image of (channel, height, width): turned upright, fitted whole and centred, not stretched.

    Raises DataError that calls the file by `name`, or by its path.
    """
    channel, height, width = image_shape
    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            image = _on_white(upright).convert("L" if channel == 1 else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise DataError(f"{name or file} can't be read as an image ({error}); replace or remove it") from None
    if channel == 1 and (ink == "dark" or (ink == "auto" and _border_is_bright(image))):
        image = ImageOps.invert(image)
    fitted = ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(fitted)
    return pixels[None] if channel == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _on_white(image: Image.Image) -> Image.Image:
    """Without transparency: what shows through is white paper."""
    if not image.has_transparency_data:
        return image
    see_through = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", see_through.size, "white"), see_through)


def _border_is_bright(image: Image.Image) -> bool:
    grey = np.asarray(image.convert("L"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(border) > 127)
