"""All images of a dataset as one memory-mapped array with an index, written atomically and checked when opened.

A pack is a folder of three files: `images.npy`, `index.json` (the classes, and the digests of the other two) and
`sources.txt` (for each image the name of the file that it was read from). Equal images give equal bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fewshot.errors import DamagedFileError, DataError
from fewshot.files import read_json, sha256_file, write_atomically, write_bytes, write_json

Item = tuple[str, str, str, np.ndarray]
"""(class, group, name of the source file, image); an image is uint8 [channel, height, width], which packing checks."""


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

    images: UInt8[np.ndarray, "image channel height width"]
    classes: tuple[PackedClass, ...]
    digest: str
    """SHA-256 of images.npy."""


def write_pack(folder: Path, items: Iterable[Item]) -> Pack:
    """Write the items, in whatever order they come, as a pack. Raises DataError if they don't fit together."""
    ordered = sorted(items, key=lambda item: (item[0], item[2]))
    if not ordered:
        raise DataError(f"{folder}: there is no image to pack")
    classes = _classes(ordered)
    images = _stacked(ordered)
    # The index goes first and comes last: a pack that was cut short has none, and is never taken for a whole one.
    (folder / "index.json").unlink(missing_ok=True)
    write_atomically(folder / "images.npy", lambda path: _save(path, images))
    write_bytes(folder / "sources.txt", "".join(f"{item[2]}\n" for item in ordered).encode())
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


def source_names(folder: Path) -> list[str]:
    """For each image of the pack the name of the file that it was read from."""
    return (folder / "sources.txt").read_text(encoding="utf-8").splitlines()


def _classes(ordered: Sequence[Item]) -> list[PackedClass]:
    """The classes of items that are sorted by class and source name."""
    first: dict[str, int] = {}
    group_of: dict[str, str] = {}
    for row, (name, group, source, _) in enumerate(ordered):
        first.setdefault(name, row)
        if group_of.setdefault(name, group) != group:
            raise DataError(f"class {name} stands in two groups, {group_of[name]} and {group}; give it one")
        if "@" in name:
            raise DataError(f"class {name}: '@' marks rotations and can't stand in a name; rename the class")
        if row and ordered[row - 1][::2][:2] == (name, source):
            raise DataError(f"class {name} has the image {source} twice; remove one")
    ends = [*list(first.values())[1:], len(ordered)]
    spans = zip(first.items(), ends, strict=True)
    return [PackedClass(name, group_of[name], start, end - start) for (name, start), end in spans]


def _stacked(ordered: Sequence[Item]) -> UInt8[np.ndarray, "image channel height width"]:
    shape = ordered[0][3].shape
    for name, _, source, image in ordered:
        if image.dtype != np.uint8 or image.shape != shape or image.ndim != 3:
            raise DataError(
                f"class {name}, image {source} is {image.dtype} {list(image.shape)}, but a pack holds uint8 images of "
                f"one shape, here {list(shape)}; convert it"
            )
    return np.stack([item[3] for item in ordered])


def _save(path: Path, images: np.ndarray) -> None:
    # Given a path, np.save would add a second ".npy" to the temporary name.
    with path.open("wb") as file:
        np.save(file, images, allow_pickle=False)
