"""Does the meta-learner optimize better than gradient descent whose rate was tuned by hand?

    fewshot data prepare omniglot
    python benchmarks/learned_optimizer.py  # about 30 minutes on 2 cores; goes on where it was stopped

Both learn held-out tasks by equally many inner steps, from initial weights that were meta-learned with them on the same
training tasks (that is, gradient descent is MAML). A second comparison leaves the learned initial weights and replaces
the learned optimizer alone; a third gives descent, at its best rate, as many minutes of training instead of as many
tasks. Two measures: the accuracy, and the cross-entropy of the queries, which is what the meta-learner was trained to
make small. The rate of descent is the best of RATES for that measure and kind of task, on validation episodes. Writes
benchmarks/results_learned_optimizer.json: each mean on the frozen test episodes with its interval, and the differences,
episode by episode, with theirs.
"""

import json
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset, open_dataset
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.evaluation.stats import score
from fewshot.methods.base import BatchNorm, Method
from fewshot.methods.build import build_method
from fewshot.methods.task_threads import Workers
from fewshot.model import load_model
from fewshot.project.paths import find_home
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings, settings_from
from fewshot.system.device import Compute
from fewshot.training.loop import train

PRESET = "omniglot-learned-optimizer-5w1s"
STEPS = 600
AS_LONG = 1400
"""Steps of MAML that take as long as STEPS of the meta-learner."""
RATES = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
SHAPES = (EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15))


def main() -> None:
    """Train, choose the rates, test, compare, write."""
    home, learned = find_home(), load_settings(PRESET, [f"train.steps={STEPS}"])
    compute = Compute.pick(learned.device, learned.train.precision, learned.threads)
    compute.prepare()
    dataset = open_dataset(home.data, learned.data.dataset, learned.data.split_scheme)
    bank = ImageBank(dataset.pack.images, compute.device)
    by_hand = {rate: _by_hand(learned, rate) for rate in RATES}

    def trained(settings: Settings, name: str) -> Method:
        return load_model(
            train(settings, dataset, home.state / "learned_optimizer" / name).model, learned.device
        ).method

    optimizer = trained(learned, "learned")
    ours = _measured(optimizer, bank, dataset, compute, "test", 600)
    descents = {rate: trained(one, f"rate {rate:g}") for rate, one in by_hand.items()}
    own = _compared(ours, descents, bank, dataset, compute)
    rate = own["5w1s inductive accuracy"]["rate"]
    longer = trained(_by_hand(load_settings(PRESET, [f"train.steps={AS_LONG}"]), rate), f"rate {rate:g} as long")
    found: dict[str, Any] = {
        "command": "python benchmarks/learned_optimizer.py",
        "settings": learned.plain(),
        "learned": {key: _mean(values) for key, values in ours.items()},
        "descent from the same weights": _compared(
            ours, {rate: _with_weights(one, optimizer, bank) for rate, one in by_hand.items()}, bank, dataset, compute
        ),
        "descent from its own weights": own,
        "descent from its own weights, trained as long": _compared(ours, {rate: longer}, bank, dataset, compute),
        "versions": {"python": platform.python_version(), "torch": version("torch"), "numpy": np.__version__},
    }
    target = Path(__file__).parent / "results_learned_optimizer.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target}")


def _compared(
    ours: dict[str, Float[np.ndarray, "episode"]],
    descents: dict[float, Method],
    bank: ImageBank,
    dataset: Dataset,
    compute: Compute,
) -> dict[str, Any]:
    """What the learned optimizer reached in each measure, against descent at the rate that validated best in it."""
    validated = {rate: _measured(method, bank, dataset, compute, "val", 200) for rate, method in descents.items()}
    best = {}
    for key in ours:
        sign = 1 if key.endswith("accuracy") else -1
        best[key] = max(descents, key=lambda rate: sign * validated[rate][key].mean())
    rates = sorted(set(best.values()))
    tested = {rate: _measured(descents[rate], bank, dataset, compute, "test", 600) for rate in rates}
    found: dict[str, Any] = {}
    for key, values in ours.items():
        rate = best[key]
        found[key] = {
            "validated": {rate: float(measured[key].mean()) for rate, measured in validated.items()},
            "rate": rate,
            "tested": _mean(tested[rate][key]),
            "learned - descent": _mean(values - tested[rate][key]),
        }
        difference = found[key]["learned - descent"]
        print(f"{key}, rate {rate:g}: {difference['mean']:+.4f} ± {difference['ci95']:.4f}", flush=True)
    return found


def _by_hand(learned: Settings, rate: float) -> Settings:
    """The settings of MAML with everything else as the meta-learner has it."""
    values = learned.plain()
    kept = {key: values["method"][key] for key in ("inner_steps", "inner_steps_test", "scale_to_way")}
    return settings_from(values | {"method": {"name": "maml", "inner_learning_rate": rate, **kept}})


def _with_weights(settings: Settings, source: Method, bank: ImageBank) -> Method:
    """MAML that starts from the initial weights of another method."""
    method = build_method(settings, bank.image_shape).to(bank.device)
    weights = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("meta_learner.")}
    method.load_state_dict(weights)
    return method


def _measured(
    method: Method, bank: ImageBank, dataset: Dataset, compute: Compute, subset: str, episodes: int
) -> dict[str, Float[np.ndarray, "episode"]]:
    """Accuracy and cross-entropy of each frozen episode, by shape and treatment of the queries."""
    method.eval()
    found: dict[str, np.ndarray] = {}
    for shape in SHAPES:
        drawn = dataset.fixed_episodes(subset, shape, episodes)
        size = method.tasks_at_once(drawn.rows[0].size)
        parts = [drawn[first : first + size] for first in range(0, len(drawn), size)]
        for mode in method.batch_norm_modes:
            measured = Workers(method, compute).map(partial(_accuracy_and_loss, method, bank, mode, compute), parts)
            accuracy, loss = torch.cat(list(measured), 1).double().numpy()
            found |= {f"{shape.task} {mode} accuracy": accuracy, f"{shape.task} {mode} loss": loss}
    return found


def _accuracy_and_loss(
    method: Method, bank: ImageBank, mode: BatchNorm, compute: Compute, part: EpisodeIndices
) -> Float[Tensor, "measure task"]:
    batch = bank.batch(part)
    with torch.no_grad(), compute.autocast():
        logits = method.logits(batch, mode).float()
    accuracy = (logits.argmax(-1) == batch.labels).float().mean(1)
    return torch.stack([accuracy, cross_entropy(logits.mT, batch.labels, reduction="none").mean(1)])


def _mean(values: Float[np.ndarray, "episode"]) -> dict[str, float]:
    """With the interval; `score` knows accuracies only by name."""
    found = score(values)
    return {"mean": found.accuracy, "ci95": found.ci95}


if __name__ == "__main__":
    main()
