"""Omniglot on the device: accuracy with its interval, and seconds. Needs data/omniglot, prepared."""

import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.section import Section
from fewshot.data.dataset import open_dataset
from fewshot.evaluation.evaluate import evaluate
from fewshot.model import load_model
from fewshot.settings.presets import load_settings
from fewshot.training.loop import train

RUNS = {
    "omniglot-protonet-5w1s": ["train.validate_every=1500"],
    "omniglot-maml-5w1s": ["train.steps=1500", "train.validate_every=1500", "method.ensemble=1"],
}


def main() -> None:
    """Train and test each of RUNS."""
    section = Section()
    if not Path("data/omniglot/pack").is_dir():
        section.add("skipped", "data/omniglot is not prepared")
        return
    shapes = 'evaluate.shapes=["5w1s15q", "5w5s15q"]'
    for preset, changes in RUNS.items():
        small = ["train.steps=2", "train.validate_every=2", "train.validation_episodes=4", "evaluate.episodes=4"]
        settings = load_settings(
            preset, [*changes, shapes, f"device={section.device.type}", *(small if section.small else [])]
        )
        dataset = open_dataset(Path("data"), settings.data.dataset, settings.data.split_scheme)
        with tempfile.TemporaryDirectory() as folder:
            result = train(settings, dataset, Path(folder))
            found = evaluate(load_model(result.model, section.device.type), dataset, settings.evaluate)
        section.add(preset, {
            "changes": changes,
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "precision": result.precision,
            "weights_sha256": result.weights_sha256,
            "results": {key: asdict(score) for key, score in found.results.items()},
        })  # fmt: skip


if __name__ == "__main__":
    main()
