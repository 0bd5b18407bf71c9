"""Images of the user's own, in the layouts that people have: class folders, a table, zip archives of class folders."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

from fewshot.data.archive import Archive, open_archive
from fewshot.data.class_folders import (
    SUFFIXES,
    Found,
    find_images,
    is_housekeeping,
    objection_to_class,
    read_bytes,
    refuse,
)
from fewshot.data.tables import SUFFIXES as TABLES
from fewshot.data.tables import find_in_tables, is_table
from fewshot.errors import DataError

MEMBER_LIMIT, TOTAL_LIMIT = 256 * 2**20, 2**40
"""Largest unpacked sizes of one image and of an archive, bytes."""


@dataclass(frozen=True)
class Collection:
    """Images that were found, in the order of class and name."""

    images: list[Found]
    groups: Mapping[str, str] = field(default_factory=dict)
    """Class -> group, where a table says it."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Class -> split, where a table says it."""


@runtime_checkable
class Read(Protocol):
    """Reads all bytes of an image."""

    def __call__(self, found: Found) -> bytes:
        """DataError that names the file if it can't be read."""


def find_local(place: Path, by_last_folder: bool = False) -> Collection:
    """All images at a place: a folder with a folder for each class, a table (.csv, .tsv), or one or more zip archives.

    A folder that holds tables beside a folder `images`, and one that holds nothing but zip archives, are taken as such.
    With `by_last_folder` a class is called by the last folder of its path alone: train/n01532829 and n01532829 are one.
    Raises DataError that names whatever can't be taken.
    """
    if not place.exists():
        raise DataError(
            f"{place} does not exist; give a folder with a folder of images for each class, a table or a zip"
        )
    if place.is_file():
        return _of_file(place, by_last_folder)
    if not place.is_dir():
        raise DataError(f"{place} is no folder, table or zip archive; it can't be read")
    here = sorted(entry for entry in place.iterdir() if not is_housekeeping(entry.name))
    refuse([pickled for entry in here if (pickled := _if_pickle(entry))])
    tables = [entry for entry in here if is_table(entry)]
    if tables and (place / "images").is_dir():
        return Collection(*find_in_tables(tables, place / "images"))
    archives = [entry for entry in here if entry.suffix.lower() == ".zip" and entry.is_file()]
    if archives and not any(entry.is_dir() for entry in here):
        return Collection(_named(_members(archives), by_last_folder))
    return Collection(_named(find_images(place), by_last_folder))


@contextmanager
def reading() -> Iterator[Read]:
    """A function that reads images; each archive is opened once."""
    with ExitStack() as stack:
        opened: dict[Path, Archive] = {}

        def read(found: Found) -> bytes:
            if not found.member:
                return read_bytes(found.file)
            if found.file not in opened:
                opened[found.file] = stack.enter_context(open_archive(found.file, MEMBER_LIMIT, TOTAL_LIMIT))
            return opened[found.file].read(found.member)

        yield read


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _of_file(place: Path, by_last_folder: bool) -> Collection:
    refuse([pickled] if (pickled := _if_pickle(place)) else [])
    if is_table(place):
        return Collection(*find_in_tables([place], place.parent))
    if place.suffix.lower() == ".zip":
        return Collection(_named(_members([place]), by_last_folder))
    raise DataError(
        f"{place} is neither a folder nor a table ({', '.join(TABLES)}) nor a zip archive of class folders; unpack it, "
        "and give the folder"
    )


def _if_pickle(place: Path) -> str:
    if place.suffix.lower() not in (".pkl", ".pickle"):
        return ""
    return (
        f"{place} is a pickle, which can run any code when it is read, so it is not; get the images as files (folders "
        "of JPEG or PNG, or a zip archive of them)"
    )


def _members(archives: list[Path]) -> list[Found]:
    """The images in zip archives, each folder in one that holds some being a class."""
    found, wrong = [], []
    for archive in archives:
        with open_archive(archive, MEMBER_LIMIT, TOTAL_LIMIT) as members:
            for name in sorted(members.names):
                folders, _, file = name.rpartition("/")
                if Path(file).suffix.lower() not in SUFFIXES or any(map(is_housekeeping, name.split("/"))):
                    continue
                if reason := objection_to_class(folders):
                    wrong.append(f"{archive}: {name} {reason}")
                found.append(Found(folders, file, archive, name))
    refuse(wrong)
    return found


def _named(found: list[Found], by_last_folder: bool) -> list[Found]:
    """In order, each image by a name of its own; DataError for two files of one name."""
    if by_last_folder:
        found = [one._replace(class_name=one.class_name.rpartition("/")[2]) for one in found]
    found.sort()
    twice = [f"{one.file} and {other.file} both hold {one.key}; remove one" for one, other in
             pairwise(found) if one[:2] == other[:2]]  # fmt: skip
    refuse(twice)
    return found
