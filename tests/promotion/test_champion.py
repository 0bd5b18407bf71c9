"""Champion and challenger in a real registry: judged, exchanged, interrupted, taken back."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import pytest
from safetensors.torch import load_file
from toy_data import SHAPES, TOY, toy_dataset

from fewshot.data.dataset import Dataset
from fewshot.data.splits import unrotated
from fewshot.errors import DataError, RegistryError
from fewshot.evaluation.stats import Score
from fewshot.model import ModelDescription, describe_model, save_model
from fewshot.project.lineage import Lineage
from fewshot.project.paths import Home
from fewshot.promotion.champion import decide_promotion, history, rollback
from fewshot.promotion.gate_episodes import gate_episodes
from fewshot.promotion.record import PromotionRecord
from fewshot.promotion.spent import TESTS
from fewshot.settings.schema import Settings, settings_from
from fewshot.tracking.registration import register
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import DECISION, VERDICT, find_version
from fewshot.training.loop import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ORIGIN = Lineage("d" * 64, "c" * 64, "none", "none", False, "none")
GATE = {"shape": "3w1s4q", "episodes": 40, "tests_per_year": 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """A model that learned, and two that see no difference between images: their folders and weights digests."""
    folder = tmp_path_factory.mktemp("trained")
    result = train(settings_from(TOY | {"train": TOY["train"] | {"learning_rate": 5e-3}}), dataset, folder / "good")  # type: ignore[operator]
    models = {"good": (result.model, result.weights_sha256)}
    description = describe_model(result.model)
    for number, name in enumerate(("bad", "as bad")):
        weights = load_file(result.model / "weights.safetensors")
        weights["backbone.norms.3.weight"] *= 0
        weights["backbone.norms.3.bias"] *= 0
        weights["backbone.norms.0.bias"] += number
        place = folder / name
        models[name] = place, save_model(place, weights, description.settings, (1, 16, 16), description.data)
    return models


@pytest.fixture
def models(request: pytest.FixtureRequest, home: Home, trained: dict[str, tuple[Path, str]]) -> "Models":
    return Models(Store.open(home), request.node.name[:60], trained)


class Models:
    """The versions of one registered model."""

    def __init__(self, store: Store, name: str, trained: dict[str, tuple[Path, str]]) -> None:
        self.store, self.name, self.trained = store, name, trained
        self.settings: Settings = settings_from({**TOY, "gate": GATE, "register": {"model": name}})

    def add(self, which: str) -> str:
        """Register a trained model as one more version."""
        evaluation = {
            "run_id": Run.open(self.store, self.settings, ORIGIN).id,
            "results": {"glyphs/3w1s": asdict(Score(0.5, 0.01, 40))},
        }
        return str(register(self.store, self.settings, *self.trained[which], evaluation, ORIGIN)["version"])

    def decide_promotion(self, version: str, dataset: Dataset) -> PromotionRecord:
        return decide_promotion(self.store, self.settings, self.name, version, dataset)[0]

    def aliases(self, version: str) -> list[str] | None:
        return self.store.aliases(self.name, version)


def spent(models: Models) -> float:
    return float(sum(level for _, level in json.loads(models.store.model_tags(models.name)[TESTS])))


def test_only_the_better_model_is_promoted_and_it_is_written_down_why(models: Models, dataset: Dataset) -> None:
    first, second, third = models.add("bad"), models.add("good"), models.add("as bad")
    assert models.decide_promotion(first, dataset).decision == "first"
    assert models.aliases(first) == ["champion"]

    record = models.decide_promotion(second, dataset)
    assert (record.decision, record.against) == ("promoted", first)
    assert models.aliases(second) == ["champion"]
    assert models.aliases(first) == ["previous"]
    assert record.verdict is not None
    assert record.costs is not None
    assert record.verdict["p"] <= record.verdict["level"] == 0.05 / 4
    assert 0 < record.costs["calibration_error"] < 1
    assert record.costs["latency_ms"] > 0

    assert models.decide_promotion(third, dataset).decision == "kept"
    assert models.aliases(second) == ["champion"]
    assert models.aliases(third) == ["challenger"]

    found = find_version(models.store, f"{models.name}/{second}")
    assert found.tags[DECISION] == "promoted"
    assert json.loads(found.tags[VERDICT])["against"] == first
    logged = Path(mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path="verdict"))
    assert {file.suffix for file in logged.iterdir()} == {".json", ".md"}
    [text] = [file.read_text(encoding="utf-8") for file in logged.glob("*.md")]
    assert f"| difference | {100 * record.verdict['difference']['accuracy']:.2f} ±" in text

    told = history(models.store, models.name)
    assert [(of.version, of.record.decision if of.record else "", of.aliases) for of in told] == [
        (first, "first", ["previous"]), (second, "promoted", ["champion"]), (third, "kept", ["challenger"]),
    ]  # fmt: skip


def test_a_version_is_judged_once_and_each_test_is_paid_for(models: Models, dataset: Dataset) -> None:
    champion, challenger = models.add("good"), models.add("bad")
    models.decide_promotion(champion, dataset)
    record, is_new = decide_promotion(models.store, models.settings, models.name, challenger, dataset)
    assert is_new
    assert decide_promotion(models.store, models.settings, models.name, challenger, dataset) == (record, False)
    # Other settings of the gate are another question; here the year's only test is spent.
    models.settings = settings_from({**models.settings.plain(), "gate": GATE | {"tests_per_year": 1}})
    other, is_new = decide_promotion(models.store, models.settings, models.name, challenger, dataset)
    assert is_new
    assert other.verdict is not None
    assert other.verdict["level"] == 0
    assert "have spent 0.013 of gate.alpha = 0.05, and one more costs 0.05" in other.reason
    # The second record took the place of the first, and spent nothing; the first one's test is not forgotten by that,
    # nor by deleting the version.
    assert spent(models) == pytest.approx(0.05 / 4)
    models.settings = settings_from({**models.settings.plain(), "gate": GATE | {"tests_per_year": 2}})
    assert models.decide_promotion(challenger, dataset).verdict["level"] == 0.05 / 2  # type: ignore[index]
    assert spent(models) == pytest.approx(0.05 / 4 + 0.05 / 2)
    # Nor by a clock that is years ahead for a night: what is old by its word is remembered.
    old = [["2001-01-01T00:00:00+00:00", 0.01], *json.loads(models.store.model_tags(models.name)[TESTS])]
    models.store.tag_model(models.name, TESTS, json.dumps(old))
    models.settings = settings_from({**models.settings.plain(), "gate": GATE | {"tests_per_year": 5}})
    models.decide_promotion(challenger, dataset)
    assert spent(models) == pytest.approx(0.01 + 0.05 / 4 + 0.05 / 2 + 0.05 / 5)
    models.store.client.delete_model_version(models.name, challenger)
    assert models.decide_promotion(models.add("as bad"), dataset).verdict["level"] == 0  # type: ignore[index]


def test_an_interrupted_promotion_leaves_one_champion_and_is_completed(
    models: Models, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = models.add("bad"), models.add("good")
    models.decide_promotion(first, dataset)
    set_alias = mlflow.MlflowClient.set_registered_model_alias

    def dies(self: mlflow.MlflowClient, name: str, alias: str, version: str) -> None:
        if alias == "champion":
            raise KeyboardInterrupt
        set_alias(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", dies)
        with pytest.raises(KeyboardInterrupt):
            models.decide_promotion(second, dataset)
    assert models.aliases(first) == ["champion"]
    # Once judged, nothing is computed again: what was decided is carried out.
    with monkeypatch.context() as patch:
        patch.setattr("fewshot.promotion.champion.compare", None)
        assert models.decide_promotion(second, dataset).decision == "promoted"
        assert models.decide_promotion(second, dataset).decision == "promoted"
    assert models.aliases(second) == ["champion"]
    assert models.aliases(first) == ["previous"]


def test_rollback_goes_back_and_forth_and_is_not_undone_by_the_gate(models: Models, dataset: Dataset) -> None:
    first, second = models.add("bad"), models.add("good")
    models.decide_promotion(first, dataset)
    with pytest.raises(RegistryError, match="no version to go back to"):
        rollback(models.store, models.name)
    models.decide_promotion(second, dataset)
    assert rollback(models.store, models.name) == (second, first)
    assert models.aliases(first) == ["champion"]
    record = models.decide_promotion(second, dataset)
    assert record.decision == "kept"
    assert "rolled back" in record.reason
    assert models.aliases(first) == ["champion"]
    with pytest.raises(RegistryError, match="no version to go back to"):
        rollback(models.store, models.name)
    assert rollback(models.store, models.name, second) == (first, second)
    assert models.aliases(second) == ["champion"]
    assert models.aliases(first) == ["previous"]
    told = history(models.store, models.name)
    assert [(of.rolled_back != "", of.restored != "") for of in told] == [(False, False), (True, True)]
    for wrong, message in ((second, "is the champion"), ("99", "is not there")):
        with pytest.raises(RegistryError, match=f"version {wrong} of .* {message}; fewshot history"):
            rollback(models.store, models.name, wrong)


def test_a_night_without_news_moves_nothing_even_if_an_old_version_was_deleted(
    models: Models, dataset: Dataset
) -> None:
    first, second = models.add("bad"), models.add("good")
    models.decide_promotion(first, dataset)
    models.decide_promotion(second, dataset)
    models.store.client.delete_model_version(models.name, first)
    assert models.decide_promotion(second, dataset).decision == "promoted"
    assert models.aliases(second) == ["champion"]


def test_a_champion_whose_version_was_deleted_is_replaced(models: Models, dataset: Dataset) -> None:
    first, second = models.add("good"), models.add("bad")
    models.decide_promotion(first, dataset)
    models.store.client.delete_model_version(models.name, first)
    assert models.decide_promotion(second, dataset).decision == "first"
    assert models.aliases(second) == ["champion"]


@pytest.mark.parametrize("registered", ["before", "after"])
def test_the_previous_one_replaces_a_deleted_champion(models: Models, dataset: Dataset, registered: str) -> None:
    first, second = models.add("bad"), models.add("good")
    models.decide_promotion(first, dataset)
    models.decide_promotion(second, dataset)
    third = models.add("as bad") if registered == "before" else ""
    models.store.client.delete_model_version(models.name, second)
    third = third or models.add("as bad")
    # Not the first one that comes along, although no champion is there: it is tested against the one before.
    record = models.decide_promotion(third, dataset)
    assert (record.decision, record.against) == ("kept", first)
    assert models.aliases(first) == ["champion"]
    assert models.aliases(third) == ["challenger"]


def test_a_version_that_was_rolled_back_does_not_take_the_place_of_a_deleted_champion(
    models: Models, dataset: Dataset
) -> None:
    first, second = models.add("bad"), models.add("good")
    models.decide_promotion(first, dataset)
    models.decide_promotion(second, dataset)
    rollback(models.store, models.name)
    models.store.client.delete_model_version(models.name, first)
    assert models.decide_promotion(models.add("as bad"), dataset).decision == "first"
    assert models.aliases(second) == []


def test_history_of_an_unknown_model_is_an_error(home: Home) -> None:
    with pytest.raises(RegistryError, match="there is no version of a model nobody"):
        history(Store.open(home), "nobody")


def test_classes_that_a_model_was_trained_on_are_left_out(
    dataset: Dataset, trained: dict[str, tuple[Path, str]]
) -> None:
    description, shape = describe_model(trained["good"][0]), SHAPES[0]
    drawn, left_out = gate_episodes(dataset, [description], shape, 40)
    assert left_out == ()
    assert (drawn.rows == dataset.fixed_episodes("gate", shape, 40).rows).all()

    def trained_on(*names: str) -> ModelDescription:
        data = replace(description.data, classes=(*description.data.classes, *names))
        return replace(description, data=data)

    gate = dataset.class_names("gate")
    drawn, left_out = gate_episodes(dataset, [description, trained_on(f"{gate[0]}@90")], shape, 40)
    assert left_out == gate[:1]
    start = {packed.name: packed.start for packed in dataset.pack.classes}
    rows_left_out = range(start[unrotated(gate[0])], start[unrotated(gate[0])] + 8)
    assert not set(drawn.rows.ravel()) & set(rows_left_out)
    assert len(drawn) == 40
    with pytest.raises(DataError, match="2 of the 4 gate classes"):
        gate_episodes(dataset, [trained_on(*gate[:2])], shape, 40)
    # Classes of another dataset that bear the same names are not these classes.
    elsewhere = replace(dataset, name="omniglot")
    assert gate_episodes(elsewhere, [trained_on(*gate[:2])], shape, 40)[1] == ()
