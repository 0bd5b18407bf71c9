"""All models of a dataset on the same fixed test episodes, ranked by paired differences."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from fewshot.data.dataset import Dataset
from fewshot.errors import DataError, FewshotError
from fewshot.evaluation.evaluate import evaluate, read_evaluation
from fewshot.evaluation.stats import Score, score
from fewshot.model import ModelDescription, describe_model, load_model
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import EvaluateSettings
from fewshot.system.files import read_json, sha256_json
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import list_versions

log = logging.getLogger(__name__)

Accuracies = Float[np.ndarray, "episode"]
"""Share of right answers in each episode, in [0, 1]."""


@dataclass(frozen=True)
class Entry:
    """One model, and one way to use it, on one shape of episodes."""

    rank: int
    """1 and the number of models that are better beyond doubt: models between which no difference shows share one."""
    name: str
    """"models:/NAME/VERSION" or the folder of a training, and "transductive" where it is used so."""
    method: str
    score: Score
    behind: Score
    """Accuracy of the best minus its own, over the same episodes."""


def find_models(store: Store, trainings: Path, project: Path) -> dict[str, Path]:
    """Name -> folder of every registered version and every finished training, each set of weights once.

    `trainings` holds a folder for each training; the name of one is its path below `project`.
    """
    found: dict[str, tuple[str, Path]] = {}
    for name, folder in (*_registered(store), *_saved(trainings, project)):
        try:
            found.setdefault(describe_model(folder).weights_sha256, (name, folder))
        except (FewshotError, FileNotFoundError):
            continue  # a training under way, or damaged; what is registered was whole
    return dict(found.values())


def compare(
    evaluations: Path,
    models: dict[str, Path],
    dataset: Dataset,
    shapes: Sequence[EpisodeShape],
    episodes: int,
    device: str,
) -> dict[str, list[Entry]]:
    """Rank the models on each task such as "5w1s", best first. What was measured before is read from `evaluations`.

    Models of another image size are left out, with a warning, and so are those that saw a test class in training (as
    one of another split scheme may). Raises DataError if none is left.
    """
    accuracies: dict[str, dict[str, tuple[str, Accuracies]]] = {}
    for name, folder in models.items():
        description = describe_model(folder)
        if reason := _unfit(description, dataset):
            log.warning("%s is left out: %s", name, reason)
            continue
        options = EvaluateSettings(shapes=tuple(shapes), episodes=episodes)
        values = description.settings_values | {"device": device, "evaluate": options.model_dump(mode="json")}
        key = sha256_json([description.weights_sha256, dataset.digest, dataset.scheme.episodes_digest, values])
        target = evaluations / f"leaderboard-{key[:32]}"
        file = target / f"{dataset.name}.json"
        done = (
            read_evaluation(file)
            if file.exists()
            else evaluate(load_model(folder, device, trust_code=True), dataset, options, target)
        )
        assert done.per_episode is not None, "it was written"
        arrays = load_file(done.per_episode)
        for result in done.results:
            task, _, mode = result.partition("/")[2].partition(" ")
            of_model = (str(values["method"]["name"]), arrays[f"{result}/accuracy"])
            accuracies.setdefault(task, {})[f"{name} {mode}".strip()] = of_model
    if not accuracies:
        raise DataError(f"no model that can be tested on {dataset.name}; train one: fewshot run")
    return {task: rank(of_task) for task, of_task in accuracies.items()}


def log_to_mlflow(store: Store, dataset: str, boards: dict[str, list[Entry]], charts: dict[str, bytes]) -> str:
    """Make a run of the experiment "leaderboard" with each table as JSON and each chart as PNG; returns its id."""
    run = Run.start(store, "leaderboard", dataset)
    for task, entries in boards.items():
        run.log_json(f"{task}.json", {"entries": [asdict(entry) for entry in entries]})
        run.log_metrics({f"best/{task}": entries[0].score.accuracy})
    for task, chart in charts.items():
        run.log_bytes(f"{task}.png", chart)
    run.finish()
    return run.id


def rank(accuracies: dict[str, tuple[str, Accuracies]]) -> list[Entry]:
    """Entries from {name: (method, accuracy of each episode)}, the episodes being the same for all."""
    ordered = sorted(accuracies.items(), key=lambda item: -item[1][1].mean())
    best = ordered[0][1][1]
    entries = []
    for name, (method, own) in ordered:
        better = sum(_is_better(other, own) for _, (_, other) in ordered)
        entries.append(Entry(1 + better, name, method, score(own), score(best - own)))
    return entries


def _is_better(one: Accuracies, other: Accuracies) -> bool:
    """Whether the 95 % interval of the paired difference lies above zero."""
    difference = score(one - other)
    return difference.accuracy - difference.ci95 > 0


def _unfit(description: ModelDescription, dataset: Dataset) -> str:
    """Why a model can't be ranked on the test classes of a dataset; empty if it can."""
    expected, there = description.image_shape, tuple(dataset.pack.images.shape[1:])
    if expected != there and not description.takes_any_size:
        return f"it takes images of (channel, height, width) = {expected}, those of {dataset.name} are {there}"
    data = description.data
    seen = set(data.classes) & set(dataset.class_names("test")) if data.dataset == dataset.name else set()
    return f"it was trained on {len(seen)} of the test classes of {dataset.scheme.name}" if seen else ""


def _registered(store: Store) -> Iterator[tuple[str, Path]]:
    for version in list_versions(store):
        try:
            yield version.uri, model_folder(store, version.uri)
        except FewshotError:
            continue  # not of this program, or its files are gone


def _saved(trainings: Path, project: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(trainings.glob("*/result.json")):
        folder = file.parent / "model"
        if (folder / "model.json").is_file() and read_json(file, "train again").get("weights_sha256"):
            yield str(folder.relative_to(project) if folder.is_relative_to(project) else folder), folder
