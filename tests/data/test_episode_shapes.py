"""Shapes of fixed episodes for datasets that declare none."""

from hypothesis import given
from hypothesis import strategies as st

from fewshot.data.episode_shapes import adapted_shapes, nearest_shape
from fewshot.settings.episode_shape import EpisodeShape


def shapes(*sizes: int) -> list[str]:
    return [str(shape) for shape in adapted_shapes({"test": sizes})["test"]]


def test_the_shapes_of_the_papers_where_there_is_enough() -> None:
    assert shapes(*[600] * 20) == ["5w1s15q", "5w5s15q", "20w1s15q", "20w5s15q"]
    assert shapes(*[600] * 19) == ["5w1s15q", "5w5s15q"]


def test_fewer_classes_and_images_give_smaller_episodes() -> None:
    assert shapes(*[8] * 12) == ["5w1s5q", "5w5s3q"]
    assert shapes(4, 3, 5) == ["3w1s2q"]
    assert shapes(30, 30, 30, 30, 30, 2) == ["5w1s15q", "5w5s15q"], "one small class spoils nothing"
    assert shapes(9, 9, 9, 9, 2) == ["5w1s1q"]
    assert shapes(1, 1, 1) == shapes(7) == shapes() == []
    assert adapted_shapes({"train": [9, 9]}) == {}


@given(st.lists(st.integers(1, 40), max_size=60))
def test_every_shape_can_be_drawn(sizes: list[int]) -> None:
    for shape in adapted_shapes({"test": sizes})["test"]:
        assert sum(size >= shape.shot + shape.query for size in sizes) >= shape.way >= 2


def test_the_nearest_shape_measures_the_same_task() -> None:
    there = [EpisodeShape.parse(text) for text in ("3w1s2q", "3w1s9q", "2w5s9q")]
    assert nearest_shape(EpisodeShape(5, 1, 15), there) == EpisodeShape(3, 1, 9)
    assert nearest_shape(EpisodeShape(3, 1, 5), there) == EpisodeShape(3, 1, 2)
    assert nearest_shape(EpisodeShape(5, 5, 15), there) == EpisodeShape(2, 5, 9)
    assert nearest_shape(EpisodeShape(2, 1, 15), there) is None
    assert nearest_shape(EpisodeShape(5, 2, 15), there) is None
