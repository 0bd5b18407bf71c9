"""Folders of images, one for each class, as people have them: what is found in them, and what is said of the rest.

Whatever is not collected is either named in an error or housekeeping of a program; nothing is left out in silence.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from fewshot.data.archive import objection_to_name
from fewshot.data.pack import is_rotation
from fewshot.errors import DataError
from fewshot.system.text import shown

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

HOUSEKEEPING = frozenset(
    {
        *("__macosx", "network trash folder", "temporary items"),  # macOS, AFP
        *("$recycle.bin", "system volume information", "lost+found"),
        *("@eadir", "@tmp", "@sharebin", "#recycle", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot"),  # QNAP
        "~snapshot",  # NetApp
    }
)
"""Folders, in lower case, that systems and NAS boxes put among the user's; what begins with a dot is skipped too."""

_NAMED = 10
"""Files that one error names."""


class Found(NamedTuple):
    """An image file: its class, its name in it, and its place. Both names are in Unicode's composed form (NFC)."""

    class_name: str
    name: str
    file: Path
    """The file, or the zip archive that it is in."""
    member: str = ""
    """Its name in the archive."""

    @property
    def key(self) -> str:
        """Its name with that of its class."""
        return f"{self.class_name}/{self.name}"


def is_housekeeping(name: str) -> bool:
    """True for files and folders that a program made for itself, such as .ipynb_checkpoints, __MACOSX or ._1.png."""
    return name.startswith(".") or name.casefold() in HOUSEKEEPING


def find_images(folder: Path) -> list[Found]:
    """Every image below the folder, each folder that holds some being a class, in the order of class and name.

    Links are followed. Raises DataError that names whatever can't be collected: a file beside the classes, a link to
    nothing or in a circle, a folder that can't be read, a file that is no regular one, and a name that no archive
    holds or that two files share.
    """
    found: list[Found] = []
    wrong: list[str] = []
    for place in _folders(folder, wrong):
        for entry in _entries(place, wrong):
            if Path(entry.name).suffix.lower() not in SUFFIXES or entry.is_dir():
                continue
            if reason := _objection(entry, (place / entry.name).relative_to(folder)):
                wrong.append(f"{entry.path} {reason}")
            else:
                class_name = unicodedata.normalize("NFC", place.relative_to(folder).as_posix())
                found.append(Found(class_name, unicodedata.normalize("NFC", entry.name), Path(entry.path)))
    found.sort()
    for one, other in pairwise(found):
        if one[:2] == other[:2]:
            wrong.append(f"{one.file} and {other.file} have one name in two spellings of Unicode; rename one")
    refuse(wrong)
    return found


def read_bytes(file: Path) -> bytes:
    """All of a file. DataError that names it if it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} can't be read ({error.strerror}); make it readable or remove it") from None


def refuse(wrong: Sequence[str]) -> None:
    """DataError that names what is wrong with files, up to ten of them, if there is anything."""
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DataError("; ".join(shown(text) for text in wrong[:_NAMED]) + more)


def _folders(folder: Path, wrong: list[str]) -> Iterator[Path]:
    """The folder and all below it, without housekeeping; links are followed, but in no circle."""
    waiting: list[tuple[Path, frozenset[str]]] = [(folder, frozenset())]
    while waiting:
        place, above = waiting.pop()
        real = os.path.realpath(place)
        if real in above:
            wrong.append(f"{place} is a link back to a folder that it lies in; remove it")
            continue
        yield place
        waiting += [(place / entry.name, above | {real}) for entry in _entries(place, wrong) if entry.is_dir()]


def _entries(place: Path, wrong: list[str]) -> list["os.DirEntry[str]"]:
    """Entries of a folder, without housekeeping; in order, so that an error says the same each time."""
    try:
        with os.scandir(place) as entries:
            return sorted((one for one in entries if not is_housekeeping(one.name)), key=lambda one: one.name)
    except OSError as error:
        said = f"{place} can't be read ({error.strerror}); make it readable or move it away"
        if said not in wrong:
            wrong.append(said)
        return []


def _objection(entry: "os.DirEntry[str]", name: Path) -> str:
    """The reason why a file can't be collected, and what to do; empty if it can. `name` starts at the folder."""
    if len(name.parts) < 2:
        return "lies beside the classes; move it into the folder of its class"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "is a link to nothing; remove it"
    if not entry.is_file():
        return "is no regular file; remove it"
    return objection_to_class(name.parent.as_posix()) or _objection_to_file(name)


def objection_to_class(name: str) -> str:
    """The reason why a class may not be called so, and what to do; empty if it may."""
    if not name:
        return "lies beside the classes; move it into the folder of its class"
    if is_rotation(name):
        return "lies in a class whose name ends like that of a rotated one (@90, @180, @270); rename the class"
    reason = objection_to_name(name)
    return f"has a name that can't be kept: {reason}; rename it" if reason else ""


def _objection_to_file(name: Path) -> str:
    reason = objection_to_name(name.as_posix())
    return f"has a name that can't be kept: {reason}; rename it" if reason else ""
