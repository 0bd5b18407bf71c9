"""Models on a frozen encoder: features once, images of any size, weights in the model or referred to by digest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_data import toy_dataset

from fewshot.cli.console import print_training
from fewshot.data.dataset import Dataset
from fewshot.errors import DamagedFileError, UsageError
from fewshot.evaluation import banks
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.evaluate import evaluate
from fewshot.methods.auto import HEADS, Auto
from fewshot.methods.build import build_method
from fewshot.model import describe_model, load_model
from fewshot.settings.schema import Settings, settings_from
from fewshot.system.device import Compute
from fewshot.training.choices import in_words, read_choices
from fewshot.training.loop import train

SIDE = 32
CPU = Compute(torch.device("cpu"), torch.float32, 1)


def settings(method: str = "nearest_mean", steps: int = 0, **backbone: object) -> Settings:
    network = {"name": "timm", "network": "test_efficientnet.r160_in1k", "weights": "", "size": SIDE}
    return settings_from(
        {
            "threads": 1,
            "device": "cpu",
            "backbone": network | backbone,
            "method": {"name": method},
            "train": {"steps": steps, "episode": "4w1s3q", "validate_every": 10, "validation": "3w1s4q"}
            | {"validation_episodes": 20},
            "evaluate": {"shapes": ["3w1s4q"], "episodes": 40},
        }
    )


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = toy_dataset(tmp_path / "data")
    return Dataset(made.name, made.pack, made.scheme, made.episodes)


def test_features_are_kept_and_give_what_the_images_give(dataset: Dataset, tmp_path: Path) -> None:
    model = load_model(train(settings(), dataset, tmp_path / "t").model, "cpu")
    result = evaluate(model, dataset, settings().evaluate)
    assert 40 < 100 * result.results["glyphs/3w1s"].accuracy <= 100
    kept = {file.parent.name for file in (tmp_path / "state" / "features").rglob("features.npy")}
    assert len(kept) == 2  # of val and test: nothing was learned of train
    episode = dataset.fixed_episodes("test", settings().evaluate.shapes[0], 1)
    images = [[model.prepare(Image.fromarray(dataset.pack.images[row, 0])) for row in rows] for rows in episode.rows[0]]
    assert {image.shape for of_class in images for image in of_class} == {(3, SIDE, SIDE)}
    head = model.fit([np.stack(of_class[:1]) for of_class in images])
    found = model.predict_proba(head, np.stack([image for of_class in images for image in of_class[1:]])).argmax(-1)
    bank = Banks(model.method, dataset, CPU).of("test")
    expected = model.method.logits(bank.batch(episode), "inductive").argmax(-1)[0].numpy()
    assert (found == expected).mean() > 0.9, "features are in half precision"


def test_something_is_learned_on_features_and_the_encoder_stays(dataset: Dataset, tmp_path: Path) -> None:
    chosen = settings("projection", steps=30)
    before = build_method(chosen, (1, 16, 16), 12).state_dict()
    result = train(chosen, dataset, tmp_path / "t")
    after = load_model(result.model, "cpu").method.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone.network"))
    assert not torch.equal(before["layer.weight"], after["layer.weight"])


def test_auto_lets_the_best_head_answer_and_tells_by_how_much(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(settings("auto"), dataset, tmp_path / "t")
    rows = read_choices(result.history)
    assert len(rows) == len(HEADS)
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), reverse=True)
    assert rows[0]["accuracy"] == result.best_val_accuracy
    assert rows[1]["behind"] == pytest.approx(rows[0]["accuracy"] - rows[1]["accuracy"])
    assert in_words(rows).startswith(f"{rows[0]['name']} won on validation episodes")
    method = load_model(result.model, "cpu").method
    assert isinstance(method, Auto)
    assert rows[0]["name"].startswith(str(HEADS[int(method.chosen)]["name"]))
    own = {name for name, _ in method.named_parameters()}
    assert own == {name for name in own if name.startswith("backbone.")}, "one encoder, and no copy of it"
    print_training(result)
    assert "behind the best, paired" in capsys.readouterr().out


def test_auto_takes_the_first_head_where_nothing_can_be_compared(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 20, 20), dtype=np.uint8)
    own = Dataset.from_arrays(images, np.repeat(list("abcd"), 6), splits="test-only")
    result = train(settings("auto"), own, tmp_path / "t")
    method = load_model(result.model, "cpu").method
    assert isinstance(method, Auto)
    assert (int(method.chosen), read_choices(result.history)) == (0, [])


def test_a_model_records_its_encoder_and_may_refer_to_its_weights(dataset: Dataset, tmp_path: Path) -> None:
    carrying = train(settings(), dataset, tmp_path / "a").model
    referring = train(settings(carried=False), dataset, tmp_path / "b").model
    record = describe_model(carrying).encoder
    assert record is not None
    assert (record.name, record.licence, record.is_carried) == ("test_efficientnet.r160_in1k", "apache-2.0", True)
    other = describe_model(referring).encoder
    assert other is not None
    assert (other.digest, other.is_carried) == (record.digest, False)
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (carrying, referring)]
    assert sizes[1] < sizes[0] / 10
    options = settings().evaluate
    accuracies = [evaluate(load_model(folder, "cpu"), dataset, options).results for folder in (carrying, referring)]
    assert accuracies[0] == accuracies[1]


def test_other_weights_than_those_that_are_referred_to_are_said(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    referring = train(settings(carried=False), dataset, tmp_path / "b").model
    monkeypatch.setattr("fewshot.methods.build.torch_seed", lambda seed, purpose: 99)  # other random weights
    with pytest.raises(
        DamagedFileError, match=r"refers to the encoder test_efficientnet.* weights of digest .*; bring"
    ):
        load_model(referring, "cpu")


def test_a_network_that_learns_takes_the_images_of_the_pack(dataset: Dataset) -> None:
    method = build_method(settings(frozen=False), (1, 16, 16), 12)
    found = Banks(method, dataset, CPU)
    assert found.of("train").image_shape == (1, 16, 16)
    with pytest.raises(UsageError, match=r"only a pretrained network that stays as it is has features"):
        found.features("train")
    assert banks.image_shape_of(method, dataset) == (1, 16, 16)


def test_classes_that_are_all_held_out_need_no_training(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 20, 20), dtype=np.uint8)
    own = Dataset.from_arrays(images, np.repeat(list("abcd"), 6), splits="test-only")
    result = train(settings("nearest_mean"), own, tmp_path / "t")
    assert result.best_val_accuracy is None
    measured = evaluate(load_model(result.model, "cpu"), own, settings().evaluate)
    assert list(measured.results) == ["arrays/4w1s"] or list(measured.results) == ["arrays/3w1s"]
