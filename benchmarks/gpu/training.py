"""Omniglot on the device: accuracy with its interval, seconds, and the same weights after a break.

Needs data/omniglot, prepared.
"""

import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.section import Section
from fewshot.data.dataset import Dataset, open_dataset
from fewshot.evaluation.evaluate import evaluate
from fewshot.model import load_model
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings, settings_from
from fewshot.training.loop import train

RUNS = ("omniglot-protonet-5w1s", "omniglot-maml-5w1s")

BROKEN_OFF = 300
"""The step at which a short training is broken off, to go on from its last checkpoint."""


def main() -> None:
    """Train and test each of RUNS."""
    section = Section()
    if not Path("data/omniglot/pack").is_dir():
        section.add("skipped", "data/omniglot is not prepared")
        return
    shapes = 'evaluate.shapes=["5w1s15q", "5w5s15q"]'
    for preset in RUNS:
        small = ["train.steps=2", "train.validate_every=2", "train.validation_episodes=4", "evaluate.episodes=4"]
        settings = load_settings(preset, [shapes, f"device={section.device.type}", *(small if section.small else [])])
        dataset = open_dataset(Path("data"), settings.data.dataset, settings.data.split_scheme)
        with tempfile.TemporaryDirectory() as folder:
            result = train(settings, dataset, Path(folder))
            found = evaluate(load_model(result.model, section.device.type), dataset, settings.evaluate)
        section.add(preset, {
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "precision": result.precision,
            "weights_sha256": result.weights_sha256,
            "results": {key: asdict(score) for key, score in found.results.items()},
        })  # fmt: skip
        if not section.small:
            section.add(f"{preset}, same weights", same_weights(settings, dataset))


def same_weights(settings: Settings, dataset: Dataset) -> dict[str, bool]:
    """Compare the weights of a short training with those of the same one done again, and of one broken off."""
    length = {"steps": 2 * BROKEN_OFF, "validate_every": BROKEN_OFF, "checkpoint_every": 200}
    short = settings_from(settings.plain() | {"train": settings.plain()["train"] | length})

    def break_off(step: int, numbers: dict[str, float]) -> None:
        if step >= BROKEN_OFF:
            raise InterruptedError

    digests = []
    for breaks in (False, False, True):
        with tempfile.TemporaryDirectory() as folder:
            if breaks:
                with suppress(InterruptedError):
                    train(short, dataset, Path(folder), break_off)
            digests.append(train(short, dataset, Path(folder)).weights_sha256)
    return {"done again": digests[0] == digests[1], "broken off": digests[0] == digests[2]}


if __name__ == "__main__":
    main()
