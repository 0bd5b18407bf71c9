"""Evaluation on fixed test episodes: every number with its interval, every episode's accuracy kept."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.errors import DataError
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.predictions import EpisodePredictions, predict_episodes
from fewshot.evaluation.stats import Score, score
from fewshot.migrations import FORMAT, format_of, migrate_numbers
from fewshot.model import Model, load_model
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import EvaluateSettings
from fewshot.system.files import read_json, sha256_file, write_bytes, write_json
from fewshot.system.progress import report_progress

log = logging.getLogger(__name__)

LARGEST_CONFUSION = 40
"""Up to so many classes a confusion table is by class; beyond, by group (alphabet, writing system)."""


@dataclass(frozen=True)
class Confusion:
    """Counts of queries by their true name and the predicted one."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Rows: the truth; columns: the prediction."""


@dataclass(frozen=True)
class Evaluation:
    """One model on the test episodes of one dataset, by keys such as "omniglot/5w1s", "omniglot/5w1s transductive"."""

    results: dict[str, Score]
    confusion: dict[str, Confusion]
    file: Path | None = None
    """JSON with all of this but the paths; None where nothing was written."""
    per_episode: Path | None = None
    """safetensors: "<key>/accuracy" [episode] float64 and "<key>/predicted" [episode way query] int16."""


def evaluate(
    model: Model | str | Path,
    dataset: Dataset,
    options: EvaluateSettings | None = None,
    folder: str | Path | None = None,
) -> Evaluation:
    """Test a model on a dataset's fixed test episodes, for each shape of `options`; write to `folder` if there is one.

    A path is that of a model folder; what `load_model` raises is raised.
    A dataset that the model was not trained on may have too few classes for a shape, which is then left out, and said.
    Methods that can treat queries both ways are measured both ways, on the same episodes and weights. Raises DataError
    for images of another size than the model was trained on.
    """
    model = model if isinstance(model, Model) else load_model(model)
    options = options or EvaluateSettings()
    model.compute.prepare()
    banks = Banks(model.method, dataset, model.compute)
    if not banks.are_features:
        _check_images(model, dataset)
    bank = banks.of("test")
    modes = model.method.batch_norm_modes
    wanted = list(dict.fromkeys(dataset.shape_for("test", shape) for shape in options.shapes))
    shapes = [shape for shape in wanted if _fits(shape, dataset, model)]
    counts = dataset.class_table("test").count
    said = f"{dataset.name} has {len(counts)} test classes of up to {counts.max()} images"
    for shape in sorted(set(wanted) - set(shapes), key=str):
        log.warning("%s: %s is left out", said, shape)
    if not shapes:
        raise DataError(f"{said}, too few for {', '.join(map(str, wanted))}; add images, or ask for smaller episodes")
    runs = [(shape, mode) for shape in shapes for mode in modes]
    results, confusion, arrays = {}, {}, {}
    with report_progress(f"evaluating on {dataset.name}", len(runs)) as reporter:
        for done, (shape, mode) in enumerate(runs, start=1):
            episodes = dataset.fixed_episodes("test", shape, options.episodes)
            predictions = predict_episodes(model.method, bank, episodes, mode, model.compute)
            key = f"{dataset.name}/{_name(shape, shapes)}" + (f" {mode}" if mode != modes[0] else "")
            results[key], confusion[key] = score(predictions.accuracy), _confusion(dataset, episodes, predictions)
            arrays[f"{key}/accuracy"] = predictions.accuracy
            arrays[f"{key}/predicted"] = predictions.predicted.astype(np.int16)
            reporter(done, f"{key} {results[key]}")
    if folder is None:
        return Evaluation(results, confusion)
    return _write(Path(folder), dataset, model, Evaluation(results, confusion), arrays)


def read_evaluation(file: Path) -> Evaluation:
    """Read an evaluation back from its JSON file, of this or an earlier format."""
    stored = read_json(file, "evaluate again")
    format_of(stored, file)
    values = migrate_numbers(stored)
    return Evaluation(
        results={key: Score(**value) for key, value in values["results"].items()},
        confusion={
            key: Confusion(tuple(value["names"]), tuple(tuple(row) for row in value["counts"]))
            for key, value in values["confusion"].items()
        },
        file=file,
        per_episode=file.with_name(values["per_episode"]["name"]),
    )


def _write(folder: Path, dataset: Dataset, model: Model, found: Evaluation, arrays: dict[str, Any]) -> Evaluation:
    per_episode = folder / f"{dataset.name}-episodes.safetensors"
    write_bytes(per_episode, save(arrays))
    values = {
        "format": FORMAT,
        "results": {key: asdict(value) for key, value in found.results.items()},
        "confusion": {key: asdict(value) for key, value in found.confusion.items()},
        "per_episode": {"name": per_episode.name, "sha256": sha256_file(per_episode)},
        "weights_sha256": model.description.weights_sha256,
        "data": {"dataset": dataset.name, "split_scheme": dataset.scheme.name, "digest": dataset.digest},
        "fixed_episodes_sha256": dataset.scheme.episodes_digest,
    }
    file = folder / f"{dataset.name}.json"
    write_json(file, values)
    return Evaluation(found.results, found.confusion, file, per_episode)


def _name(shape: EpisodeShape, shapes: Sequence[EpisodeShape]) -> str:
    """The task of a shape, with the queries where two shapes differ in them alone."""
    return shape.task if sum(other.task == shape.task for other in shapes) == 1 else str(shape)


def _fits(shape: EpisodeShape, dataset: Dataset, model: Model) -> bool:
    """True if the test classes can fill episodes of a shape; a way that the training data lack is an error."""
    counts = dataset.class_table("test").count
    is_own = dataset.name == model.description.data.dataset
    return bool((counts > shape.shot).sum() >= 2 and (is_own or shape.way <= len(counts)))


def _check_images(model: Model, dataset: Dataset) -> None:
    there = tuple(dataset.pack.images.shape[1:])
    if there != model.image_shape:
        raise DataError(
            f"the model was trained on images of (channel, height, width) = {model.image_shape}, those of "
            f"{dataset.name} are {there}; evaluate it on a dataset with its size"
        )


def _confusion(dataset: Dataset, episodes: EpisodeIndices, predictions: EpisodePredictions) -> Confusion:
    """Truth against prediction over all queries, by class when they are few, else by group."""
    names = dataset.class_names("test")
    if len(names) > LARGEST_CONFUSION:
        names = dataset.groups("test")
    distinct = sorted(set(names))
    place = np.array([distinct.index(name) for name in names])
    truth = np.broadcast_to(episodes.classes[..., None], predictions.predicted.shape)
    counts = np.zeros((len(distinct), len(distinct)), dtype=np.int64)
    np.add.at(counts, (place[truth].ravel(), place[predictions.classes(episodes)].ravel()), 1)
    return Confusion(tuple(distinct), tuple(tuple(int(count) for count in row) for row in counts))
