"""Host syncs of the training loop: each place where the host waits for the device, and how often."""

import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.section import Section
from fewshot.data.dataset import Dataset
from fewshot.settings.presets import load_settings
from fewshot.training.loop import train

STEPS = 20


def main() -> None:
    """Train a few steps of two methods and count."""
    section = Section()
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (60, 20, 1, 28, 28), dtype=np.uint8)
    dataset = Dataset.from_arrays(images.reshape(-1, 1, 28, 28), np.repeat(np.arange(60), 20).tolist())
    for method in ("protonet", "maml"):
        settings = load_settings(
            overrides=[
                f"method.name={method}", "train.episode=5w1s5q", "train.tasks=4", f"train.steps={STEPS}",
                f"train.validate_every={STEPS}", "train.checkpoint_every=1000", "train.validation=5w1s5q",
                "train.validation_episodes=4", f"device={section.device.type}",
            ]
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if section.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
            train(settings, dataset, Path(folder))
            if section.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        places = Counter(
            f"{Path(one.filename).parent.name}/{Path(one.filename).name}:{one.lineno}"
            for one in caught
            if "synchroniz" in str(one.message)
        )
        section.add(
            method,
            {
                f"in {STEPS} steps, with what is logged and saved at their end": {
                    place: n for place, n in places.most_common(12)
                }
            },
        )


if __name__ == "__main__":
    main()
