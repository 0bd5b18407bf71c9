"""All images of a dataset as one memory-mapped array with an index, written atomically and checked when opened.

A pack is a folder of three files: `images.npy`, `index.json` (the classes, and the digests of the other two) and
`sources.txt` (for each image the name of the file that it was read from). Equal images give equal bytes.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

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

Named = tuple[str, str, str, tuple[int, ...]]
"""(class, group, name of the source file, shape) of an image whose pixels are written."""

_HEADER = 128
"""Bytes of the head of images.npy."""


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


Spool = Callable[[Iterable[Item], Path, int], Iterator[Named]]
"""Writes the pixels of items to a file, one image behind the other from an offset on, and yields the names of each."""


def write_pack(folder: Path, items: Iterable[Item], spool: Spool | None = None) -> Pack:
    """Write items, in whatever order they come, as a pack. Raises DataError if they don't fit together.

    Memory holds the names of the images (about 100 bytes each), never more than a few MB of their pixels. `spool`
    writes those of images that are not arrays of one form yet. Items that do not come in the order of class and source
    are put in order at the end; the disk then needs room for two packs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".images.npy.part"
    try:
        named, shape = _spooled(items, part, spool or spool_arrays)
        if not named:
            raise DataError(f"{folder}: there is no image to pack")
        classes, sources, order = _sorted(named)
        # The index goes first and comes last: a pack that was cut short has none, and is never taken for a whole one.
        (folder / "index.json").unlink(missing_ok=True)
        _write_header(part, (len(order), *shape))
        if np.array_equal(order, np.arange(len(order))):
            write_atomically(folder / "images.npy", lambda path: _rename(part, path))
        else:
            write_atomically(folder / "images.npy", lambda path: _reorder(part, path, order, int(np.prod(shape))))
    finally:
        part.unlink(missing_ok=True)
    write_atomically(folder / "sources.txt", lambda path: _save_lines(path, sources))
    digest = sha256_file(folder / "images.npy")
    index = {
        "classes": [[c.name, c.group, c.start, c.count] for c in classes],
        "digest": digest,
        "sources_digest": sha256_file(folder / "sources.txt"),
    }
    write_json(folder / "index.json", index)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return Pack(images, tuple(classes), digest)


def spool_arrays(items: Iterable[Item], file: Path, offset: int) -> Iterator[Named]:
    """Write images that are arrays of one form. Raises DataError that names one that is not."""
    shape: tuple[int, ...] = ()
    with file.open("r+b") as opened:
        opened.seek(offset)
        for name, group, source, image in items:
            shape = shape or image.shape
            if image.dtype != np.uint8 or image.shape != shape or image.ndim != 3:
                raise DataError(
                    f"class {name}, image {source} is {image.dtype} {list(image.shape)}, but a pack holds uint8 images "
                    f"of one shape, here {list(shape)}; convert it"
                )
            opened.write(image.tobytes())
            yield name, group, source, shape


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


def _spooled(items: Iterable[Item], part: Path, spool: Spool) -> tuple[dict[str, _Arrived], tuple[int, ...]]:
    """Write the pixels of all items to a file. Returns the classes that came, by name, and the shape of an image."""
    arrived: dict[str, _Arrived] = {}
    shape: tuple[int, ...] = ()
    part.write_bytes(b"")
    for place, (name, group, source, of_image) in enumerate(spool(items, part, _HEADER)):
        shape = shape or of_image
        if is_rotation(name):
            raise DataError(f"class {name}: @90, @180 or @270 at the end marks a rotation; rename the class")
        of_class = arrived.setdefault(name, _Arrived(group, [], array("q")))
        if of_class.group != group:
            raise DataError(f"class {name} stands in two groups, {of_class.group} and {group}; give it one")
        of_class.sources.append(source)
        of_class.places.append(place)
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


def _write_header(file: Path, shape: tuple[int, ...]) -> None:
    """The head of a .npy file, as np.save writes it; it has this length for every shape of images."""
    head = BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert head.tell() == _HEADER, head.tell()
    with file.open("r+b") as opened:
        opened.write(head.getvalue())


def _rename(part: Path, path: Path) -> None:
    part.rename(path)


def _reorder(part: Path, path: Path, order: Int64[np.ndarray, "image"], size: int) -> None:
    """Write the images in the given order, each `size` bytes."""
    # Not through a memory map: a full disk would then be a signal that ends the process, not an error.
    with part.open("rb") as source, path.open("wb") as target:
        target.write(source.read(_HEADER))
        for place in order:
            source.seek(_HEADER + int(place) * size)
            target.write(source.read(size))


def _save_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
