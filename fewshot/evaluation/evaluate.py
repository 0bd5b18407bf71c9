"""Evaluation on frozen test episodes: every number with its interval, every episode's accuracy kept."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.errors import DataError
from fewshot.evaluation.predictions import EpisodePredictions, predict_episodes
from fewshot.evaluation.stats import Score, score
from fewshot.model import compute_of, describe_model, load_model
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import Settings
from fewshot.system.device import pick_device, prepare_cpu
from fewshot.system.files import read_json, sha256_file, write_bytes, write_json
from fewshot.system.progress import report_progress

LARGEST_CONFUSION = 40
"""Up to so many classes a confusion table is by class; beyond, by group (alphabet, writing system)."""


@dataclass(frozen=True)
class Confusion:
    """How often queries of one name were answered with another."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Rows: the truth; columns: the answer."""


@dataclass(frozen=True)
class Evaluation:
    """One model on the test episodes of one dataset, by keys such as "omniglot/5w1s", "omniglot/5w1s transductive"."""

    results: dict[str, Score]
    confusion: dict[str, Confusion]
    file: Path
    """JSON with all of this but the paths."""
    per_episode: Path
    """safetensors: "<key>/accuracy" [episode] float64 and "<key>/predicted" [episode way query] int16."""


def evaluate(model_folder: Path, dataset: Dataset, settings: Settings, folder: Path) -> Evaluation:
    """Test a model folder on a dataset's frozen test episodes, for each shape of `settings.evaluate`.

    A dataset that the model was not trained on may have too few classes for a shape; that shape is left out there.
    Methods that can treat queries both ways are measured both ways, on the same episodes and weights.
    """
    prepare_cpu(settings.threads)
    device = pick_device(settings.device)
    method, compute = load_model(model_folder, device), compute_of(model_folder, device)
    bank = ImageBank(dataset.pack.images, device)
    _check_images(model_folder, bank, dataset.name)
    shapes = [shape for shape in settings.evaluate.shapes if _fits(shape, dataset, settings)]
    results, confusion, arrays = {}, {}, {}
    runs = [(shape, mode) for shape in shapes for mode in method.batch_norm_modes]
    with report_progress(f"evaluating on {dataset.name}", len(runs)) as reporter:
        for done, (shape, mode) in enumerate(runs, start=1):
            drawn = dataset.fixed_episodes("test", shape, settings.evaluate.episodes)
            answers = predict_episodes(method, bank, drawn, mode, compute)
            key = f"{dataset.name}/{shape.task}" + (f" {mode}" if mode != method.batch_norm_modes[0] else "")
            results[key], confusion[key] = score(answers.accuracy), _confusion(dataset, drawn, answers)
            arrays[f"{key}/accuracy"] = answers.accuracy
            arrays[f"{key}/predicted"] = answers.predicted.astype(np.int16)
            reporter(done, f"{key} {results[key]}")
    return _write(folder, dataset, model_folder, results, confusion, arrays)


def read_evaluation(file: Path) -> Evaluation:
    """Read an evaluation back from its JSON file."""
    values = read_json(file, "evaluate again")
    return Evaluation(
        results={key: Score(**value) for key, value in values["results"].items()},
        confusion={
            key: Confusion(tuple(value["names"]), tuple(tuple(row) for row in value["counts"]))
            for key, value in values["confusion"].items()
        },
        file=file,
        per_episode=file.with_name(values["per_episode"]["name"]),
    )


def _write(
    folder: Path,
    dataset: Dataset,
    model_folder: Path,
    results: dict[str, Score],
    confusion: dict[str, Confusion],
    arrays: dict[str, Any],
) -> Evaluation:
    per_episode = folder / f"{dataset.name}-episodes.safetensors"
    write_bytes(per_episode, save(arrays))
    values = {
        "results": {key: asdict(value) for key, value in results.items()},
        "confusion": {key: asdict(value) for key, value in confusion.items()},
        "per_episode": {"name": per_episode.name, "sha256": sha256_file(per_episode)},
        "weights_sha256": describe_model(model_folder)["weights_sha256"],
        "data": {"dataset": dataset.name, "split": dataset.scheme.name, "digest": dataset.digest},
        "frozen_episodes_sha256": dataset.scheme.episodes_digest,
    }
    file = folder / f"{dataset.name}.json"
    write_json(file, values)
    return Evaluation(results, confusion, file, per_episode)


def _fits(shape: EpisodeShape, dataset: Dataset, settings: Settings) -> bool:
    return dataset.name == settings.data.dataset or shape.way <= len(dataset.class_table("test"))


def _check_images(model_folder: Path, bank: ImageBank, dataset: str) -> None:
    expected = tuple(describe_model(model_folder)["image_shape"])
    if bank.image_shape != expected:
        raise DataError(
            f"{model_folder} was trained on images of (channel, height, width) = {expected}, those of {dataset} are "
            f"{bank.image_shape}; evaluate it on a dataset with its size"
        )


def _confusion(dataset: Dataset, drawn: EpisodeIndices, answers: EpisodePredictions) -> Confusion:
    """Truth against answer over all queries, by class when they are few, else by group."""
    names = dataset.class_names("test")
    if len(names) > LARGEST_CONFUSION:
        names = dataset.groups("test")
    distinct = sorted(set(names))
    place = np.array([distinct.index(name) for name in names])
    truth = np.broadcast_to(drawn.classes[..., None], answers.predicted.shape)
    answered = np.take_along_axis(drawn.classes, answers.predicted.reshape(len(drawn), -1), axis=1)
    counts = np.zeros((len(distinct), len(distinct)), dtype=np.int64)
    np.add.at(counts, (place[truth].ravel(), place[answered].ravel()), 1)
    return Confusion(tuple(distinct), tuple(tuple(int(count) for count in row) for row in counts))
