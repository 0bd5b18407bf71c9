"""CIFAR-100: 100 classes of 600 colour images, 32x32 pixels (Krizhevsky 2009), of which CIFAR-FS and FC100 are splits.

The binary archive is read. The Python archive holds the same images as a pickle, and is refused.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.data.tar_archive import member_names, read_members
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.download import check_md5, fetch_file
from fewshot.system.files import write_atomically

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
MD5 = "03b5dce01913d631647c71ecec9e9cb8"
ARCHIVE = ADDRESS.rpartition("/")[2]
FILES = (ARCHIVE,)

FOLDER = "cifar-100-binary"
IMAGES = {"train.bin": 50_000, "test.bin": 10_000}
"""File of the archive -> images. All are used: a few-shot split divides the classes, not their images."""
FINE, COARSE = "fine_label_names.txt", "coarse_label_names.txt"
SIDE = 32
_RECORD = 2 + 3 * SIDE * SIDE
"""Bytes of an image: its coarse label, its fine label, and its red, green and blue planes."""
_MEMBER_LIMIT = 160_000_000
_TOTAL_LIMIT = 200_000_000


class Options(ImageOptions):
    """The form of the images: as they are, unless it says otherwise."""

    side: int = Field(SIDE, ge=8, le=1024, description="pixels")


def fetch(raw: Path, given: Given) -> None:
    """Fetch the archive, or copy the one that the declaration's path names. Only a whole one gets its name."""
    if given.path is None:
        fetch_file(ADDRESS, raw / ARCHIVE, check)
        return
    if not given.path.is_file():
        raise DataError(f"{given.path} is no file; give {ARCHIVE}, or no path, and it is fetched")
    check(given.path)
    place = given.path
    write_atomically(raw / ARCHIVE, lambda part: _copy(place, part))


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each image, [3, 32, 32], by its fine label; the group of a class is its coarse label. Raises DamagedFileError."""
    path = raw / ARCHIVE
    names = {name: content.decode("ascii", "replace").split() for name, content in _members(path, FINE, COARSE)}
    for name, number in ((FINE, 100), (COARSE, 20)):
        if len(set(names.get(name, []))) != number:
            raise DamagedFileError(
                f"{path}: {FOLDER}/{name} does not name {number} labels; delete it and fetch it again"
            )
    there = set()
    for name, content in _members(path, *IMAGES):
        there.add(name)
        for row, record in enumerate(_records(path, name, content)):
            coarse, fine = names[COARSE][record[0]], names[FINE][record[1]]
            yield fine, coarse, f"{name}#{row:05}", record[2:].reshape(3, SIDE, SIDE)
    if missing := sorted(IMAGES.keys() - there):
        raise DamagedFileError(f"{path} is incomplete: it has no {FOLDER}/{missing[0]}; delete it and fetch it again")


def count(raw: Path, given: Given) -> int:
    """The number of images."""
    return sum(IMAGES.values())


def check(path: Path) -> None:
    """Check that a file is the binary archive. DamagedFileError, with the reason if it is the pickled one."""
    try:
        check_md5(path, MD5)
    except DamagedFileError:
        if _is_pickled(path):
            raise DamagedFileError(
                f"{path} is CIFAR-100's Python version, a pickle, which can run any code when it is read, so it is "
                f"not; get the binary version: {ADDRESS}"
            ) from None
        raise


def _copy(place: Path, part: Path) -> None:
    shutil.copyfile(place, part)


def _is_pickled(path: Path) -> bool:
    try:
        return bool(member_names(path, lambda name: name.startswith("cifar-100-python/"), _TOTAL_LIMIT))
    except DamagedFileError:
        return False


def _members(path: Path, *names: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of those of the named files that the archive has."""
    wanted = {f"{FOLDER}/{name}" for name in names}
    for name, content in read_members(path, wanted.__contains__, _MEMBER_LIMIT, _TOTAL_LIMIT):
        yield name.rpartition("/")[2], content


def _records(path: Path, name: str, content: bytes) -> np.ndarray:
    """The bytes of each image, [image, byte]. DamagedFileError for another size, or a label without a name."""
    if len(content) != IMAGES[name] * _RECORD:
        raise DamagedFileError(
            f"{path}: {FOLDER}/{name} has {len(content):,} bytes, not {IMAGES[name] * _RECORD:,}; delete it and fetch "
            "it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if (records[:, 0] >= 20).any() or (records[:, 1] >= 100).any():
        raise DamagedFileError(f"{path}: {FOLDER}/{name} has a label without a name; delete it and fetch it again")
    return records
