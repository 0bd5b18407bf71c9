"""Does training in bfloat16 cost accuracy? Three seeds of a preset in both formats, tested on the same episodes.

    fewshot data prepare omniglot
    python benchmarks/precision.py          # about 20 minutes on 2 cores; goes on where it was stopped

Writes benchmarks/results_precision.json: each accuracy with its interval, and for each seed the difference, episode by
episode, with its interval.
"""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from fewshot.data.dataset import open_dataset
from fewshot.evaluation.evaluate import evaluate
from fewshot.evaluation.stats import score
from fewshot.model import load_model
from fewshot.project.paths import find_home
from fewshot.settings.presets import load_settings
from fewshot.training.loop import train

PRESET = "omniglot-protonet-5w1s-fast"
SEEDS = (0, 1, 2)
FORMATS = ("float32", "bfloat16")


def main() -> None:
    """Train, test, compare, write."""
    home = find_home()
    found: dict[str, Any] = {"command": "python benchmarks/precision.py", "preset": PRESET, "seeds": {}}
    for seed in SEEDS:
        of_seed: dict[str, Any] = {}
        accuracy = {}
        for precision in FORMATS:
            settings = load_settings(PRESET, [f"seed={seed}", f"train.precision={precision}"])
            dataset = open_dataset(home.data, settings.data.dataset, settings.data.split_scheme)
            folder = home.state / "precision" / f"{precision}-{seed}"
            trained = train(settings, dataset, folder)
            tested = evaluate(load_model(trained.model), dataset, settings.evaluate, folder)
            assert tested.per_episode is not None, "it was written"
            accuracy[precision] = load_file(tested.per_episode)
            of_seed[precision] = {
                "weights_sha256": trained.weights_sha256,
                **{name: asdict(one) for name, one in tested.results.items()},
            }
        of_seed["bfloat16 - float32"] = {
            name: asdict(score(accuracy["bfloat16"][f"{name}/accuracy"] - accuracy["float32"][f"{name}/accuracy"]))
            for name in tested.results
        }
        found["seeds"][seed] = of_seed
        for name, one in of_seed["bfloat16 - float32"].items():
            print(f"seed {seed} {name}: {100 * one['accuracy']:+.2f} ± {100 * one['ci95']:.2f} %", flush=True)
    found["versions"] = {"python": platform.python_version(), "torch": version("torch"), "numpy": np.__version__}
    target = Path(__file__).parent / "results_precision.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
