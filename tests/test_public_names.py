"""The library in Python: an exact list of public names, lazily imported, and a training in six lines."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fewshot

PUBLIC = [
    *("DamagedFileError", "DataError", "Dataset", "EpisodeBatchSampler", "FewShotClassifier", "FewshotError"),
    *("Interrupted", "Model", "PipelineError", "RegistryError", "Settings", "TrainingError", "UsageError"),
    *("collate", "evaluate", "list_backbones", "list_datasets", "list_encoders", "list_methods", "list_presets"),
    *("load_model", "load_settings", "open_dataset", "train"),
]


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert fewshot.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(fewshot, name).__doc__, f"{name} is documented"
    assert set(PUBLIC) <= set(dir(fewshot))
    with pytest.raises(AttributeError, match=r"module 'fewshot' has no attribute 'trian'; it has: .*train"):
        fewshot.trian  # noqa: B018


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, fewshot\n"
        "fewshot.UsageError\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'numpy', 'pydantic', 'dvc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def bars(classes: int = 20, images: int = 12) -> tuple[np.ndarray, list[str]]:
    """Squares of 16 pixels with a bright bar, one place a class."""
    numbers = np.random.default_rng(0)
    pixels = 0.1 * numbers.random((classes, images, 16, 16))
    for place in range(classes):
        row, column = divmod(place, 5)
        pixels[place, :, 4 * row : 4 * row + 4, 3 * column : 3 * column + 3] += 0.8
    return pixels.reshape(-1, 16, 16), [f"class {place}" for place in range(classes) for _ in range(images)]


def test_a_network_learns_my_arrays_in_six_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = bars()
    shapes = ["train.episode=5w1s4q", "train.validation=4w1s5q", 'evaluate.shapes=["4w1s5q"]', "train.steps=40"]
    small = [*shapes, "backbone.channels=8", "evaluate.episodes=30", "train.validation_episodes=20", "threads=1"]

    dataset = fewshot.Dataset.from_arrays(images, labels)
    settings = fewshot.load_settings(overrides=small)
    result = fewshot.train(settings, dataset)
    model = fewshot.load_model(result.model)
    found = fewshot.evaluate(model, dataset, settings.evaluate)

    [score] = found.results.values()
    assert score.accuracy - score.ci95 > 0.5
    assert result.model.is_relative_to(".fewshot/training")
    assert fewshot.train(settings, dataset) == result, "it is found finished"
