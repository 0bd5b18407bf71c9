"""The listing of a watched folder: the digest of each image in it, by which DVC notices every change.

DVC never looks into the folder itself. It would wait for a pipe, stop at a socket, a broken link or a name that is no
text, be they ever so far from the images, and never notice a change behind a link.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from fewshot.data.class_folders import Found, find_images, read_bytes, refuse
from fewshot.data.sources.folder import Classes, FolderOptions, existing_folder
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError
from fewshot.system.files import read_json, write_json

LISTING, _SEEN = "listing.json", "listing-seen.json"
_REMEDY = "it is made again"

_SETTLED_S = 3
"""A file that was changed more recently may change again within one tick of the disk's clock: it is read each time."""


def list_images(options: FolderOptions, data_dir: Path) -> None:
    """Bring data_dir/folder/listing.json up to date; it is left alone where no image changed.

    Files of which size, times and inode are as they were are not read again. Raises DataError for a folder that is not
    there, and one that names all that can't be collected.
    """
    folder, target = existing_folder(options), data_dir / "folder"
    with disk_errors(target):
        seen, now = _stored(target / _SEEN), time.time()
        classes: Classes = {}
        known: dict[str, list[int | str]] = {}
        wrong: list[str] = []
        for found in find_images(folder):
            try:
                state = _state(found)
                before = seen.get(_key(found), [])
                digest = before[-1] if before[:-1] == state else hashlib.sha256(read_bytes(found.file)).hexdigest()
            except DataError as error:
                wrong.append(str(error))
                continue
            classes.setdefault(found.class_name, {})[found.name] = digest
            if now - max(state[1], state[2]) / 1e9 > _SETTLED_S:
                known[_key(found)] = [*state, digest]
        refuse(wrong)
        if known != seen:
            write_json(target / _SEEN, known)
        if _stored(target / LISTING) != {"classes": classes}:
            write_json(target / LISTING, {"classes": classes})


def _key(found: Found) -> str:
    return f"{found.class_name}/{found.name}"


def _state(found: Found) -> list[int]:
    """Size, times of change in ns and place on the disk."""
    try:
        state = os.stat(found.file)
    except OSError as error:
        raise DataError(f"{found.file} can't be read ({error.strerror}); make it readable or remove it") from None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]


def _stored(file: Path) -> dict[str, Any]:
    """Content of a file of this module; empty if it is not there, or not whole."""
    try:
        return read_json(file, _REMEDY)
    except DataError:
        return {}
