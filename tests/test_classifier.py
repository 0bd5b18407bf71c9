"""The classifier that is served: learn from a few images of each class, then answer."""

import numpy as np
import pytest
from toy_data import toy_dataset, toy_settings

from fewshot.classifier import FewShotClassifier
from fewshot.data.dataset import Dataset
from fewshot.errors import UsageError
from fewshot.training.loop import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def classifier(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> FewShotClassifier:
    folder = tmp_path_factory.getbasetemp() / "classifier"
    return FewShotClassifier.load(train(toy_settings(), dataset, folder).model, device="cpu")


def images_of(dataset: Dataset, place: int) -> np.ndarray:
    packed = dataset.pack.classes[place]
    return np.array(dataset.pack.images[packed.start : packed.start + packed.count])


def test_learns_named_classes_from_uneven_support(classifier: FewShotClassifier, dataset: Dataset) -> None:
    flat, steep = images_of(dataset, 0), images_of(dataset, 12)
    classifier.fit([flat[:3], steep[:1]], ["flat", "steep"])
    assert classifier.predict(np.concatenate([flat[3:], steep[3:]])) == ["flat"] * 5 + ["steep"] * 5
    probabilities = classifier.predict_proba(flat[3:])
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_asking_before_learning_is_a_clear_error(classifier: FewShotClassifier, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="has learned no classes yet"):
        classifier.predict(images_of(dataset, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[:, :, :8], r"support images of class 'a': uint8 \(8, 1, 8, 16\), but the model takes"),
        (lambda images: images.astype(float), "float64"),
        (lambda images: images[:0], "one or more images"),
    ],
)
def test_images_that_do_not_fit_are_named(
    classifier: FewShotClassifier, dataset: Dataset, change: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        classifier.fit([change(images_of(dataset, 0)), images_of(dataset, 1)], ["a", "b"])  # type: ignore[operator]


def test_class_names_must_be_distinct_and_two_at_least(classifier: FewShotClassifier, dataset: Dataset) -> None:
    images = images_of(dataset, 0)
    for support, names in (([images], ["a"]), ([images, images], ["a", "a"]), ([images], ["a", "b"])):
        with pytest.raises(UsageError, match="give two or more classes"):
            classifier.fit(support, names)
