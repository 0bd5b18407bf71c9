"""The leaderboard: paired ranks, and all models of a home on the same episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_data import SHAPES, TOY, toy_dataset

from fewshot.data.dataset import Dataset
from fewshot.errors import DataError
from fewshot.project.paths import Home
from fewshot.reporting.leaderboard import compare, find_models, log_to_mlflow, rank
from fewshot.settings.schema import settings_from
from fewshot.tracking.store import Store
from fewshot.training.loop import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


def test_models_share_a_rank_where_the_paired_difference_shows_nothing() -> None:
    numbers = np.random.default_rng(0)
    hard = numbers.normal(0.7, 0.1, 400)  # what all episodes have in common
    accuracies = {
        "best": ("a", hard + 0.020),
        "as good": ("b", hard + 0.020 + numbers.normal(0, 0.02, 400)),
        "a little worse": ("c", hard + 0.015),
        "worst": ("d", hard - 0.1),
    }
    entries = {entry.name: entry for entry in rank(accuracies)}
    # Unpaired, the interval of each is 0.01 and the third would not differ from the first.
    assert entries["a little worse"].score.ci95 > 0.005
    assert {name: entry.rank for name, entry in entries.items()} == {
        "best": 1, "as good": 1, "a little worse": 3, "worst": 4
    }  # fmt: skip
    assert entries["worst"].behind.accuracy == pytest.approx(0.12, abs=0.003)


def test_all_trainings_of_a_home_are_ranked_and_logged(home: Home, dataset: Dataset) -> None:
    learned = settings_from(TOY)
    untrained = settings_from({**TOY, "train": TOY["train"] | {"steps": 1, "learning_rate": 1e-9}, "seed": 5})
    for number, settings in enumerate((learned, untrained)):
        train(settings, dataset, home.training(f"t{number}"))
    train(learned, dataset, home.training("t2"))  # the same weights once more
    (home.training("unfinished") / "model").mkdir(parents=True)
    models = find_models(Store.open(home), home.trainings, home.project)
    assert [Path(name).parent.name for name in models] == ["t0", "t1"]
    boards = compare(home.evaluations, models, dataset, SHAPES[:1], 40, "cpu")
    [task] = boards
    assert task == SHAPES[0].task
    assert [Path(entry.name).parent.name for entry in boards[task]] == ["t0", "t1"]
    assert boards[task][0].behind.accuracy == 0
    assert compare(home.evaluations, models, dataset, SHAPES[:1], 40, "cpu") == boards  # read, not measured again
    run_id = log_to_mlflow(Store.open(home), "glyphs", boards, {task: b"png"})
    client = Store.open(home).client
    assert {file.path for file in client.list_artifacts(run_id)} == {f"{task}.json", f"{task}.png"}
    assert client.get_run(run_id).data.metrics[f"best/{task}"] == boards[task][0].score.accuracy


def test_models_of_other_images_are_left_out(home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = toy_dataset(tmp_path, size=20)
    with pytest.raises(DataError, match="no model that can be tested on glyphs"):
        compare(
            home.evaluations, find_models(Store.open(home), home.trainings, home.project), other, SHAPES[:1], 40, "cpu"
        )
    assert "(1, 16, 16), those of glyphs are (1, 20, 20)" in caplog.text


def test_a_model_that_was_trained_on_test_classes_is_left_out(
    home: Home, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    train(settings_from(TOY), dataset, home.training("t0"))
    parts = {**dataset.scheme.splits, "train": dataset.scheme.splits["test"], "test": dataset.scheme.splits["train"]}
    swapped = replace(dataset, scheme=replace(dataset.scheme, splits=parts))
    with pytest.raises(DataError, match="no model that can be tested"):
        compare(
            home.evaluations,
            find_models(Store.open(home), home.trainings, home.project),
            swapped,
            SHAPES[:1],
            40,
            "cpu",
        )
    assert "it was trained on 12 of the test classes of scripts" in caplog.text
