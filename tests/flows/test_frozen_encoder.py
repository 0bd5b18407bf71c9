"""A handful of photos a class and a frozen encoder: from a folder to a champion, each step done once."""

from pathlib import Path
from typing import Any

import pytest
from own_images import draw

from fewshot.data.dataset import open_dataset
from fewshot.errors import DataError
from fewshot.project.paths import Home
from fewshot.tracking.store import Store
from fewshot.tracking.versions import ENCODER, find_version
from flows.dvc import adding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ENCODER_SETTINGS = [
    "backbone.name=timm",
    "backbone.network=test_efficientnet.r160_in1k",
    'backbone.weights=""',
    "backbone.size=32",
    "evaluate.episodes=30",
    "gate.episodes=30",
    "device=cpu",
    "threads=1",
]


def settings(dataset: str, *more: str) -> list[str]:
    return [*ENCODER_SETTINGS, f"data.dataset={dataset}", *more]


def steps(summary: dict[str, Any]) -> dict[str, bool]:
    return {step["label"]: step["cached"] for step in summary["steps"]}


@pytest.fixture
def photos(own_home: Home, tmp_path: Path) -> Path:
    """Two datasets side by side: twelve classes of eight images, and three of five."""
    for number in range(12):
        draw(tmp_path / "zoo", f"animal {number:02}", range(8))
    for number in range(3):
        draw(tmp_path / "tools", f"tool {number}", range(5))
    for name in ("zoo", "tools"):
        added = adding.add(own_home, name, tmp_path / name, {})
        assert (added.declaration.splits, added.is_trainable) == (("test-only",), False)
    return tmp_path


def test_a_folder_of_photos_becomes_a_champion_without_training(own_home: Home, photos: Path) -> None:
    from flows.pipeline import pipeline
    from flows.retrain import retrain
    from flows.why import why

    first = pipeline("lite0", settings("zoo"))
    assert list(steps(first)) == ["prepare zoo", "features", "meta-train", "evaluate", "register"]
    assert set(first["results"]) == {"zoo/5w1s", "zoo/5w5s"}
    assert first["results"]["zoo/5w5s"]["accuracy"] > 0.5
    assert (first["version"], first["aliases"]) == ("1", ["champion"])
    record = find_version(Store.open(own_home), "zoo-nearest_mean@champion").tags[ENCODER]
    assert '"name":"test_efficientnet.r160_in1k"' in record

    # Another head works on the same features; another dataset has its own.
    other = pipeline("lite0", settings("zoo", "method.name=ridge"))
    assert steps(other) == {
        "prepare zoo": True, "features": True, "meta-train": False, "evaluate": False, "register": False,
    }  # fmt: skip
    tools = pipeline("lite0", settings("tools"))
    assert set(tools["results"]) == {"tools/3w1s"}, "as far as three classes of five images go"
    assert all(steps(pipeline("lite0", settings("zoo"))).values())

    draw(photos / "zoo", "animal 12", range(8))
    stale = {verdict.label: verdict.reasons for verdict in why(own_home, "lite0", settings("zoo")) if verdict.reasons}
    assert stale["features"] == ("prepare zoo comes before it",)
    again = retrain("lite0", settings("zoo"))
    assert again["remarks"] == ["zoo: animal 12 is new (8 images)"]
    assert again["outcome"] == "first"  # no retraining was judged before
    assert again["report"].endswith(".html")
    assert retrain("lite0", settings("zoo"))["outcome"] == "nothing to do"


def test_too_few_classes_to_train_on_are_said_with_what_is_possible(own_home: Home, photos: Path) -> None:
    from flows.pipeline import pipeline

    with pytest.raises(DataError, match=r"no train classes.*train\.steps=0"):
        pipeline("lite0", settings("zoo", "train.steps=5"))
    assert open_dataset(own_home.data, "zoo").class_names("test")[0] == "animal 00"
    adding.add(own_home, "zoo", photos / "zoo", {}, ("hash",), replace=True)
    with pytest.raises(DataError, match=r"zoo has too few classes \(12 in all\) to train on: .*hold all classes out"):
        pipeline("lite0", settings("zoo"))
