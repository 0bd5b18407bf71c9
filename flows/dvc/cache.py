"""Objects of DVC's cache that nothing leads to any more.

Only what a version was trained on, and nothing else leads to, can go: whatever the user gave to DVC, or another project
that shares the cache, stays. DVC's own `gc` knows commits, but not which version of the data a model was trained on.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from fewshot.project.paths import Home
from flows.dvc.repair import CACHE

_AS_IDS = ("--format=", "--raw", "--no-abbrev", "-m")
_NAMES = ("dvc.lock", "*.dvc")
"""Files, in any folder, by which DVC names objects."""
_MD5 = re.compile(r"\b[0-9a-f]{32}\b")


def unneeded_objects(
    home: Home, going: Iterable[dict[str, str]], staying: Iterable[dict[str, str]], before: datetime
) -> Iterator[Path]:
    """Objects that were put there before a time, of the data of versions that are `going`: path -> md5 of each.

    Those of versions that are `staying`, of this work tree and of any commit are needed. None of a cache that is
    elsewhere, as others may share it, and none if git does not say what its commits need.
    """
    if _is_elsewhere(home):
        return
    candidates = _with_files(home, {md5.partition(".")[0] for data in going for md5 in data.values()})
    if not candidates or (locks := _locks(home)) is None:
        return
    needed = {md5.partition(".")[0] for data in staying for md5 in data.values()}
    needed = _with_files(home, needed | {md5 for text in locks for md5 in _MD5.findall(text)})
    for md5 in sorted(candidates - needed):
        for name in (md5[2:], f"{md5[2:]}.dir"):
            file = home.project / CACHE / md5[:2] / name
            if file.is_file() and file.lstat().st_mtime < before.timestamp():
                yield file


def _with_files(home: Home, found: set[str]) -> set[str]:
    """With the md5 of the files in those that stand for a folder."""
    return found.union(*(_listed(home.project / CACHE / md5[:2] / f"{md5[2:]}.dir") for md5 in found))


def _locks(home: Home) -> list[str] | None:
    """The text of each file of _NAMES, in the project and in all commits; None if git can't be asked."""
    files = [file for name in _NAMES for file in home.project.rglob(name) if file.is_file()]
    found = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    if not any((folder / ".git").exists() for folder in (home.project, *home.project.parents)):
        return found
    # Each line: modes, the file's id before and after, how it changed, its name; of merges, one for each parent.
    places = [f":(top,glob)**/{name}" for name in _NAMES]
    changes = _git(home, "-c", "log.showRoot=true", "log", "--all", "--full-history", *_AS_IDS, "--", *places)
    if changes is None:
        return None
    for blob in {line.split()[3] for line in changes.splitlines() if line.startswith(":")} - {"0" * 40, "0" * 64}:
        if (text := _git(home, "cat-file", "blob", blob)) is None:
            return None
        found.append(text)
    return found


def _listed(folder: Path) -> set[str]:
    """The md5 of the files in an object that stands for a folder; of a lost or damaged one nothing is known."""
    try:
        return {str(entry["md5"]) for entry in json.loads(folder.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_elsewhere(home: Home) -> bool:
    for name in ("config", "config.local"):
        try:
            read = ConfigObj(str(home.project / ".dvc" / name), encoding="utf-8")
        except (ConfigObjError, UnicodeDecodeError):
            return True  # can't be known
        if "dir" in read.get("cache", {}):
            return True
    return False


def _git(home: Home, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=home.project, capture_output=True, text=True, errors="replace")
    except OSError:  # there is no git
        return None
    return done.stdout if done.returncode == 0 else None
