"""A user's own folder of images: each folder in it that holds images is a class, however deep it lies.

my-images/
  birds/wren/     1.jpg 2.jpg ...      class "birds/wren" of the group "birds"
  cat/            a.png ...            class "cat" of the group "."

The folder is watched, never changed: `collect` copies the files, as they are, into one archive that DVC versions, with
an index that says what is in it. Equal files give an equal archive.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from fewshot.data.archive import open_archive
from fewshot.data.class_folders import SUFFIXES, Found, find_images, read_bytes, refuse
from fewshot.data.image_files import read_image
from fewshot.data.pack import Item
from fewshot.errors import DataError, UsageError
from fewshot.settings.base import Immutable
from fewshot.system.files import read_json, sha256_file, write_atomically, write_json

IMAGES, INDEX = "images.zip", "index.json"
FILES = (IMAGES, INDEX)
_MEMBER_LIMIT, _TOTAL_LIMIT = 256 * 2**20, 2**40
_REMEDY = "run: fewshot data prepare folder"

Classes = dict[str, dict[str, str]]
"""Class -> file name -> SHA-256."""


class FolderOptions(Immutable):
    """What params.yaml says of the watched folder, under `folder`."""

    path: str = Field(min_length=1, description="the folder; a relative path starts at the project")
    side: int = Field(84, ge=8, le=1024, description="pixels; images are fitted whole into a square of this size")
    channels: Literal[1, 3] = Field(3, description="1: grey; 3: colour")
    ink: Literal["auto", "dark", "bright"] = Field(
        "bright",
        description="of grey images: dark is inverted; auto: inverted if the border is bright, as with letters",
    )

    @classmethod
    def parse(cls, values: Any) -> "FolderOptions":
        """From the section of params.yaml. Raises UsageError that names what is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(["folder", *map(str, first["loc"])])
            raise UsageError(f"params.yaml: {name} = {first['input']!r}: {first['msg'].lower()}") from None


def existing_folder(options: FolderOptions) -> Path:
    """The watched folder. DataError, with the command that names another, if there is none."""
    folder = Path(options.path)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; correct folder.path in params.yaml: fewshot data watch FOLDER")
    return folder


def collect(options: FolderOptions, raw: Path) -> None:
    """Bring the archive in `raw` up to date with the folder; where nothing changed it is left alone.

    Raises DataError for a folder that is not there or holds no image, and for a file that is none: the archive is then
    what it was.
    """
    folder = existing_folder(options)
    files = find_images(folder)
    if not files:
        kinds = ", ".join(SUFFIXES)
        raise DataError(f"{folder} holds no image ({kinds}); put a folder of images into it for each class")
    known = {digest for of_class in classes_in(raw).values() for digest in of_class.values()}
    classes: Classes = {}
    wrong: list[str] = []
    for class_name, name, file in files:
        try:
            digest = hashlib.sha256(read_bytes(file)).hexdigest()
            if digest not in known:
                read_image(file, (options.channels, options.side, options.side), options.ink)
        except DataError as error:
            wrong.append(str(error))
        else:
            classes.setdefault(class_name, {})[name] = digest
    refuse(wrong)
    wanted = {"classes": classes, "options": options.model_dump(exclude={"path"})}
    if not _is_whole(raw, wanted):
        (raw / INDEX).unlink(missing_ok=True)  # first, and written last: without it the archive counts for nothing
        write_atomically(raw / IMAGES, lambda path: _write_archive(path, files, classes))
        write_json(raw / INDEX, {**wanted, "archive": sha256_file(raw / IMAGES)})


def fetch(raw: Path) -> None:
    """There is nothing to download."""
    raise DataError(f"the images of an own folder are collected, not downloaded; {_REMEDY}")


def read(raw: Path) -> Iterator[Item]:
    """Each image of the archive, fitted into a square as the index says. Raises DamagedFileError."""
    index = read_json(raw / INDEX, _REMEDY)
    side, channels, ink = (index["options"][name] for name in ("side", "channels", "ink"))
    with open_archive(raw / IMAGES, _MEMBER_LIMIT, _TOTAL_LIMIT) as members:
        for name, files in index["classes"].items():
            group = name.rpartition("/")[0] or "."
            for file in files:
                place = f"{name}/{file}"
                image = read_image(io.BytesIO(members.read(place)), (channels, side, side), ink, name=place)
                yield name, group, place, image


def classes_in(raw: Path) -> Classes:
    """What the archive in `raw` holds; nothing if there is none."""
    try:
        return dict(read_json(raw / INDEX, _REMEDY)["classes"])
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
    """How the classes of two versions differ, one phrase for each class: new, vanished, shrank, grew, changed."""
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


def _is_whole(raw: Path, wanted: dict[str, Any]) -> bool:
    """Whether the archive in `raw` is there and holds just this."""
    try:
        index = read_json(raw / INDEX, _REMEDY)
        archive = index.pop("archive")
        return bool(index == wanted) and (raw / IMAGES).is_file() and sha256_file(raw / IMAGES) == archive
    except DataError:
        return False


def _write_archive(path: Path, files: list[Found], classes: Classes) -> None:
    """Stored, not compressed, as images are already; without times and modes, which would change its digest."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for class_name, name, file in files:
            content = read_bytes(file)
            if hashlib.sha256(content).hexdigest() != classes[class_name][name]:
                raise DataError(f"{file} was changed while it was collected; run it again")
            archive.writestr(zipfile.ZipInfo(f"{class_name}/{name}"), content)
