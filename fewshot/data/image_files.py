"""A user's own image files, made into what a model was trained on.

my-classes/
  cat/  one.png two.jpg
  dog/  a.png
"""

import unicodedata
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from fewshot.data.bit_depth import eight_bits
from fewshot.data.class_folders import SUFFIXES, find_images, is_housekeeping, refuse
from fewshot.data.image_options import Ink
from fewshot.errors import DataError, UsageError

Prepare = Callable[[Image.Image], UInt8[np.ndarray, "channel height width"]]
"""From an upright image, grey or RGB, to what a model takes."""


def read_support(folder: Path, prepare: Prepare) -> dict[str, UInt8[np.ndarray, "image channel height width"]]:
    """Class name -> images, one class for each folder below `folder` that holds images, sorted by name.

    Raises UsageError for a folder without at least two classes or with one that holds no image, DataError that names
    all files that can't be used.
    """
    classes: dict[str, list[Path]] = {}
    for found in find_images(folder) if folder.is_dir() else []:
        classes.setdefault(found.class_name, []).append(found.file)
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        if place.is_dir() and not is_housekeeping(place.name):
            own = unicodedata.normalize("NFC", place.name)
            if not any(name == own or name.startswith(f"{own}/") for name in classes):
                raise UsageError(f"{place} holds no image; put one or more there ({', '.join(SUFFIXES)})")
    if len(classes) < 2:
        raise UsageError(
            f"{folder} holds {len(classes)} folders of images, two or more are needed: one folder for each class, "
            "named as the class, with one or more images in it"
        )
    images = iter(read_images([file for files in classes.values() for file in files], prepare))
    return {name: np.stack([next(images) for _ in files]) for name, files in classes.items()}


def image_files(place: Path) -> list[Path]:
    """The image files of a folder, sorted by name; a file stands for itself. UsageError if there is no such place."""
    if place.is_dir():
        files = (file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and not file.is_dir())
        return sorted(file for file in files if not is_housekeeping(file.name))
    if not place.exists():
        raise UsageError(f"{place} does not exist; give an image or a folder of images")
    return [place]


def read_images(files: Sequence[Path], prepare: Prepare) -> UInt8[np.ndarray, "image channel height width"]:
    """All files, one or more, as a model takes them. Raises DataError that names each file that can't be read."""
    images, wrong = [], []
    for file in files:
        try:
            images.append(prepare(open_image(file)))
        except DataError as error:
            wrong.append(str(error))
    refuse(wrong)
    return np.stack(images)


def read_image(
    file: Path | BytesIO, image_shape: tuple[int, int, int], ink: Ink = "auto", name: str = ""
) -> UInt8[np.ndarray, "channel height width"]:
    """A file as an image of (channel, height, width): turned upright, fitted whole and centred, not stretched.

    Raises DataError that calls the file by `name`, or by its path.
    """
    return fit(open_image(file, name), image_shape, ink)


def open_image(file: Path | BytesIO, name: str = "") -> Image.Image:
    """A file as Pillow's image: upright, grey or RGB, on white paper; `info["original"]` has its mode and size.

    Raises DataError that calls the file by `name`, or by its path.
    """
    if isinstance(file, Path) and not file.is_file():  # a pipe would be waited for
        raise DataError(f"{name or file} is no file that can be read; replace or remove it")
    try:
        with Image.open(file) as opened:
            original = opened.mode, opened.size
            if opened.format == "JPEG" and opened.mode == "RGB" and "exif" not in opened.info:
                opened.load()  # as most are: nothing is to be done, and copies would cost half of the decoding
                image: Image.Image = opened
            else:
                upright = ImageOps.exif_transpose(opened)
                image = _on_white(eight_bits(upright, getattr(opened, "tag_v2", {})))
                image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    except Exception as error:  # decoders of damaged files raise SyntaxError, struct.error, MemoryError and more
        said = str(error).partition("\n")[0].replace(str(file), "").strip() or type(error).__name__
        raise DataError(f"{name or file} can't be read as an image ({said}); replace or remove it") from None
    image.info["original"] = original
    return image


def fit(
    image: Image.Image, image_shape: tuple[int, int, int], ink: Ink = "auto"
) -> UInt8[np.ndarray, "channel height width"]:
    """An image as (channel, height, width): fitted whole and centred, not stretched."""
    channel, height, width = image_shape
    if image.mode != (mode := "L" if channel == 1 else "RGB"):
        image = image.convert(mode)
    if channel == 1 and (ink == "dark" or (ink == "auto" and _border_is_bright(image))):
        image = ImageOps.invert(image)
    pixels = np.asarray(_fitted(image, width, height))
    return pixels[None] if channel == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_shown(image: Image.Image) -> UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"]:
    """The pixels of an image as it looks: grey, or RGB if it may have colours; what shows through is white.

    Raises UsageError for one whose black and white are not known.
    """
    try:
        whole = eight_bits(image, getattr(image, "tag_v2", {}))
    except ValueError as error:
        raise UsageError(f"an image of mode {image.mode} can't be read: {error}") from None
    is_grey = set(whole.getbands()) <= {"1", "L", "A"}
    return np.asarray(_on_white(whole).convert("L" if is_grey else "RGB"))


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Whole and centred in a black frame; the narrow side of a strip keeps a pixel at least."""
    if image.size == (width, height):
        return image
    scale = min(width / image.width, height / image.height)
    if min(round(image.width * scale), round(image.height * scale)) >= 1:
        return ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS)
    size = (width, 1) if image.width > image.height else (1, height)
    frame = Image.new(image.mode, (width, height))
    frame.paste(image.resize(size, Image.Resampling.BOX), ((width - size[0]) // 2, (height - size[1]) // 2))
    return frame


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
