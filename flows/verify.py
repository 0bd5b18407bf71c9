"""Is a model version what its record says, and can it be made again from that record alone?

The record is what stands on the version: weights, settings, data, code, lock, commit. The version is rebuilt in a work
tree of that commit, with a state folder of its own and the data cache of this project.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from configobj import ConfigObj
from safetensors.numpy import load_file

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.errors import DataError, FewshotError, PipelineError
from fewshot.evaluation.evaluate import evaluate
from fewshot.model import describe_model, load_model
from fewshot.project.doctor import Finding
from fewshot.project.fingerprints import code_key, requirements_hash
from fewshot.project.paths import Home
from fewshot.settings.schema import settings_from
from fewshot.system.files import read_json, sha256_file, write_bytes
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import SETTINGS, Version, find_version, model_folder
from fewshot.training.identity import TRAINING_KEYS, identity_of
from fewshot.training.result import read_history
from flows import steps
from flows.dvc import commands as dvc

REBUILD = """
import json, sys
from pathlib import Path
from fewshot.data.dataset import open_dataset
from fewshot.project.paths import find_home
from fewshot.settings.schema import settings_from
from fewshot.training.loop import train
settings = settings_from(json.loads(Path(sys.argv[1]).read_text()))
train(settings, open_dataset(find_home().data, settings.data.dataset, settings.data.split_scheme), Path(sys.argv[2]))
"""
"""Run with the code of the commit."""
REBUILD_FORMAT_1 = """
import json, sys
from pathlib import Path
from fewshot.config import settings_from
from fewshot.data.splits import open_dataset
from fewshot.home import find_home
from fewshot.train import train
settings = settings_from(json.loads(Path(sys.argv[1]).read_text()))
train(settings, open_dataset(find_home().data, settings.data.dataset, settings.data.split), Path(sys.argv[2]))
"""
"""The same for a commit whose code wrote format 1."""


def verify(home: Home, reference: str, evaluate_only: bool) -> Iterator[Finding]:
    """Look at one thing after the other; the last finding says whether the version was made again, to the bit.

    With `evaluate_only` nothing is trained: the stored weights are measured again.
    """
    store = Store.open(home)
    version = find_version(store, reference)
    tags = version.tags
    if SETTINGS not in tags:
        raise PipelineError(
            f"{version.model}/{version.number} has no {SETTINGS} tag: it was registered by an older fewshot"
        )
    folder = model_folder(store, version.uri)
    weights = _weights(folder, tags)
    yield weights
    yield _settings(folder, version)
    yield _environment(home, tags)
    settings = version.settings()
    if evaluate_only:
        dataset, data = _data(home, settings, tags)
        yield data
        if weights.ok and dataset is not None:
            yield _numbers(home, version, folder, dataset, settings)
        return
    with _work_tree(home, version) as (tree, code):
        yield code
        elsewhere = Home(tree, tree / ".fewshot")
        _fetch_data(elsewhere, settings["data"]["dataset"], version.data_md5())
        dataset, data = _data(elsewhere, settings, tags)
        yield data
        write_bytes(tree / "rebuild.json", tags[SETTINGS].encode())
        steps.remark(f"training in {tree}, for as long as it took then")
        with steps.waiting("training again"):
            _run(tree, "-c", REBUILD if version.format > 1 else REBUILD_FORMAT_1, "rebuild.json", "rebuilt")
        rebuilt = tree / "rebuilt"
        yield _weights_again(store, version, rebuilt, folder)
        if dataset is not None:
            yield _numbers(home, version, rebuilt / "model", dataset, settings)


def _weights(folder: Path, tags: dict[str, str]) -> Finding:
    found, expected = sha256_file(folder / "weights.safetensors"), tags["fewshot.weights_sha256"]
    if found == expected:
        return Finding("weights", True, f"sha256 {found[:16]}..., as registered")
    return Finding("weights", False, f"tampered with: sha256 {found[:16]}..., but {expected[:16]}... was registered")


def _settings(folder: Path, version: Version) -> Finding:
    held, recorded = describe_model(folder).settings_values, version.settings()
    if all(held[name] == recorded[name] for name in TRAINING_KEYS):  # others may have changed since it was trained
        return Finding("settings", True, "those of the record")
    return Finding("settings", False, "model.json in the artifact holds other settings than the record")


def _environment(home: Home, tags: dict[str, str]) -> Finding:
    here, recorded = requirements_hash(home.project), tags["fewshot.lock_key"]
    if here == recorded:
        return Finding("lock", True, f"requirements.lock {here[:16]}..., as then, on {tags['fewshot.machine']}")
    return Finding("lock", False, f"requirements.lock is {here[:16]}..., it was {recorded[:16]}...; results may differ")


def _data(home: Home, settings: dict[str, Any], tags: dict[str, str]) -> tuple[Dataset | None, Finding]:
    name, recorded = settings["data"]["dataset"], tags["fewshot.data_digest"]
    try:
        dataset = open_dataset(home.data, name, settings["data"]["split_scheme"])
    except DataError as error:
        return None, Finding("data", False, str(error))
    if dataset.digest == recorded:
        return dataset, Finding("data", True, f"{name} {recorded[:16]}..., as then")
    return None, Finding("data", False, f"{name} is {dataset.digest[:16]}... now, it was {recorded[:16]}...")


def _fetch_data(tree: Home, dataset: str, md5: dict[str, str]) -> None:
    """The data of the record, as DVC kept them; those that nobody kept are made again."""
    try:
        dvc.restore(tree, dataset, md5)
    except (FewshotError, KeyError):
        _git(tree, "checkout", "dvc.lock")
        _run(tree.project, "-m", "flows.cli", "data", "prepare", dataset)


@contextmanager
def _work_tree(home: Home, version: Version) -> Iterator[tuple[Path, Finding]]:
    """The project as it was at the version's commit, in a folder of its own that is deleted afterwards."""
    commit, dirty = version.tags["fewshot.git_commit"], version.tags["fewshot.git_dirty"] == "true"
    tree = home.state / "verify" / f"{version.model}-{version.number}"
    _remove(home, tree)
    tree.parent.mkdir(parents=True, exist_ok=True)
    done = _git(home, "worktree", "add", "--detach", str(tree), commit)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["git is not there"]
        raise PipelineError(
            f"the commit {commit} of {version.model}/{version.number} can't be checked out ({said[0]}); "
            "fetch it, or use --evaluate-only"
        )
    try:
        _share_cache(home, tree)
        same = _code_key(tree, version) == version.tags["fewshot.code_key"]
        state = f"commit {commit[:12]}" + (", with changes that were not committed" if dirty else "")
        text = state if same else f"{state}: what trained this version is not what that commit holds"
        yield tree, Finding("code", same, text)
    finally:
        _remove(home, tree)


def _share_cache(home: Home, tree: Path) -> None:
    """Let DVC in the work tree use the project's cache and remote. Its own command writes ASCII paths only."""
    config = ConfigObj(encoding="utf-8")
    config["cache"] = {"dir": str(home.project / ".dvc" / "cache")}
    config['remote "local"'] = {"url": str(home.state / "dvc-remote")}
    text = BytesIO()
    config.write(text)
    write_bytes(tree / ".dvc" / "config.local", text.getvalue())


def _code_key(tree: Path, version: Version) -> str:
    """The key of the code in the work tree, as the format of the version's tags has it."""
    if version.format == 1:
        return code_key("fewshot.train", tree)
    return identity_of(settings_from(version.settings()), {}, tree).code_key


def _weights_again(store: Store, version: Version, rebuilt: Path, folder: Path) -> Finding:
    found = read_json(rebuilt / "result.json", "verify again")["weights_sha256"]
    if found == version.tags["fewshot.weights_sha256"]:
        return Finding("rebuilt", True, f"bit-identical: sha256 {found[:16]}...")
    now = read_history(rebuilt / "history.json")
    pairs = zip(Run(store, version.run_id).training_curve(), now, strict=False)
    steps = (
        f"step {a['step']}: loss {a['loss']:.6g} then, {b['loss']:.6g} now" for a, b in pairs if a["loss"] != b["loss"]
    )
    parted = next(steps, "no logged step; the weights differ all the same")
    old, new = (load_file(place / "weights.safetensors") for place in (folder, rebuilt / "model"))
    gaps = [abs(old[name] - new[name]).max() for name in old if name in new and old[name].shape == new[name].shape]
    most = max(map(float, gaps), default=float("nan"))
    return Finding("rebuilt", False, f"not identical; parted at {parted}; weights differ by up to {most:.3g}")


def _numbers(home: Home, version: Version, model: Path, dataset: Dataset, settings: dict[str, Any]) -> Finding:
    """Measure again what was measured on the training data's test classes."""
    folder = home.state / "verify" / "evaluation"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        again = evaluate(
            load_model(model, settings["device"]), dataset, settings_from(settings).evaluate, folder
        ).results
    except FewshotError as error:
        return Finding("numbers", False, str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    then = {name.removeprefix("test/"): value for name, value in version.tags.items() if name.startswith("test/")}
    other = [
        f"{name}: {then[name]} then, {now} now"
        for name, one in again.items()
        if (now := f"{one.accuracy:.4f} ± {one.ci95:.4f} ({one.episodes} episodes)") != then.get(name)
    ]
    if other:
        return Finding("numbers", False, "; ".join(other))
    return Finding("numbers", True, ", ".join(f"{name} {one}" for name, one in again.items()))


def _run(tree: Path, *arguments: str) -> None:
    """Python in the work tree, with its code, and knowing nothing of this project's state."""
    ours = ("FEWSHOT_HOME", "FEWSHOT_PROJECT", "PREFECT_", "MLFLOW_", "DVC_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables["PYTHONPATH"] = str(tree)
    done = subprocess.run([sys.executable, *arguments], cwd=tree, env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        # DVC ends with where to ask for help, after its error.
        lines = [line for line in done.stderr.splitlines() if line.strip() and "https://dvc.org/support" not in line]
        what = " ".join(arguments[:3]) if arguments[0] == "-m" else "training"
        raise PipelineError(f"{what} failed in the work tree: {lines[-1] if lines else '?'}")


def _remove(home: Home, tree: Path) -> None:
    if tree.exists():
        _git(home, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(tree, ignore_errors=True)
    _git(home, "worktree", "prune")


def _git(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=home.project, capture_output=True, text=True)
