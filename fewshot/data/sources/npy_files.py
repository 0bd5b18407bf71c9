"""Any dataset with one NumPy file for each class at an open address, an image in each row, such as Quick, Draw!.

Such files are large, and hold more images than anybody needs: only the beginning of each is fetched. They have no
digests; their headers and sizes are checked, and a file of pickled objects is refused.
"""

from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.errors import DamagedFileError
from fewshot.settings.published import published_classes
from fewshot.system.download import fetch_file

HEADER_LIMIT = 1024
"""Bytes that a header may have; those of NumPy have about a hundred."""


class Options(ImageOptions):
    """The address of the files, their classes, and the form of the images."""

    side: int = Field(28, ge=8, le=1024, description="pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: colour")
    address: str = Field(pattern=r"https?://.+/", description="of the folder; it ends in a slash")
    classes: str = Field(description="published split scheme that lists the classes: each has the file <class>.npy")
    images_per_class: int = Field(1000, ge=2, description="images of each class, the first ones of its file")
    stored: tuple[int, int, int] = Field((1, 28, 28), description="(channel, height, width) of an image in the files")

    @property
    def limit(self) -> int:
        """Bytes of each file that are fetched."""
        return HEADER_LIMIT + self.images_per_class * prod(self.stored)


def FILES(given: Given) -> tuple[str, ...]:
    """One file for each class."""
    return tuple(f"{name}.npy" for name in published_classes(given.options.classes))


def fetch(raw: Path, given: Given) -> None:
    """Fetch the beginning of each file, as far as its images are wanted."""
    options: Options = given.options
    for name in FILES(given):
        fetch_file(options.address + name, raw / name, partial(_check, options=options), limit=options.limit)


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each image, [channel, height, width]. Raises DamagedFileError."""
    options: Options = given.options
    for name in FILES(given):
        start, number = _extent(raw / name, options)
        size = prod(options.stored)
        with (raw / name).open("rb") as file:
            file.seek(start)
            images = np.frombuffer(file.read(number * size), np.uint8).reshape(number, *options.stored)
        for row, image in enumerate(images):
            yield name.removesuffix(".npy"), ".", f"{name}#{row:06}", image


def count(raw: Path, given: Given) -> int:
    """The number of images."""
    return sum(_extent(raw / name, given.options)[1] for name in FILES(given))


def _check(path: Path, options: Options) -> None:
    _extent(path, options)


def _extent(path: Path, options: Options) -> tuple[int, int]:
    """The place of the first image, and the number of those that are wanted. DamagedFileError for another file."""
    remedy = "delete it and fetch it again"
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_by_columns, dtype = header(file)
            start = file.tell()
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist; fetch it again") from None
    except (ValueError, EOFError) as error:
        raise DamagedFileError(f"{path} is not a NumPy file ({str(error).partition(chr(10))[0]}); {remedy}") from None
    if dtype.hasobject:
        raise DamagedFileError(
            f"{path} holds pickled objects, which can run any code when they are read; it is not read"
        )
    size, wanted = prod(options.stored), list(options.stored)
    if dtype != np.uint8 or is_by_columns or not shape or prod(shape[1:]) != size:
        raise DamagedFileError(
            f"{path} holds {dtype} {list(shape)}, not a row of uint8 {wanted} for each image; {remedy}"
        )
    number = min(shape[0], options.images_per_class)
    whole = min(start + shape[0] * size, options.limit)
    if (there := path.stat().st_size) != whole or not number or start > HEADER_LIMIT:
        raise DamagedFileError(f"{path} has {there:,} bytes, not {whole:,}; {remedy}")
    return start, number
