"""When a step need not run: the ingredients of its key, and whether what a stored record points to still exists."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.errors import DamagedFileError, DataError
from fewshot.migrations import FORMAT, format_of, migrate_numbers
from fewshot.project.fingerprints import code_hashes, pick, requirements_hash
from fewshot.project.paths import Home
from fewshot.settings.plugins import code_entries
from fewshot.settings.schema import Settings
from fewshot.system.files import read_json, sha256_file, sha256_json, write_json
from fewshot.tracking.artifact import is_whole
from fewshot.tracking.store import Store
from fewshot.training.identity import identity_of
from flows import steps
from flows.dvc.commands import dvc_lock

Record = dict[str, Any]
"""What a step returns: ids, paths below the state folder with their digests, numbers. JSON only."""

READS: dict[str, tuple[str, ...]] = {
    "features": ("backbone", "device"),
    "evaluate": ("evaluate", "device"),
    "register": ("register",),
}
"""The settings that each step reads; others do not make it stale. Those of a training are in its identity."""

ENTRIES: dict[str, tuple[str, ...]] = {
    "prepare data": ("fewshot.data.dataset",),
    "features": ("fewshot.evaluation.banks",),
    "evaluate": ("fewshot.evaluation.evaluate",),
    "register": ("fewshot.tracking.registration", "fewshot.tracking.pyfunc_model"),
}
"""The modules that each step enters the library by; its code key covers what they can reach."""


@dataclass(frozen=True)
class Plan:
    """One step that is to be done or found: everything that its result depends on."""

    step: str
    label: str
    """For people: "prepare glyphs", "meta-train"."""
    ingredients: dict[str, Any]
    """settings, data (dataset -> digest), upstream (step -> digest), code (module -> hash), requirements, format."""

    @property
    def key(self) -> str:
        """The name of the stored result, and of the step's folder: that of a training is `TrainingIdentity.name`."""
        return f"{self.step.replace(' ', '-')}-{sha256_json(self.ingredients)[:32]}"


def datasets(settings: Settings) -> dict[str, str]:
    """The datasets that a run reads, each with its split; that of the training comes first."""
    main = settings.data
    return {main.dataset: main.split_scheme} | {name: "" for name in settings.evaluate.also if name != main.dataset}


def plan_data(home: Home, dataset: str, split: str) -> Plan:
    """Prepare a dataset. The md5 of its files are not in the key but checked on a hit: repro may change them."""
    return _plan(home, "prepare data", f"prepare {dataset}", {"dataset": dataset, "split": split}, {}, {})


def plan_features(home: Home, settings: Settings, data: dict[str, Record]) -> Plan:
    """Compute the features of a frozen encoder on all datasets. Those of a split have a key of their own, too."""
    read = _read("features", settings) | {"backbone.weights_sha256": settings.backbone.weights_sha256}
    return _plan(home, "features", "features", read, _digests(data, *data), {}, code_of(settings))


def plan_training(home: Home, settings: Settings, data: dict[str, Record]) -> Plan:
    """Meta-train on the training data."""
    identity = identity_of(settings, _digests(data, settings.data.dataset))
    return Plan("meta-train", "meta-train", identity.ingredients)


def plan_evaluation(home: Home, settings: Settings, data: dict[str, Record], training: Record) -> Plan:
    """Evaluate on all datasets. The key of the training is an ingredient, so each training has its own evaluation."""
    upstream = {"meta-train": sha256_json([training["key"], training["weights_sha256"]])}
    return _plan(home, "evaluate", "evaluate", _read("evaluate", settings), _digests(data, *data), upstream)


def plan_registration(home: Home, settings: Settings, evaluation: Record) -> Plan:
    """Register the evaluated model."""
    upstream = {"evaluate": sha256_json([evaluation["key"], evaluation["results"]])}
    settings_read = _read("register", settings) | {"model name": settings.model_name}
    return _plan(home, "register", "register", settings_read, {}, upstream)


def holds(home: Home, store: Store, plan: Plan, record: Record, stale_data: dict[str, str]) -> bool:
    """Whether everything that a stored record points to is still there and unchanged."""
    if not _is_as_written(record):
        return False
    if plan.step == "prepare data":
        # DVC goes by sizes and times; what is read from here on is checked by its bytes.
        return (
            record["dataset"] not in stale_data
            and record["md5"] == dvc_lock(home, record["dataset"])
            and _is_whole(home, record)
        )
    if plan.step == "features":
        return all(_is(home.state / path, digest) for path, digest in record["files"].items())
    if plan.step == "register":
        model, version = record["model"], record["version"]
        return store.aliases(model, version) is not None and is_whole(store, model, version)
    return store.run_exists(record["run_id"]) and all(
        _is(home.state / path, digest) for path, digest in record["files"].items()
    )


def seal(record: Record) -> Record:
    """The record with its own digest, so that a stored one that was changed is not believed."""
    return {**record, "sha256": sha256_json(record)}


def _is_as_written(record: Record) -> bool:
    """True for a record whose digest fits; those of an earlier release have none."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return bool("sha256" not in record or record["sha256"] == sha256_json(rest))


def is_stored(home: Home, plan: Plan) -> bool:
    """Whether Prefect keeps a result under the plan's key."""
    return (home.results / plan.key).is_file()


def mark_used(home: Home, plan: Plan) -> None:
    """Let the stored result tell when a run last found or made it; `fewshot clean` goes by that."""
    with suppress(FileNotFoundError):
        os.utime(home.results / plan.key)


def remember(home: Home, preset: str, plan: Plan, record: Record) -> None:
    """Keep what a step was made of, for `fewshot why` to compare with."""
    known = last_run(home, preset)
    known[plan.label] = {"key": plan.key, "ingredients": plan.ingredients, "record": record}
    write_json(_last_file(home, preset), {"format": FORMAT, "steps": known})


def last_run(home: Home, preset: str) -> dict[str, Any]:
    """What `remember` kept of a preset's last run: label -> {"key", "ingredients", "record"}; empty if it never ran."""
    file = _last_file(home, preset)
    if not file.is_file():
        return {}
    try:
        stored = read_json(file, "delete it")
        format_of(stored, file)
        return dict(migrate_numbers(stored["steps"]))
    except (DamagedFileError, KeyError, TypeError) as error:
        steps.remark(f"what the last run was made of is forgotten: {error}")
        file.unlink(missing_ok=True)
        return {}


def _last_file(home: Home, preset: str) -> Path:
    name = re.sub(r"[^\w.-]", "_", preset)  # a preset may be a path
    return home.state / "last" / f"{name}.json"


def code_of(settings: Settings) -> tuple[str, ...]:
    """The module that the settings choose as backbone."""
    return code_entries(settings, kinds=("backbone",))


def _plan(
    home: Home,
    step: str,
    label: str,
    settings: dict[str, Any],
    data: dict[str, str],
    upstream: dict[str, str],
    entries: tuple[str, ...] = (),
) -> Plan:
    code: dict[str, str] = {}
    for entry in (*ENTRIES[step], *entries):
        code |= code_hashes(entry)
    made_of = {"settings": settings, "data": data, "upstream": upstream, "code": code}
    # The name of the step is an ingredient: two steps of equal ingredients have results of their own.
    own = {"step": step, "requirements": requirements_hash(home.project), "format": FORMAT}
    return Plan(step, label, made_of | own)


def _read(step: str, settings: Settings) -> dict[str, Any]:
    return pick(settings.plain(), READS[step])


def _digests(data: dict[str, Record], *datasets: str) -> dict[str, str]:
    return {name: data[name]["digest"] for name in datasets}


def _is_whole(home: Home, record: Record) -> bool:
    """Whether each file of a prepared dataset has the digest that it was written with."""
    from fewshot.data.dataset import open_dataset

    try:
        opened = open_dataset(home.data, record["dataset"], record["split"])
    except DataError:
        return False
    return opened.digest == record["digest"] and _is(Path(str(opened.episodes)), record["episodes_digest"])


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest
