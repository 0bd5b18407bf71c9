"""Images of the user's own: a folder with a folder for each class, a table, or zip archives of class folders.

my-images/
  birds/wren/     1.jpg 2.jpg ...      class "birds/wren" of the group "birds"
  cat/            a.png ...            class "cat" of the group "."

The place is watched, never changed: `fetch` copies the files, as they are, into one archive that DVC versions, with an
index that says what is in it. Equal files give an equal archive, in whichever layout they came.
"""

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from fewshot.data.archive import open_archive, read_member
from fewshot.data.class_folders import SUFFIXES, Found, read_bytes, refuse
from fewshot.data.decoding import unreadable
from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.local_images import MEMBER_LIMIT, TOTAL_LIMIT, Collection, digest_of, find_local, reading
from fewshot.data.pack import Item, Original
from fewshot.errors import DataError
from fewshot.system.files import read_json, sha256_file, write_atomically, write_json

IMAGES, INDEX = "images.zip", "index.json"
FILES = (IMAGES, INDEX)

Classes = dict[str, dict[str, str]]
"""Class -> file name -> SHA-256."""


class Options(ImageOptions):
    """The form of the images, and the names of their classes."""

    by_last_folder: bool = Field(False, description="whether a class is called by the last folder of its path alone")


def find(given: Given) -> Collection:
    """The images at the place that the declaration names. DataError that names what is wrong, and the remedy."""
    if given.path is None or not given.path.exists():
        place = given.path or "no path"
        raise DataError(
            f"dataset {given.name}: {place} does not exist; name the place again: fewshot data add {given.name} PATH"
        )
    return find_local(given.path, given.options.by_last_folder)


def fetch(raw: Path, given: Given) -> None:
    """Bring the archive in `raw` up to date with the place; where nothing changed it is left alone.

    Raises DataError for a place that is not there or holds no image, and for a file that is none: the archive is then
    what it was.
    """
    collection = find(given)
    if not collection.images:
        kinds = ", ".join(SUFFIXES)
        raise DataError(f"{given.path} holds no image ({kinds}); put a folder of images into it for each class")
    known = {digest for of_class in classes_in(raw).values() for digest in of_class.values()}
    classes: Classes = {}
    wrong: list[str] = []
    with reading() as read:
        new = []
        for found in collection.images:
            try:
                digest = digest_of(read(found))
            except DataError as error:
                wrong.append(str(error))
                continue
            classes.setdefault(found.class_name, {})[found.name] = digest
            if digest not in known:
                new.append(found)
        wrong += unreadable(map(_original, new), len(new), given.options)
        refuse(wrong)
        wanted = described(collection, classes)
        if not _is_whole(raw, wanted):
            (raw / INDEX).unlink(missing_ok=True)  # first, and written last: without it the archive counts for nothing
            write_atomically(raw / IMAGES, lambda path: _write_archive(path, collection, classes))
            write_json(raw / INDEX, {**wanted, "archive": sha256_file(raw / IMAGES)})


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each image of the archive, as a function that reads its file. Raises DamagedFileError."""
    index = read_json(raw / INDEX, _remedy(raw))
    groups = index.get("groups", {})
    with open_archive(raw / IMAGES, MEMBER_LIMIT, TOTAL_LIMIT):
        for name, files in index["classes"].items():
            group = groups.get(name) or name.rpartition("/")[0] or "."
            for file in files:
                yield name, group, f"{name}/{file}", partial(read_member, raw / IMAGES, f"{name}/{file}")


def count(raw: Path, given: Given) -> int:
    """The number of images in the archive."""
    return sum(map(len, classes_in(raw).values()))


def assigned(raw: Path, given: Given) -> dict[str, str]:
    """Class -> split, as the table has it. DataError for images that came without a table, or a class without one."""
    index = read_json(raw / INDEX, _remedy(raw))
    splits = dict(index.get("splits", {}))
    if without := sorted(index["classes"].keys() - splits.keys()):
        raise DataError(
            f"dataset {given.name} takes the split of each class from its table, which says none for {without[0]}; add "
            "a column split (train, val, gate or test), or declare splits: [hash] or [test-only]"
        )
    return splits


def described(collection: Collection, classes: Classes) -> dict[str, Any]:
    """The content of an index, and of a listing: the digest of every image, and what a table says of the classes."""
    told = {"groups": collection.groups, "splits": collection.splits}
    return {"classes": classes, **{name: dict(values) for name, values in told.items() if values}}


def classes_in(raw: Path) -> Classes:
    """The classes that the archive in `raw` holds; none if there is no archive."""
    try:
        return dict(read_json(raw / INDEX, _remedy(raw))["classes"])
    except DataError:
        return {}


def shared_images(classes: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Pairs of equal files in two classes, as class/name."""
    first: dict[str, tuple[str, str]] = {}
    pairs = []
    for class_name, files in sorted(classes.items()):
        for name, digest in sorted(files.items()):
            other, place = first.setdefault(digest, (class_name, f"{class_name}/{name}"))
            if other != class_name:
                pairs.append((place, f"{class_name}/{name}"))
    return pairs


def changes(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Differences between the classes of two versions, one phrase each: new, vanished, shrank, grew, changed."""
    found = [f"{name} vanished ({len(before[name])} images)" for name in sorted(before.keys() - after.keys())]
    for name, files in sorted(after.items()):
        old = before.get(name)
        if old is None:
            found.append(f"{name} is new ({len(files)} images)")
        elif len(files) != len(old):
            found.append(
                f"{name} {'grew' if len(files) > len(old) else 'shrank'} from {len(old)} to {len(files)} images"
            )
        elif files != old:
            number = sum(old.get(file) != digest for file, digest in files.items())
            found.append(f"{name} changed ({number} of {len(files)} images)")
    return found


def _original(found: Found) -> tuple[str, Original]:
    """The name of an image for people, and a function that reads it."""
    if found.member:
        return f"{found.file}: {found.member}", partial(read_member, found.file, found.member)
    return str(found.file), partial(read_bytes, found.file)


def _remedy(raw: Path) -> str:
    return f"run: fewshot data prepare {raw.parent.name}"


def _is_whole(raw: Path, wanted: dict[str, Any]) -> bool:
    """True if the archive in `raw` is there and holds just this."""
    try:
        index = read_json(raw / INDEX, _remedy(raw))
        archive = index.pop("archive")
        return bool(index == wanted) and (raw / IMAGES).is_file() and sha256_file(raw / IMAGES) == archive
    except DataError:
        return False


def _write_archive(path: Path, collection: Collection, classes: Classes) -> None:
    """Stored, not compressed, as images are already; without times and modes, which would change its digest."""
    with reading() as read, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for found in collection.images:
            content = read(found)
            if digest_of(content) != classes[found.class_name][found.name]:
                raise DataError(f"{found.file} was changed while it was collected; run it again")
            archive.writestr(zipfile.ZipInfo(found.key), content)
