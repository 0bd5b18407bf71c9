"""A training of no steps: a pretrained encoder that is used as it is."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_data import TOY, toy_dataset

from fewshot.backbones.base import Backbone
from fewshot.cli.console import print_training
from fewshot.data.dataset import Dataset
from fewshot.errors import DataError, UsageError
from fewshot.evaluation.evaluate import evaluate
from fewshot.methods import METHODS
from fewshot.methods.build import build_method
from fewshot.model import load_model
from fewshot.reporting.page import _training
from fewshot.settings.base import BackboneSettings
from fewshot.settings.schema import Settings, settings_from
from fewshot.training.loop import train
from fewshot.training.result import read_history

SPLITS: dict[str, Any] = {
    "test-only": "test-only",
    "without val": {"train": range(6), "test": range(6, 12)},
    "without train": {"val": range(6), "test": range(6, 12)},
    "with all": {"train": range(4), "val": range(4, 8), "test": range(8, 12)},
}


class FrozenEncoder(Backbone):
    """Means of an image's quarters: nothing to learn."""

    averages = True
    map_shape = (16, 1, 1)

    def __init__(self, image_shape: tuple[int, int, int], settings: BackboneSettings) -> None:
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(4)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        return self.pool(images).flatten(1)[..., None, None]


def settings_of(method: str = "protonet", **options: object) -> Settings:
    frozen = {"name": f"{__name__}:FrozenEncoder"}
    base: dict[str, Any] = {**TOY, "backbone": frozen, "method": {"name": method}}
    return settings_from(base | {"train": base["train"] | {"steps": 0, "episode": "20w1s5q"} | options})


def dataset_of(splits: Any) -> Dataset:
    numbers = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 9)
    images = numbers.integers(0, 90, (len(labels), 1, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * (label // 4) : 4 * (label // 4) + 4, 4 * (label % 4) : 4 * (label % 4) + 4] += 150
    return Dataset.from_arrays(images, labels, "squares", splits)


@pytest.mark.parametrize("splits", SPLITS)
def test_an_encoder_without_a_training_is_validated_where_it_can_be_and_evaluated(splits: str, tmp_path: Path) -> None:
    dataset, heard = dataset_of(SPLITS[splits]), []
    settings = settings_of()
    result = train(settings, dataset, tmp_path, lambda step, metrics: heard.append((step, metrics)))
    validated = "val" in dataset.scheme.splits
    assert (result.steps, result.best_step) == (0, 0)
    assert (result.best_val_accuracy is not None) == (result.best_val_ci95 is not None) == validated
    points = read_history(result.history)
    assert [(point.pop("step"), point) for point in points] == heard
    assert [set(metrics) for _, metrics in heard] == [{"val_accuracy", "val_ci95"}] * validated
    assert train(settings, dataset, tmp_path) == result
    model = load_model(result.model, trust_code=True)
    assert model.description.data.classes == dataset.scheme.splits.get("train", ())
    [score] = evaluate(model, dataset, settings.evaluate).results.values()
    assert score.accuracy > 0.9
    if result.best_val_accuracy is not None:
        assert result.best_val_accuracy > 0.9


def test_statistics_are_those_of_training_images_without_a_step_too(tmp_path: Path) -> None:
    dataset = dataset_of(SPLITS["without val"])
    settings = settings_of("simpleshot", episode="3w1s2q")
    model = load_model(train(settings, dataset, tmp_path).model, trust_code=True)
    assert model.method.get_buffer("centre").abs().max() > 0


def test_a_learning_curve_without_a_step_draws_no_chart(tmp_path: Path) -> None:
    for splits in ("with all", "test-only"):
        result = train(settings_of(), dataset_of(SPLITS[splits]), tmp_path / splits)
        assert _training(read_history(result.history)) == ""


def test_steps_with_nothing_to_learn_or_to_learn_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to learn on a frozen backbone; .* as it is with train\.steps=0"):
        train(settings_of(steps=1, episode="3w1s2q"), dataset_of(SPLITS["with all"]), tmp_path / "frozen")
    with pytest.raises(
        DataError, match=r"test-only of squares has no train classes, and train\.steps=3 needs some; set train\.steps=0"
    ):
        train(settings_of(steps=3), dataset_of("test-only"), tmp_path / "test-only")
    assert not (tmp_path / "test-only").exists()
    with pytest.raises(DataError, match="has no val classes; it has: train, test"):
        train(settings_of(steps=3, episode="3w1s2q"), dataset_of(SPLITS["without val"]), tmp_path / "without val")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_built_without_training_classes_or_says_that_it_needs_some(name: str) -> None:
    settings = settings_from(TOY | {"method": {"name": name}, "train": {"episode": "3w1s2q"}})
    if name in ("simpleshot", "baseline", "baseline++", "metabaseline"):
        with pytest.raises(UsageError, match=rf"method\.name={name.replace('+', '.')} learns to tell training classes"):
            build_method(settings, (1, 16, 16), 0)
    else:
        build_method(settings, (1, 16, 16), 0)


def test_the_command_line_says_whether_a_model_was_validated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for splits in ("test-only", "without train"):
        print_training(train(settings_of(), dataset_of(SPLITS[splits]), tmp_path / splits))
    not_validated, _, _, validated, *_ = capsys.readouterr().out.splitlines()
    assert not_validated.startswith("not validated (no val classes), ")
    assert re.match(r"meta-validation \d+\.\d\d ± \d+\.\d\d % without a training step, ", validated)


def test_a_random_network_may_be_kept_as_it_is(tmp_path: Path) -> None:
    settings = settings_from({**TOY, "train": {**TOY["train"], "steps": 0}})  # type: ignore[dict-item]
    result = train(settings, toy_dataset(tmp_path / "data"), tmp_path / "training")
    assert result.best_val_accuracy is not None
    assert result.best_step == 0
