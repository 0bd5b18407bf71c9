"""What an ensemble over the rows of MAML's head is worth: the same weights, learned once or several times, paired.

    fewshot run omniglot-maml-5w1s
    python benchmarks/ensemble.py .fewshot/training/.../model

Writes benchmarks/results_ensemble.json: accuracy on the frozen test episodes with one member and with as many as the
model has, and the difference, episode by episode, each with its interval.
"""

import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fewshot.data.batches import ImageBank
from fewshot.data.dataset import open_dataset
from fewshot.evaluation.predictions import predict_episodes
from fewshot.evaluation.stats import score
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.model import load_model
from fewshot.project.paths import find_home
from fewshot.settings.episode_shape import EpisodeShape

SHAPES, EPISODES = (EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15)), 600


def main(folder: Path) -> None:
    """Answer the frozen test episodes both ways, compare, write."""
    model = load_model(folder)
    model.compute.prepare()
    of_data, method = model.description.data, model.method
    dataset = open_dataset(find_home().data, of_data.dataset, of_data.split_scheme)
    bank = ImageBank(dataset.pack.images, model.compute.device)
    if not isinstance(method, InnerLoop) or method.settings.ensemble == 1:
        sys.exit(f"error: {folder} holds no ensemble")
    found: dict[str, object] = {
        "command": "python benchmarks/ensemble.py .fewshot/training/.../model",
        "weights_sha256": model.description.weights_sha256,
        "versions": {"torch": version("torch"), "numpy": np.__version__},
    }
    of_model: InnerLoopSettings = method.settings
    for shape in SHAPES:
        for mode in method.batch_norm_modes:
            accuracies = {}
            for members in (1, of_model.ensemble):
                method.settings = of_model.model_copy(update={"ensemble": members})
                accuracies[members] = predict_episodes(
                    method, bank, dataset.fixed_episodes("test", shape, EPISODES), mode, model.compute
                ).accuracy
            gain = accuracies[of_model.ensemble] - accuracies[1]
            found[f"{shape.task} {mode}"] = {
                **{f"members: {members}": asdict(score(values)) for members, values in accuracies.items()},
                "gain": asdict(score(gain)),
            }
            print(f"{shape.task} {mode}: {of_model.ensemble} members instead of 1: {score(gain)}", flush=True)
    target = Path(__file__).parent / "results_ensemble.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
