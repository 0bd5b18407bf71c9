"""Does the meta-learner optimize better than gradient descent whose rate was tuned by hand?

    fewshot data prepare omniglot
    python benchmarks/learned_optimizer.py  # about 30 minutes on 2 cores; goes on where it was stopped

Both learn held-out tasks by equally many inner steps, from initial weights that were meta-learned with them on the same
training tasks (that is, gradient descent is MAML). Its rate is the best of RATES on validation classes, for tasks of
the kind trained on. A second comparison leaves the learned initial weights and replaces the learned optimizer alone.
All of it once with tasks of one image a class in training, once with five. Writes
benchmarks/results_learned_optimizer.json: each accuracy on the frozen test episodes with its interval, and the
differences, episode by episode, with theirs.
"""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.config import EpisodeShape, Settings
from fewshot.data.images import ImageBank
from fewshot.data.splits import Dataset, open_dataset
from fewshot.device import pick_device, prepare_cpu
from fewshot.home import find_home
from fewshot.methods import build_method
from fewshot.methods.contract import Method
from fewshot.model import load_model
from fewshot.preset import load_settings
from fewshot.scoring import answer
from fewshot.stats import score
from fewshot.train import train

PRESET = "omniglot-metalearner-5w1s"
STEPS = 300
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
SHAPES = (EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15))
QUERIES = 5
"""In training, of each class."""


def main() -> None:
    """Train, choose the rates, test, compare, write."""
    home, trained = find_home(), {}
    for shape in SHAPES:
        episode = EpisodeShape(shape.way, shape.shot, QUERIES)
        settings = load_settings(PRESET, [f"train.steps={STEPS}", f"train.episode={episode}"])
        prepare_cpu(settings.threads)
        dataset = open_dataset(home.data, settings.data.dataset, settings.data.split)
        trained[str(episode)] = _compared(settings, shape, dataset, home.state / "learned_optimizer" / str(episode))
    versions = {"python": platform.python_version(), "torch": version("torch"), "numpy": np.__version__}
    found = {"command": "python benchmarks/learned_optimizer.py", "trained on": trained, "versions": versions}
    target = Path(__file__).parent / "results_learned_optimizer.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target}")


def _compared(learned: Settings, shape: EpisodeShape, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """What is trained with `learned.train.episode`, tested on all shapes; rates are the best for `shape`."""
    bank = ImageBank(dataset.pack.images, pick_device(learned.device))
    by_hand = {rate: _by_hand(learned, rate) for rate in RATES}

    def trained(settings: Settings, name: str) -> Method:
        return load_model(train(settings, dataset, folder / name).model, bank.device)

    optimizer = trained(learned, "learned")
    maml = {rate: trained(settings, f"rate {rate:g}") for rate, settings in by_hand.items()}
    same_start = {rate: _with_weights(settings, optimizer, bank) for rate, settings in by_hand.items()}
    results, ours = _tested(optimizer, bank, dataset)
    found: dict[str, Any] = {"settings": learned.plain(), "learned": results}
    for name, of_rates in (("descent from its own weights", maml), ("descent from the same weights", same_start)):
        validated = {rate: _validated(method, shape, bank, dataset) for rate, method in of_rates.items()}
        best = max(validated, key=lambda rate: validated[rate])
        results, accuracies = _tested(of_rates[best], bank, dataset)
        differences = {key: asdict(score(ours[key] - accuracies[key])) for key in accuracies}
        found[name] = {"rate": best, "validated": validated, "results": results, "learned - descent": differences}
        for key, one in differences.items():
            text = f"{100 * one['accuracy']:+.2f} ± {100 * one['interval']:.2f} %"
            trained_on = f"trained on {learned.train.episode}"
            print(f"{trained_on}, learned optimizer - {name} (rate {best:g}), {key}: {text}", flush=True)
    return found


def _by_hand(learned: Settings, rate: float) -> Settings:
    """The settings of MAML with everything else as the meta-learner has it."""
    values = learned.plain()
    kept = {key: values["method"][key] for key in ("inner_steps", "inner_steps_test")}
    return Settings.model_validate(values | {"method": {"name": "maml", "inner_learning_rate": rate, **kept}})


def _with_weights(settings: Settings, source: Method, bank: ImageBank) -> Method:
    """MAML that starts from the initial weights of another method."""
    method = build_method(settings, bank.image_shape).to(bank.device)
    weights = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("meta_learner.")}
    method.load_state_dict(weights)
    method.precision = source.precision
    return method


def _validated(method: Method, shape: EpisodeShape, bank: ImageBank, dataset: Dataset) -> float:
    """Mean accuracy on validation episodes."""
    return float(np.mean(answer(method, bank, dataset.frozen("val", shape, 200), "inductive").accuracy))


def _tested(method: Method, bank: ImageBank, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores, and accuracies of each episode, by shape and treatment of the queries."""
    accuracies = {
        f"{shape.task} {mode}": answer(method, bank, dataset.frozen("test", shape, 600), mode).accuracy
        for shape in SHAPES
        for mode in method.batch_norm_modes
    }
    return {key: asdict(score(accuracy)) for key, accuracy in accuracies.items()}, accuracies


if __name__ == "__main__":
    main()
