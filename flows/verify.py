"""Is a model version what its record says, and can it be made again from that record alone?

The record is what stands on the version: weights, settings, data, code, lock, commit. The version is rebuilt in a work
tree of that commit, with a state folder of its own and the data cache of this project.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.errors import DataError, FewshotError, PipelineError, UsageError
from fewshot.evaluation.evaluate import evaluate
from fewshot.model import describe_model, load_model
from fewshot.project.doctor import Finding
from fewshot.project.fingerprints import requirements_hash
from fewshot.project.paths import Home
from fewshot.settings.schema import settings_from
from fewshot.system.files import read_json, sha256_file, write_bytes
from fewshot.tracking.artifact import is_as_registered, model_in
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import CLEANED, SETTINGS, Version, find_version, removed
from fewshot.training.identity import TRAINING_KEYS
from fewshot.training.result import read_history
from flows import steps
from flows.dvc import commands as dvc
from flows.work_tree import git, run_in, work_tree

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
    settings, folder = _usable_settings(version), None
    if CLEANED not in tags:
        files = store.download(version.uri)
        yield _artifact(version, files)
        folder = model_in(files, version.uri)
        weights = _weights(folder, version)
        yield weights
        yield _settings(folder, version)
    elif evaluate_only:
        raise PipelineError(f"{removed(version)}; without --evaluate-only it is made from its record")
    else:
        yield Finding("files", True, f"removed {tags[CLEANED][:10]} by fewshot clean; the record is compared with")
    yield _environment(home, version)
    if evaluate_only and folder is not None:
        dataset, data = _data(home, settings, version)
        yield data
        if weights.ok and dataset is not None:
            yield _numbers(home, version, folder, dataset, settings)
        return
    with work_tree(home, version) as (tree, code):
        yield code
        elsewhere = Home(tree, tree / ".fewshot")
        _fetch_data(elsewhere, settings["data"]["dataset"], version)
        dataset, data = _data(elsewhere, settings, version)
        yield data
        write_bytes(tree / "rebuild.json", tags[SETTINGS].encode())
        steps.remark(f"training in {tree}, for as long as it took then")
        with steps.waiting("training again"):
            run_in(tree, "-c", REBUILD if version.format > 1 else REBUILD_FORMAT_1, "rebuild.json", "rebuilt")
        rebuilt = tree / "rebuilt"
        yield _weights_again(store, version, rebuilt, folder)
        if dataset is not None:
            yield _numbers(home, version, rebuilt / "model", dataset, settings)


def _artifact(version: Version, files: Path) -> Finding:
    """The files, of which the code is run by whoever loads the version with MLflow."""
    if (same := is_as_registered(version, files)) is None:
        return Finding("files", True, "not recorded: registered by an earlier fewshot")
    said = "model and code as registered" if same else "tampered with: model or code are not those that were registered"
    return Finding("files", same, said)


def _usable_settings(version: Version) -> dict[str, Any]:
    """The settings of its record as plain values; PipelineError if they are none of this release."""
    try:
        return settings_from(version.settings()).plain()
    except UsageError as error:
        raise PipelineError(f"the tag {SETTINGS} of {version.uri} can't be used: {error}") from None


def _weights(folder: Path, version: Version) -> Finding:
    found, expected = sha256_file(folder / "weights.safetensors"), version.tag("fewshot.weights_sha256")
    if found == expected:
        return Finding("weights", True, f"sha256 {found[:16]}..., as registered")
    return Finding("weights", False, f"tampered with: sha256 {found[:16]}..., but {expected[:16]}... was registered")


def _settings(folder: Path, version: Version) -> Finding:
    held, recorded = describe_model(folder).settings_values, version.settings()
    if all(held[name] == recorded.get(name) for name in TRAINING_KEYS):  # others may have changed since it was trained
        return Finding("settings", True, "those of the record")
    return Finding("settings", False, "model.json in the artifact holds other settings than the record")


def _environment(home: Home, version: Version) -> Finding:
    here, recorded = requirements_hash(home.project), version.tag("fewshot.lock_key")
    if here == recorded:
        machine = version.tags.get("fewshot.machine") or "an unknown machine"
        return Finding("lock", True, f"requirements.lock {here[:16]}..., as then, on {machine}")
    return Finding("lock", False, f"requirements.lock is {here[:16]}..., it was {recorded[:16]}...; results may differ")


def _data(home: Home, settings: dict[str, Any], version: Version) -> tuple[Dataset | None, Finding]:
    name, recorded = settings["data"]["dataset"], version.tag("fewshot.data_digest")
    try:
        dataset = open_dataset(home.data, name, settings["data"]["split_scheme"])
    except DataError as error:
        return None, Finding("data", False, str(error))
    if dataset.digest == recorded:
        return dataset, Finding("data", True, f"{name} {recorded[:16]}..., as then")
    return None, Finding("data", False, f"{name} is {dataset.digest[:16]}... now, it was {recorded[:16]}...")


def _fetch_data(tree: Home, dataset: str, version: Version) -> None:
    """The data of the record, as DVC kept them; those that nobody kept are made again."""
    try:
        dvc.restore(tree, dataset, version.data_md5())
    except (FewshotError, KeyError):
        git(tree, "checkout", "dvc.lock")
        try:
            run_in(tree.project, "-m", "flows.cli", "data", "prepare", dataset)
        except PipelineError as error:
            if CLEANED not in version.tags:
                raise
            raise PipelineError(
                f"the data of {version.uri} are gone: {removed(version)}, and no commit holds the dvc.lock of its data"
            ) from error


def _weights_again(store: Store, version: Version, rebuilt: Path, folder: Path | None) -> Finding:
    found = read_json(rebuilt / "result.json", "verify again")["weights_sha256"]
    if found == version.tag("fewshot.weights_sha256"):
        return Finding("rebuilt", True, f"bit-identical: sha256 {found[:16]}...")
    now = read_history(rebuilt / "history.json")
    pairs = zip(Run(store, version.run_id).training_curve(), now, strict=False)
    steps = (
        f"step {a['step']}: loss {a['loss']:.6g} then, {b['loss']:.6g} now"
        for a, b in pairs
        if "loss" in a and a["loss"] != b["loss"]
    )
    parted = next(steps, "no logged step; the weights differ all the same")
    if folder is None:
        return Finding("rebuilt", False, f"not identical; parted at {parted}")
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
            load_model(model, settings["device"], trust_code=True), dataset, settings_from(settings).evaluate, folder
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
