"""The small JSON records that steps return, made from the library's results and turned back into them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from fewshot.data.dataset import Dataset
from fewshot.errors import DamagedFileError
from fewshot.evaluation.banks import Banks, splits_to_embed
from fewshot.evaluation.evaluate import Evaluation, evaluate, read_evaluation
from fewshot.methods.build import build_method
from fewshot.migrations import FORMAT
from fewshot.model import load_model
from fewshot.project.lineage import Lineage, lineage
from fewshot.project.paths import Home
from fewshot.settings.schema import Settings
from fewshot.system.device import Compute
from fewshot.system.files import read_json, sha256_file
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.training.result import TrainResult
from flows.dvc.commands import dvc_lock
from flows.plans import Plan, Record

_PATHS = ("model", "history")


def features_record(home: Home, plan: Plan, settings: Settings, datasets: Sequence[Dataset]) -> Record:
    """The record of the features of a frozen encoder, which are computed where they are not there yet."""
    compute = Compute.pick(settings.device, settings.train.precision, settings.threads)
    compute.prepare()
    channel, height, width = datasets[0].pack.images.shape[1:]
    method = build_method(settings, (channel, height, width), 1)
    files: dict[str, str] = {}
    images = 0
    for place, dataset in enumerate(datasets):
        banks = Banks(method, dataset, compute)
        for split in splits_to_embed(method, settings, dataset) if place == 0 else ("test",):
            found = banks.features(split)
            images += len(found.values)
            files[str(found.file.relative_to(home.state))] = found.digest
    return {"format": FORMAT, "key": plan.key, "images": images, "files": files}


def training_record(home: Home, plan: Plan, run_id: str, result: TrainResult, origin: Lineage) -> Record:
    """The record of a training; paths are below the state folder."""
    values: dict[str, Any] = asdict(result)
    values |= {name: str(values[name].relative_to(home.state)) for name in _PATHS}
    files = (result.model / "model.json", result.model / "weights.safetensors", result.history)
    made = {"data_digest": origin.data_digest, "code_key": origin.code_key, "machine": origin.machine}
    return {"format": FORMAT, "key": plan.key, "run_id": run_id, **made, **values, "files": _files(home, *files)}


def evaluation_record(home: Home, plan: Plan, run_id: str, evaluations: list[Evaluation]) -> Record:
    """The record of an evaluation: results of all datasets together, those of the training data first."""
    results = {name: asdict(result) for one in evaluations for name, result in one.results.items()}
    files = _files(home, *(file for one in evaluations for file in (one.file, one.per_episode)))
    return {"format": FORMAT, "key": plan.key, "run_id": run_id, "results": results, "files": files}


def run_to_evaluate(
    home: Home, store: Store, settings: Settings, plan: Plan, training: Record, data: Dataset, flow: str
) -> Run:
    """The run that an evaluation belongs to: that of its training, or a new and equally complete one if that run
    holds another evaluation already."""
    run = Run(store, training["run_id"])
    if not run.has_other_evaluation(plan.key):
        return run
    origin = lineage(home, data.digest, training["code_key"], flow, dvc_lock(home, data.name))
    run = Run.open(store, settings, replace(origin, machine=training.get("machine", origin.machine)))
    with run.working() as curve:
        run.log_training(curve, _training_result(home, training), data)
    return run


def evaluated(home: Home, settings: Settings, plan: Plan, training: Record, dataset: Dataset) -> Evaluation:
    """Evaluate on one dataset, or read the finished evaluation of the same plan from its folder."""
    folder = home.evaluation(plan.key)
    try:
        file = folder / f"{dataset.name}.json"
        kept = read_json(file, "evaluate again")["per_episode"]
        if sha256_file(folder / kept["name"]) == kept["sha256"]:
            return read_evaluation(file)
    except (DamagedFileError, FileNotFoundError):
        pass
    model = load_model(home.state / training["model"], settings.device, trust_code=True)
    return evaluate(model, dataset, settings.evaluate, folder)


def _training_result(home: Home, record: Record) -> TrainResult:
    values = {name: record[name] for name in TrainResult.__dataclass_fields__}
    return TrainResult(**values | {name: home.state / record[name] for name in _PATHS})


def _files(home: Home, *paths: Any) -> dict[str, str]:
    return {str(path.relative_to(home.state)): sha256_file(path) for path in paths}
