"""Whose statistics of batch normalisation serve a query of MAML++ best? The same weights, three ways, paired.

    fewshot run omniglot-mamlpp-5w1s
    python benchmarks/mamlpp_statistics.py .fewshot/training/.../model

Running ones, gathered in training over tasks (how this project answers queries one by one); those of the task's support
set, under its adapted weights (as with our other methods of this kind); those of the task's queries together
(transductive, as the authors do). Writes benchmarks/results_mamlpp_statistics.json.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from fewshot.data.batches import EpisodeBatch, ImageBank
from fewshot.data.dataset import open_dataset
from fewshot.evaluation.stats import score
from fewshot.methods import mamlpp
from fewshot.methods.mamlpp import MAMLPlusPlus
from fewshot.methods.stacked_network import Images, Weights, flat
from fewshot.model import load_model
from fewshot.project.paths import find_home
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.device import Compute, prepare_cpu

EPISODES = 600


def main(folder: Path) -> None:
    """Answer the frozen test episodes in each way, compare, write."""
    prepare_cpu(0)
    model = load_model(folder)
    of_data, method = model.description.data, model.method
    dataset = open_dataset(find_home().data, of_data.dataset, of_data.split_scheme)
    bank = ImageBank(dataset.pack.images, model.compute.device)
    if not isinstance(method, MAMLPlusPlus):
        sys.exit(f"error: {folder} holds no MAML++")
    episodes = dataset.fixed_episodes("test", EpisodeShape(5, 1, 15), EPISODES)
    right = [
        {
            name: float((answer.argmax(-1) == batch.labels).float().mean())
            for name, answer in answers(method, batch, model.compute)
        }
        for place in range(EPISODES)
        for batch in [bank.batch(episodes[place : place + 1])]
    ]
    of_name = {name: np.array([one[name] for one in right]) for name in right[0]}
    found = {
        "command": "python benchmarks/mamlpp_statistics.py .fewshot/training/.../model",
        "weights_sha256": model.description.weights_sha256,
        "accuracy": {name: asdict(score(values)) for name, values in of_name.items()},
        "support set - running": asdict(score(of_name["support set"] - of_name["running"])),
        "versions": {"torch": version("torch"), "numpy": np.__version__},
    }
    target = Path(__file__).parent / "results_mamlpp_statistics.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["accuracy"], indent=1))


def answers(method: MAMLPlusPlus, batch: EpisodeBatch, compute: Compute) -> Iterator[tuple[str, torch.Tensor]]:
    """(whose statistics, logits) for one task."""
    with compute.autocast():
        support, labels, way = flat(batch.support)
        queries = batch.query.flatten(1, 2)
        learned = method.adapted(support, labels, way, "transductive")
        with torch.no_grad():
            yield "running", method.classify_queries(learned, queries, "inductive")
            with statistics_of(method, learned, support):
                yield "support set", method.classify_queries(learned, queries, "inductive")
            yield "queries", method.classify_queries(learned, queries, "transductive")


@contextmanager
def statistics_of(method: MAMLPlusPlus, learned: Weights, images: Images) -> Iterator[None]:
    """Put the statistics of these images in the place of the running ones while the block runs."""
    kept, momentum = {name: buffer.clone() for name, buffer in method.named_buffers()}, mamlpp.MOMENTUM
    mamlpp.MOMENTUM = 1.0
    method.train()
    method.features(learned, images, method.settings.inner_steps)
    method.eval()
    mamlpp.MOMENTUM = momentum
    yield
    method.load_state_dict(kept, strict=False)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
