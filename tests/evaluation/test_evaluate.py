"""Evaluation: fixed episodes, intervals, both batch-norm modes, and what is written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from toy_data import TOY, toy_dataset, toy_settings

from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset
from fewshot.errors import DamagedFileError, DataError
from fewshot.evaluation.evaluate import evaluate, read_evaluation
from fewshot.evaluation.predictions import predict_episodes
from fewshot.model import load_model
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import settings_from
from fewshot.system.device import Compute
from fewshot.training.loop import TrainResult, train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(toy_settings(), dataset, tmp_path_factory.mktemp("trained"))


def test_score_is_the_mean_of_the_kept_per_episode_accuracies(
    dataset: Dataset, trained: TrainResult, tmp_path: Path
) -> None:
    found = evaluate(load_model(trained.model, "cpu"), dataset, toy_settings().evaluate, tmp_path)
    kept = load_file(found.per_episode)
    accuracies = kept["glyphs/3w1s/accuracy"]
    assert len(accuracies) == found.results["glyphs/3w1s"].episodes == 40
    assert found.results["glyphs/3w1s"].accuracy == pytest.approx(accuracies.mean())
    right = kept["glyphs/3w1s/predicted"] == np.arange(3)[:, None]
    np.testing.assert_allclose(right.mean((1, 2)), accuracies)
    assert read_evaluation(found.file) == found


def test_confusion_counts_every_query_once(dataset: Dataset, trained: TrainResult, tmp_path: Path) -> None:
    found = evaluate(load_model(trained.model, "cpu"), dataset, toy_settings().evaluate, tmp_path)
    confusion = found.confusion["glyphs/3w1s"]
    counts = np.array(confusion.counts)
    assert confusion.names == dataset.class_names("test")
    assert counts.sum() == 40 * 3 * 4
    assert counts.trace() / counts.sum() == pytest.approx(found.results["glyphs/3w1s"].accuracy)


def test_maml_is_measured_both_ways_on_the_same_weights(dataset: Dataset, tmp_path: Path) -> None:
    settings = settings_from(TOY | {"method": {"name": "maml"}})
    model = train(settings, dataset, tmp_path / "model").model
    found = evaluate(load_model(model), dataset, settings.evaluate, tmp_path)
    assert set(found.results) == {"glyphs/3w1s", "glyphs/3w1s transductive"}
    assert found.results["glyphs/3w1s"] != found.results["glyphs/3w1s transductive"]


def test_answers_do_not_depend_on_how_many_episodes_go_together(
    dataset: Dataset, trained: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(trained.model, "cpu")
    method, compute = model.method, model.compute
    bank = ImageBank(dataset.pack.images, torch.device("cpu"))
    drawn = dataset.fixed_episodes("test", toy_settings().evaluate.shapes[0], 40)
    together = predict_episodes(method, bank, drawn, "inductive", compute).accuracy
    monkeypatch.setattr("fewshot.evaluation.predictions.IMAGES_AT_ONCE", 1)
    np.testing.assert_array_equal(predict_episodes(method, bank, drawn, "inductive", compute).accuracy, together)


def test_embedding_each_image_once_gives_the_same_answers(dataset: Dataset, trained: TrainResult) -> None:
    method = load_model(trained.model, "cpu").method
    bank = ImageBank(dataset.pack.images, torch.device("cpu"))
    drawn = dataset.fixed_episodes("test", toy_settings().evaluate.shapes[0], 40)
    turned = replace(drawn, rotation=(drawn.classes % 4).astype(np.int8))
    direct = method.logits(bank.batch(turned), "inductive").argmax(-1).numpy()
    np.testing.assert_array_equal(
        predict_episodes(method, bank, turned, "inductive", Compute(torch.device("cpu"))).predicted.reshape(40, -1),
        direct,
    )


def test_a_shape_that_was_not_frozen_is_named(dataset: Dataset, trained: TrainResult, tmp_path: Path) -> None:
    settings = settings_from(TOY | {"evaluate": {"shapes": ["4w1s2q"], "episodes": 40}})
    with pytest.raises(DataError, match=r"no fixed episodes test/4w1s2q; it has: .*test/3w1s4q"):
        evaluate(load_model(trained.model), dataset, settings.evaluate, tmp_path)


def test_images_of_another_size_are_refused(trained: TrainResult, tmp_path: Path) -> None:
    other = toy_dataset(tmp_path / "data", size=20)
    with pytest.raises(DataError, match=r"trained on images of \(channel, height, width\) = \(1, 16, 16\)"):
        evaluate(load_model(trained.model), other, toy_settings().evaluate, tmp_path)


def test_damaged_frozen_episodes_are_named(trained: TrainResult, tmp_path: Path) -> None:
    own = toy_dataset(tmp_path / "data")
    own.episodes.write_bytes(own.episodes.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DamagedFileError, match=r"scripts-episodes\.safetensors is missing or damaged"):
        evaluate(load_model(trained.model), own, toy_settings().evaluate, tmp_path)


def test_shapes_that_differ_in_queries_alone_have_results_of_their_own(dataset: Dataset, trained: TrainResult) -> None:
    options = toy_settings().evaluate.model_copy(update={"shapes": (EpisodeShape(3, 1, 4), EpisodeShape(3, 1, 2))})
    in_memory = replace(dataset, episodes=None)
    found = evaluate(load_model(trained.model, "cpu"), in_memory, options)
    assert set(found.results) == {"glyphs/3w1s4q", "glyphs/3w1s2q"}
