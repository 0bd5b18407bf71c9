"""A frozen encoder of ImageNet, or a network that was meta-trained: which one, on what.

python -m benchmarks.frozen_or_trained --write      # minutes for the features, once; then seconds

Every head on frozen EfficientNet-Lite0, on the fixed test episodes of each dataset that is prepared here, and every
registered model of this project that takes the dataset's images, on the same episodes: differences are paired.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.predictions import predict_episodes
from fewshot.evaluation.stats import score
from fewshot.methods.auto import HEADS
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.project.lineage import machine
from fewshot.project.paths import find_home
from fewshot.settings.presets import load_settings
from fewshot.system.device import Compute
from fewshot.system.files import write_json

DATASETS, EPISODES = ("miniimagenet", "omniglot", "glyphs", "digits"), 600
RESULTS = Path(__file__).parent / "results_frozen_or_trained.json"


def main() -> None:
    """Measure, print a table for each dataset and shape, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="*", default=DATASETS)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    chosen = parser.parse_args()
    compute = Compute.pick("auto", "auto", 0)
    compute.prepare()
    found = {name: _measured(open_dataset(find_home().data, name), compute) for name in chosen.datasets}
    if chosen.write:
        command = "python -m benchmarks.frozen_or_trained"
        write_json(RESULTS, {"command": command, "machine": machine(), "episodes": EPISODES, "results": found})


def _measured(dataset: Dataset, compute: Compute) -> dict[str, Any]:
    accuracies: dict[str, dict[str, np.ndarray]] = {}
    for values in HEADS:
        method = _head(values, dataset, compute)
        bank = Banks(method, dataset, compute).of("test")
        for shape in dataset.fixed_shapes("test"):
            episodes = dataset.fixed_episodes("test", shape, EPISODES)
            predicted = predict_episodes(method, bank, episodes, method.batch_norm_modes[0], compute)
            name = ", ".join(str(value) for value in values.values())
            accuracies.setdefault(shape.task, {})[name] = predicted.accuracy
    rows: dict[str, Any] = {}
    for task, of_task in accuracies.items():
        plain = of_task["nearest_mean"]
        rows[task] = {
            name: {**dataclasses.asdict(score(own)), "above nearest mean": dataclasses.asdict(score(own - plain))}
            for name, own in of_task.items()
        }
        for name, own in sorted(of_task.items(), key=lambda one: -one[1].mean()):
            print(
                f"{dataset.name} {task:6} {name:32} {score(own)}   above nearest mean {score(own - plain)}", flush=True
            )
    return rows


def _head(values: dict[str, Any], dataset: Dataset, compute: Compute) -> Method:
    overrides = ["backbone.name=lite0", "train.steps=0"]
    overrides += [f"method.{key}={value}" for key, value in values.items()]
    channel, height, width = dataset.pack.images.shape[1:]
    method = build_method(load_settings(overrides=overrides), (channel, height, width)).eval()
    if method.has_statistics and dataset.scheme.splits.get("train"):
        features = Banks(method, dataset, compute).features("train").values
        centre = np.asarray(features, dtype=np.float32).mean(0)
        method.get_buffer("centre").copy_(compute_tensor(centre))
    return method


def compute_tensor(values: np.ndarray) -> Any:
    """An array as a tensor."""
    import torch

    return torch.from_numpy(values)


if __name__ == "__main__":
    main()
