"""Damaged files that DVC does not notice: they are found by their digests and deleted, so that DVC makes them again.

DVC trusts a file whose size and time are unchanged, and any object of its cache that is read-only.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from fewshot.project.paths import Home

CACHE = Path(".dvc", "cache", "files", "md5")


@dataclass
class Damage:
    """The damage that was found."""

    deleted: list[Path] = field(default_factory=list)
    """Files with other bytes than dvc.lock records."""
    missing: bool = False
    """Whether the cache lacks objects, which must then come from a remote or be made again."""


def remove_damaged(home: Home, outputs: dict[str, str]) -> Damage:
    """Check the cached objects and the files of DVC outputs (path -> md5 of its folder), and delete damaged ones.

    Raw files are not deleted: one that differs may be somebody's own.
    """
    found = Damage()
    for path, md5 in outputs.items():
        folder = _object(home, md5)
        if not _keep(folder, md5.removesuffix(".dir"), found):
            found.missing = True
            continue
        for entry in json.loads(folder.read_text(encoding="utf-8")):
            found.missing |= not _keep(_object(home, entry["md5"]), entry["md5"], found)
            if not path.endswith("/raw"):
                _keep(home.project / path / entry["relpath"], entry["md5"], found)
    return found


def _keep(file: Path, md5: str, found: Damage) -> bool:
    """Whether a file exists and is undamaged; a damaged one is deleted."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "md5").hexdigest() == md5:
            return True
    file.unlink()
    found.deleted.append(file)
    return False


def _object(home: Home, md5: str) -> Path:
    return home.project / CACHE / md5[:2] / md5[2:]
