"""The number of classes that are missing, and the classes that are too small."""

import random

from fewshot.data.class_numbers import LIKELY, missing_classes, small_classes
from fewshot.settings.episode_shape import EpisodeShape

SHAPES = {split: [EpisodeShape(5, 1, 4)] for split in ("val", "gate", "test")}
SHARES = {"train": 0.5, "val": 0.15, "gate": 0.15, "test": 0.2}


def test_what_is_enough_is_not_mentioned() -> None:
    assert missing_classes({"val": [5] * 5, "gate": [9] * 6, "test": [5] * 5}, SHAPES, SHARES) == ""
    assert small_classes({"cat": 5}, SHAPES) == []


def test_the_splits_that_lack_classes_are_named_with_what_to_do() -> None:
    said = missing_classes({"val": [5] * 5, "gate": [5, 5, 4], "test": [5] * 4}, SHAPES, SHARES)
    assert said.startswith("gate has 2 of 5 classes with 5 or more images for 5w1s4q; test has 4 of 5 classes")
    assert "classes more are likely to be enough, or hold all classes out for a pretrained encoder" in said
    assert said.endswith("or write smaller episodes there")
    assert "classes more" not in missing_classes({}, SHAPES, {})
    assert small_classes({"cat": 4, "dog": 5, "ant": 1}, SHAPES) == ["ant (1 image)", "cat (4 images)"]


def test_as_many_as_are_advised_are_enough_nearly_always() -> None:
    said = missing_classes({"val": [5] * 5, "gate": [5] * 2, "test": [5] * 5}, SHAPES, SHARES)
    number = int(said.partition("about ")[2].split()[0])
    draw = random.Random(0)
    enough = [sum(draw.random() < SHARES["gate"] for _ in range(number)) >= 3 for _ in range(4000)]
    fewer = [sum(draw.random() < SHARES["gate"] for _ in range(number - 6)) >= 3 for _ in range(4000)]
    assert sum(enough) / 4000 > LIKELY - 0.02 > sum(fewer) / 4000
