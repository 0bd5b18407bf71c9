"""DVC's command line, called once at a time: compare the data with dvc.lock, and bring them up to date.

`dvc.repo.Repo` is not a released interface. Of two calls at once the second fails ("is busy"), hence the file lock.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from fewshot.errors import DataError, PipelineError
from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment
from fewshot.settings.declarations import FILE
from fewshot.system.files import write_bytes
from fewshot.system.progress import PROGRESS
from fewshot.system.yaml_files import check_config, read_yaml
from flows import steps
from flows.dvc import datasets as declared
from flows.dvc.repair import remove_damaged

_FETCHES = ("fetch", "download", "collect")
"""The stage that gets the raw files; earlier releases had one for downloads and one for the user's own folder."""


def stages_of(project: Path, dataset: str) -> tuple[str, ...]:
    """The stages that make a dataset, in their order, as dvc.yaml and dvc.lock of the project call them."""
    names = read_yaml(project / "dvc.yaml")["stages"]
    fetch = "fetch" if "fetch" in names else "collect" if dataset == "folder" else "download"
    return fetch, "pack", "split"


def stale(home: Home, datasets: list[str]) -> dict[str, str]:
    """The datasets that differ from dvc.lock: name -> reason. Empty if all are clean. Takes about 1 s.

    Raises DataError that names what can't be collected of the user's own images among them, UsageError for a dataset
    that the project does not declare.
    """
    declared.migrate(home)
    for name in datasets:
        declared.look(home, name)
    # With their dependencies, so that changed raw files count although pack and split are as they were.
    targets = [f"split@{name}" for name in datasets]
    found: dict[str, Any] = json.loads(_dvc(home, "status", "--json", "--with-deps", *targets).splitlines()[-1])
    reasons: dict[str, str] = {}
    for name in datasets:
        for stage in stages_of(home.project, name):
            if changes := found.get(f"{stage}@{name}"):
                reasons.setdefault(name, _in_words(changes))
    return reasons


def prepare(home: Home, dataset: str) -> str:
    """Bring a dataset up to date. Returns a remark, or "": for example, how the classes of an own folder changed.

    Damaged files are restored from the cache or the remote, or made again. Raises DataError if a stage reports that the
    data are wrong, PipelineError if trying again may help, UsageError for a dataset that the project does not declare.
    """
    declared.migrate(home)
    declared.look(home, dataset)
    locked = dvc_lock(home, dataset)
    damage = remove_damaged(home, locked)
    if damage.missing and not damage.deleted:
        _fill_cache(home, dataset, locked)
    before, classes = _lock_file(home), declared.classes(home, dataset)
    # Only then: asking the remote takes seconds, and there may be none.
    _dvc(home, "repro", *(["--pull"] if damage.missing else []), f"split@{dataset}")
    if damage.deleted:
        names = ", ".join(str(file.relative_to(home.project)) for file in damage.deleted)
        return f"{dataset}: damaged, deleted and fetched or made again: {names}"
    if changed := declared.remark(home, dataset, classes, declared.classes(home, dataset)):
        return changed
    return _other_bytes(home, dataset, before, _lock_file(home))


def restore(home: Home, dataset: str, md5: dict[str, str]) -> None:
    """Restore the version of a dataset that a record names (path -> md5), from DVC's cache or else its remote.

    Raises what `prepare` raises if neither holds it.
    """
    lock = read_yaml(home.project / "dvc.lock")
    outputs = dict(zip(stages_of(home.project, dataset), ("raw", "pack", "split"), strict=True))
    for stage, name in outputs.items():
        path = f"data/{dataset}/{name}"
        lock["stages"][f"{stage}@{dataset}"] = {"cmd": "", "outs": [{"path": path, "hash": "md5", "md5": md5[path]}]}
    write_bytes(home.project / "dvc.lock", yaml.safe_dump(lock).encode())
    _dvc(home, "pull", "--force", *(f"{stage}@{dataset}" for stage in outputs))


def dvc_lock(home: Home, dataset: str) -> dict[str, str]:
    """The md5 that dvc.lock holds for each output of a dataset; empty if it was never made."""
    stages = _lock_file(home)
    fetch = next((stage for stage in _FETCHES if f"{stage}@{dataset}" in stages), "fetch")
    return {
        out["path"]: out["md5"]
        for stage in (fetch, "pack", "split")
        for out in stages.get(f"{stage}@{dataset}", {}).get("outs", [])
        if "md5" in out
    }


def _fill_cache(home: Home, dataset: str, locked: dict[str, str]) -> None:
    """Put data that are whole back into a cache that lost them, where DVC would ask for `--force`.

    The lock stays as it was: of what changed meanwhile, other data or code, the stages are still to be run.
    """
    file = home.project / "dvc.lock"
    if not locked or not all((home.project / path).is_dir() for path in locked):
        return
    before = file.read_bytes()
    try:
        _dvc(home, "commit", "--force", *(f"{stage}@{dataset}" for stage in stages_of(home.project, dataset)))
    except DataError:
        pass
    finally:
        write_bytes(file, before)


def _lock_file(home: Home) -> dict[str, Any]:
    file = home.project / "dvc.lock"
    if not file.is_file():
        return {}
    return dict(read_yaml(file).get("stages") or {})


def _other_bytes(home: Home, dataset: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    """A remark if a stage made other bytes from the same inputs than dvc.lock records; else ""."""
    for stage in stages_of(home.project, dataset):
        old, new = before.get(f"{stage}@{dataset}"), after.get(f"{stage}@{dataset}")
        if old and new and _inputs(old) == _inputs(new) and old["outs"] != new["outs"]:
            # Glyphs are drawn by the machine: its float arithmetic may round a pixel differently.
            return f"{dataset}: same inputs, but other bytes than dvc.lock had ({stage}); going on with those made here"
    return ""


def _inputs(stage: dict[str, Any]) -> tuple[Any, Any, Any]:
    return stage.get("cmd"), stage.get("deps"), stage.get("params")


def _dvc(home: Home, *arguments: str) -> str:
    """Run one DVC command in the project; returns what it wrote to standard output."""
    with FileLock(home.file_lock("dvc")):
        _allow_no_git(home)
        done = _run(home, *arguments)
    if done.returncode != 0:
        for name in ("dvc.yaml", FILE, "dvc.lock"):
            if (home.project / name).exists():
                read_yaml(home.project / name)  # of what is wrong in them, DVC says less
        for name in ("config", "config.local"):
            check_config(home.project / ".dvc" / name)
        raise _error(arguments, done.stderr)
    return done.stdout


def _run(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # Stages import the library of this project, wherever the package was imported from.
    variables = {**os.environ, **environment(home)}
    variables["PYTHONPATH"] = str(home.project)
    command = [sys.executable, "-m", "dvc", *arguments]
    with subprocess.Popen(
        command, cwd=home.project, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process, ThreadPoolExecutor(1) as beside:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        errors = beside.submit(_relayed, process.stderr)
        output = process.stdout.read()
        return subprocess.CompletedProcess(command, process.wait(), output, errors.result())


def _relayed(lines: Iterable[str]) -> str:
    """All lines of standard error, but for those by which a stage tells how far it is: they are shown at once."""
    kept, shown = [], False
    for line in lines:
        if line.startswith(PROGRESS):
            steps.still_waiting(line.removeprefix(PROGRESS).strip())
            shown = True
        else:
            kept.append(line)
    if shown:
        steps.still_waiting("")
    return "".join(kept)


def _allow_no_git(home: Home) -> None:
    """An unpacked archive has no git, which DVC takes for an error unless it is told."""
    local = home.project / ".dvc" / "config.local"
    if (home.project / ".git").exists() or (local.is_file() and "no_scm" in local.read_text(encoding="utf-8")):
        return
    Path(home.project / ".dvc").mkdir(exist_ok=True)
    done = _run(home, "config", "--local", "core.no_scm", "true")
    if done.returncode != 0:
        raise _error(("config",), done.stderr)


def _error(arguments: tuple[str, ...], stderr: str) -> DataError | PipelineError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = own or [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:] or ["?"]
    message = f"dvc {' '.join(arguments)} failed: {said[0]}"
    if f"missing from '{FILE}'" in message:
        message += f" Write them there, or restore it: git checkout {FILE}"
    may_pass = re.search(r"after \d+ tries|is busy|Unable to acquire lock", stderr)
    return PipelineError(message) if may_pass else DataError(message)


def _in_words(changes: Any) -> str:
    """DVC's list of changes as one phrase: "data/glyphs/pack modified"."""
    words = [
        f"{path} {how}"
        for change in changes
        if isinstance(change, dict)
        for paths in change.values()
        for path, how in (paths.items() if isinstance(paths, dict) else [(paths, "changed")])
    ]
    return ", ".join(words) or "changed"
