"""The state folder by kind: the bytes of each, and the files in it that nothing needs any more."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fewshot.errors import DamagedFileError
from fewshot.project.fingerprints import code_hashes, requirements_hash
from fewshot.project.paths import Home
from fewshot.system.files import read_json, sha256_file, size_of
from fewshot.training.identity import ENTRY

_STEP = re.compile(r"(?:prepare-data|features|meta-train|evaluate|register)-[0-9a-f]{32}")
"""The key of a step, by which its record, its folder and its lock are called."""
_PART = re.compile(r"\..+\.\d+\.part")
"""A file that `fewshot.system.files.write_atomically` did not finish."""


def sizes(home: Home) -> dict[str, int]:
    """Bytes of each kind."""
    reported = {
        "trainings": [home.trainings],
        "evaluations": [home.evaluations],
        "features": [home.features],
        "records and locks": [home.results],
        "reports": [home.state / "reports"],
        "files of versions": [home.mlflow / "artifacts"],
        "MLflow's database": _database(home.mlflow / "mlflow.db"),
        "Prefect's history": _database(home.prefect / "prefect.db"),
    }
    found = {kind: sum(map(size_of, paths)) for kind, paths in reported.items()}
    rest = max(0, size_of(home.state) - sum(found.values()))
    return found | {"DVC's cache": size_of(home.project / ".dvc" / "cache"), "all else": rest}


def retrainings(home: Home) -> dict[str, int]:
    """The number of retrainings that left something of a kind."""
    places = {
        "trainings": home.trainings,
        "evaluations": home.evaluations,
        "reports": home.state / "reports",
        "files of versions": home.mlflow / "artifacts" / "models",
    }
    counted = {kind: len(_entries(place)) for kind, place in places.items()}
    return counted | {"records and locks": sum(file.name.startswith("meta-train-") for file in _entries(home.results))}


def _database(file: Path) -> list[Path]:
    """A database and what SQLite keeps beside it while it is open."""
    return [file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")]


def versions_in_use(home: Home, before: datetime) -> set[tuple[str, str]]:
    """(model, version) of those that the last run of each preset, or any run since a time, found or made."""
    keys, found = _keys_in_use(home, before.timestamp()), set()
    for file in _entries(home.results):
        if file.name.startswith("register-") and file.name in keys:
            with suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads(json.loads(file.read_text(encoding="utf-8"))["result"])
                found.add((str(record["model"]), str(record["version"])))
    return found


def unneeded(home: Home, before: datetime, weights: Set[str], registered: Set[str]) -> Iterator[tuple[str, Path]]:
    """Kind and path of what can go.

    `weights` are the digests of those whose versions keep their files, `registered` those of all versions: what is not
    among them exists here alone.
    """
    old = before.timestamp()
    keys = _keys_in_use(home, old)
    for folder in _entries(home.trainings):
        is_needed = folder.name in keys or _touched(folder) >= old
        yield from (("trainings", path) for path in _of_training(home, folder, is_needed, weights, registered))
    for folder in _entries(home.evaluations):
        if folder.name not in keys and _touched(folder) < old:
            yield "evaluations", folder
    for folder in _entries(home.features):
        if folder.name not in keys and _touched(folder) < old:
            yield "features", folder
    for file in _entries(home.results):
        if _STEP.fullmatch(file.name) and file.name not in keys:
            yield "records and locks", file
    for file in (*_entries(home.locks), *_entries(home.alive)):
        is_of_a_step = _STEP.fullmatch(file.stem) or file.parent == home.alive
        is_old = _touched(file) < old and file.stem not in keys
        if file.suffix == ".lock" and is_of_a_step and is_old and _is_free(file):
            yield "records and locks", file
    yield from (("all else", path) for path in _left_behind(home, old))


def delete(path: Path) -> None:
    """Delete a file or folder; a lock that somebody has come to hold, and what is gone already, are passed over."""
    if path.suffix == ".lock":
        _is_free(path, then=lambda: path.unlink(missing_ok=True))
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _of_training(home: Home, folder: Path, is_needed: bool, weights: Set[str], registered: Set[str]) -> Iterator[Path]:
    """A whole training, or the checkpoints of a finished one, which nothing goes on from.

    A model that is registered nowhere stays; of an unfinished training, what the code of today can go on from.
    """
    result = _result(folder)
    made = result.get("weights_sha256", "")
    can_go = made in registered - weights if result else not _can_go_on(home, folder)
    if can_go and not is_needed:
        yield folder
    elif result and sha256_file(folder / "model" / "weights.safetensors") == result["weights_sha256"]:
        yield from folder.glob("checkpoint-*.safetensors")


def _result(folder: Path) -> dict[str, Any]:
    """The result of a finished training that is whole; else empty."""
    try:
        found = read_json(folder / "result.json", "train again")
    except DamagedFileError:
        return {}
    return found if (folder / "model" / "weights.safetensors").is_file() else {}


def _can_go_on(home: Home, folder: Path) -> bool:
    """True for an unfinished training that may be taken up again: nothing says that its code or packages are others."""
    try:
        made_of = read_json(folder / "run.json", "delete it")
        then, now = made_of["code"], code_hashes(ENTRY)
        same = all(now[module] == then[module] for module in now.keys() & then.keys())
        return bool(same and made_of["requirements"] == requirements_hash(home.project))
    except (DamagedFileError, KeyError, TypeError, AttributeError):
        return True


def _left_behind(home: Home, old: float) -> Iterator[Path]:
    """Half-written files, work trees of a `verify` that was killed, databases that were set aside."""
    yield from (path for path in _entries(home.state / "verify") if _touched(path) < old)
    yield from (path for path in _entries(home.prefect) if ".db.damaged-" in path.name and _touched(path) < old)
    for path in home.state.rglob(".*.part"):
        if _PART.fullmatch(path.name) and _touched(path) < old:
            yield path


def _keys_in_use(home: Home, old: float) -> set[str]:
    """The keys of the steps that the last run of each preset, or any run of late, found or made."""
    keys = {file.name for file in _entries(home.results) if _touched(file) >= old}
    for file in (home.state / "last").glob("*.json"):
        if file.is_file():  # a pipe would be waited for
            keys |= set(_STEP.findall(file.read_text(encoding="utf-8", errors="replace")))
    return keys


def _is_free(lock: Path, then: Callable[[], None] = lambda: None) -> bool:
    """True if nobody holds a lock; `then` is done while it is held here."""
    seen = lock.lstat()
    try:
        with FileLock(lock, timeout=0):
            then()
    except Timeout:
        return False
    with suppress(FileNotFoundError):
        os.utime(lock, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # taking it makes it young
    return True


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _touched(path: Path) -> float:
    """Time of the last change of a file, or of the youngest below a folder; what goes meanwhile counts as young."""
    try:
        inside = [file.lstat().st_mtime for file in path.rglob("*")] if path.is_dir() else []
        return max([path.lstat().st_mtime, *inside])
    except FileNotFoundError:
        return float("inf")
