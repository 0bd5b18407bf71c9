"""The listing of a dataset's files outside the project: the digest of each image, by which DVC notices every change.

DVC never looks into the place itself. It would wait for a pipe, stop at a socket, a broken link or a name that is no
text, be they ever so far from the images, and never notice a change behind a link. A dataset that is downloaded has no
such files, and an empty listing.
"""

import os
import time
from pathlib import Path
from typing import Any

from fewshot.data.class_folders import Found, refuse
from fewshot.data.local_images import Collection, digest_of, reading
from fewshot.data.sources import Source
from fewshot.data.sources.local import Classes, described
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError
from fewshot.system.files import read_json, write_json

LISTING, _SEEN = "listing.json", "listing-seen.json"
_REMEDY = "it is made again"

_SETTLED_S = 3
"""A file that was changed more recently may change again within one tick of the disk's clock: it is read each time."""


def list_images(dataset: str, source: Source, data_dir: Path) -> None:
    """Bring data_dir/<dataset>/listing.json up to date; it is left alone where no image changed.

    Files of which size, times and inode are as they were are not read again. Raises DataError for a place that is not
    there, and one that names all that can't be collected.
    """
    target = data_dir / dataset
    with disk_errors(target):
        collection = source.find() or Collection([])
        seen, now = _stored(target / _SEEN), time.time()
        classes: Classes = {}
        known: dict[str, list[int | str]] = {}
        states: dict[Path, list[int]] = {}
        wrong: list[str] = []
        with reading() as read:
            for found in collection.images:
                try:
                    state = states.get(found.file) or states.setdefault(found.file, _state(found))
                    before = seen.get(found.key, [])
                    digest = before[-1] if before[:-1] == state else digest_of(read(found))
                except DataError as error:
                    wrong.append(str(error))
                    continue
                classes.setdefault(found.class_name, {})[found.name] = digest
                if now - max(state[1], state[2]) / 1e9 > _SETTLED_S:
                    known[found.key] = [*state, digest]
        refuse(wrong)
        if known != seen:
            write_json(target / _SEEN, known)
        listing = described(collection, classes)
        if _stored(target / LISTING) != listing:
            write_json(target / LISTING, listing)


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
