"""All images of a dataset as one memory-mapped array with an index, written atomically and checked when opened.

A pack is a folder of three files: `images.npy`, `index.json` (the classes, and the digests of the other two) and
`sources.txt` (for each image the name of the file that it was read from). Equal images give equal bytes.
"""

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from fewshot.errors import DamagedFileError, DataError
from fewshot.system.files import read_json, sha256_file, write_atomically, write_json

Original = Any
"""An image as a source has it: uint8 [channel, height, width], the bytes of its file, Pillow's image, or a function
without arguments that returns one of these and that other processes can import."""

Item = tuple[str, str, str, Original]
"""(class, group, name of the source file, image)."""

_ROTATION = re.compile(r"@(90|180|270)$")

_BYTES_AT_ONCE = 2**24
"""Pixels in memory while a pack is written."""


@dataclass(frozen=True)
class PackedClass:
    """One class: its name, the group that it belongs to (an alphabet) and its rows of the pack."""

    name: str
    group: str
    start: int
    count: int


@dataclass(frozen=True)
class Pack:
    """The images of a dataset, those of one class in consecutive rows, and its classes sorted by name."""

    images: UInt8[np.ndarray, "image channel height width"] = field(repr=False)
    classes: tuple[PackedClass, ...] = field(repr=False)
    digest: str
    """SHA-256 of images.npy."""


def is_rotation(name: str) -> bool:
    """True for the name of a class whose images are those of another, turned: "Angelic/character01@90"."""
    return _ROTATION.search(name) is not None


def unrotated(name: str) -> str:
    """The packed class behind a class name: without its rotation."""
    return _ROTATION.sub("", name)


def degrees(name: str) -> int:
    """The rotation of a class name, counter-clockwise: 0, 90, 180 or 270."""
    found = _ROTATION.search(name)
    return int(found[1]) if found else 0


def write_pack(folder: Path, items: Iterable[Item]) -> Pack:
    """Write items whose images are arrays, in whatever order they come, as a pack. DataError if they don't fit.

    Memory holds the names of the images (about 100 bytes each), never more than a few MB of their pixels: those wait in
    a temporary file in `folder`, so the disk needs room for two packs while one is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A file without a name: nothing of it stays behind, even if the process is killed.
    with TemporaryFile(dir=folder) as spool:
        arrived, shape = _spooled(items, spool)
        if not arrived:
            raise DataError(f"{folder}: there is no image to pack")
        classes, sources, order = _sorted(arrived)
        images = np.memmap(spool, dtype=np.uint8, mode="r", shape=(len(order), *shape))
        # The index goes first and comes last: a pack that was cut short has none, and is never taken for a whole one.
        (folder / "index.json").unlink(missing_ok=True)
        write_atomically(folder / "images.npy", lambda path: _save(path, images, order))
    write_atomically(folder / "sources.txt", lambda path: _save_lines(path, sources))
    index = {
        "classes": [[c.name, c.group, c.start, c.count] for c in classes],
        "digest": sha256_file(folder / "images.npy"),
        "sources_digest": sha256_file(folder / "sources.txt"),
    }
    write_json(folder / "index.json", index)
    return open_pack(folder)


def open_pack(folder: Path) -> Pack:
    """Open a pack after checking the digest of each file. Raises DamagedFileError that names the file."""
    remedy = f"delete {folder} and prepare the data again"
    index = read_json(folder / "index.json", remedy)
    for name, digest in (("images.npy", index["digest"]), ("sources.txt", index["sources_digest"])):
        path = folder / name
        if not path.is_file():
            raise DamagedFileError(f"{path} does not exist; {remedy}")
        if sha256_file(path) != digest:
            raise DamagedFileError(f"{path} was changed after it was written (its digest differs); {remedy}")
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return Pack(images, tuple(PackedClass(*row) for row in index["classes"]), index["digest"])


def packed_classes(folder: Path) -> tuple[PackedClass, ...]:
    """The classes of a pack, without reading its images. Raises DamagedFileError."""
    index = read_json(folder / "index.json", f"delete {folder} and prepare the data again")
    return tuple(PackedClass(*row) for row in index["classes"])


def source_names(folder: Path) -> list[str]:
    """For each image of the pack the name of the file that it was read from."""
    return (folder / "sources.txt").read_text(encoding="utf-8").splitlines()


class _Arrived(NamedTuple):
    """The images of one class that have come: what is kept of them in memory."""

    group: str
    sources: list[str]
    places: "array[int]"
    """The place of each in the order of arrival."""


def _spooled(items: Iterable[Item], spool: IO[bytes]) -> tuple[dict[str, _Arrived], tuple[int, ...]]:
    """Append the pixels of all items to `spool`. Returns the classes that came, by name, and the shape of an image."""
    arrived: dict[str, _Arrived] = {}
    shape: tuple[int, ...] = ()
    for place, (name, group, source, image) in enumerate(items):
        shape = shape or image.shape
        if image.dtype != np.uint8 or image.shape != shape or image.ndim != 3:
            raise DataError(
                f"class {name}, image {source} is {image.dtype} {list(image.shape)}, but a pack holds uint8 images of "
                f"one shape, here {list(shape)}; convert it"
            )
        if is_rotation(name):
            raise DataError(f"class {name}: @90, @180 or @270 at the end marks a rotation; rename the class")
        of_class = arrived.setdefault(name, _Arrived(group, [], array("q")))
        if of_class.group != group:
            raise DataError(f"class {name} stands in two groups, {of_class.group} and {group}; give it one")
        of_class.sources.append(source)
        of_class.places.append(place)
        spool.write(image.tobytes())
    spool.flush()
    return arrived, shape


def _sorted(arrived: dict[str, _Arrived]) -> tuple[list[PackedClass], list[str], Int64[np.ndarray, "image"]]:
    """The classes in the order of their names; for each image of the pack its source, and its place of arrival."""
    classes: list[PackedClass] = []
    sources: list[str] = []
    order = array("q")
    for name, of_class in sorted(arrived.items()):
        classes.append(PackedClass(name, of_class.group, len(sources), len(of_class.sources)))
        for source, place in sorted(zip(of_class.sources, of_class.places, strict=True)):
            if len(sources) > classes[-1].start and sources[-1] == source:
                raise DataError(f"class {name} has the image {source} twice; remove one")
            sources.append(source)
            order.append(place)
    return classes, sources, np.array(order, dtype=np.int64)


def _save(path: Path, images: UInt8[np.ndarray, "image *shape"], order: Int64[np.ndarray, "image"]) -> None:
    """Write the images in the given order, to the byte as np.save would."""
    at_once = max(1, _BYTES_AT_ONCE // images[0].size)
    # Not through a writable memory map: a full disk would then be a signal that ends the process, not an error.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(images))
        for first in range(0, len(order), at_once):
            file.write(images[order[first : first + at_once]].tobytes())


def _save_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
