"""Augmentation of training images."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from torchvision.transforms.v2 import functional as reference

from fewshot.data.augment import Augment, crop, jitter, mirror
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.settings.training import AugmentSettings

SHAPE = (3, 9, 8)
OPTIONS = [{"crop": 3}, {"flip": True}, {"jitter": 0.4}, {"crop": 2, "flip": True, "jitter": 1.0}]


def augment(seed: int = 0, **options: Any) -> Augment:
    return Augment(AugmentSettings.model_validate(options), seed, SHAPE)


def batch(seed: int = 0, channels: int = 3) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 5, channels, *SHAPE[1:], generator=generator)
    return EpisodeBatch(images[:, :, :2], images[:, :, 2:], torch.arange(6).view(2, 3))


def image_of(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)[None].float() / 255


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_seed_and_step_change_a_batch_alike_and_leave_it_as_it_was(options: dict[str, Any]) -> None:
    given, kept = batch(), batch()
    torch.manual_seed(0)
    first = augment(**options)(given, 7)
    torch.manual_seed(1)  # the global generator has no say
    again = augment(**options)(given, 7)
    assert torch.equal(first.together, again.together)
    assert torch.equal(given.together, kept.together)
    assert not torch.equal(first.together, given.together)
    assert first.classes is given.classes


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_another_step_or_seed_changes_a_batch_otherwise(options: dict[str, Any]) -> None:
    first = augment(**options)(batch(), 7).together
    assert not torch.equal(first, augment(**options)(batch(), 8).together)
    assert not torch.equal(first, augment(seed=1, **options)(batch(), 7).together)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_image_is_changed_by_its_place_alone(options: dict[str, Any]) -> None:
    whole, other = batch(), batch(seed=1)
    mixed = EpisodeBatch(whole.support, other.query, whole.classes)
    assert torch.equal(augment(**options)(mixed, 3).support, augment(**options)(whole, 3).support)
    equal = EpisodeBatch(*(torch.full_like(of, 0.5) for of in (whole.support, whole.query)))
    changed = augment(jitter=0.4)(equal, 3).together.flatten(0, 2)
    assert len(torch.unique(changed[:, 0, 0, 0])) == len(changed)


@pytest.mark.parametrize(("of", "support", "query"), [("support", True, False), ("query", False, True)])
def test_support_and_query_are_changed_apart(of: str, support: bool, query: bool) -> None:
    given, options = batch(), {"crop": 2, "flip": True, "jitter": 0.4}
    changed, both = augment(of=of, **options)(given, 0), augment(**options)(given, 0)
    assert torch.equal(changed.support, both.support if support else given.support)
    assert torch.equal(changed.query, both.query if query else given.query)


def test_nothing_to_do_is_the_identity() -> None:
    assert not AugmentSettings().is_on
    given = batch()
    assert torch.equal(augment()(given, 0).together, given.together)


def test_the_random_numbers_have_their_distributions() -> None:
    drawn = augment(crop=2, flip=True, jitter=0.4).draw(5, np.arange(20_000, dtype=np.uint64))
    for offsets in (drawn.row, drawn.column):
        assert np.bincount(offsets) / 20_000 == pytest.approx([0.2] * 5, abs=0.015)
    assert drawn.flip.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.factors.min() == pytest.approx(0.6, abs=1e-3)
    assert drawn.factors.max() == pytest.approx(1.4, abs=1e-3)
    assert drawn.factors.mean(0) == pytest.approx([1.0] * 3, abs=0.01)
    columns = np.column_stack([drawn.row, drawn.column, drawn.flip, drawn.factors]).astype(float)
    assert np.abs(np.corrcoef(columns, rowvar=False) - np.eye(6)).max() < 0.04


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_a_crop_by_hand(padding: int) -> None:
    images = torch.rand(12, *SHAPE)
    numbers = np.random.default_rng(0)
    row, column = (numbers.integers(0, 2 * padding + 1, 12) for _ in range(2))
    found = crop(images, padding, row, column)
    padded = torch.zeros(12, 3, SHAPE[1] + 2 * padding, SHAPE[2] + 2 * padding)
    padded[:, :, padding : padding + SHAPE[1], padding : padding + SHAPE[2]] = images
    for place, (y, x) in enumerate(zip(row, column, strict=True)):
        assert torch.equal(found[place], padded[place, :, y : y + SHAPE[1], x : x + SHAPE[2]])


def test_only_the_images_that_are_drawn_are_mirrored() -> None:
    images = torch.rand(3, *SHAPE)
    found = mirror(images, np.array([True, False, True]))
    assert torch.equal(found, torch.stack([images[0].flip(-1), images[1], images[2].flip(-1)]))


@given(
    st_numpy.arrays(np.uint8, st.sampled_from([(1, 4, 5), (2, 4, 5), (3, 4, 5)])),
    st.tuples(*[st.floats(0, 2, width=32)] * 3),
)
@settings(max_examples=60)
def test_jitter_keeps_to_the_unit_interval_and_agrees_with_torchvision(
    values: np.ndarray, factors: tuple[float, float, float]
) -> None:
    image = image_of(values)
    found = jitter(image, torch.tensor([factors]))
    assert 0 <= found.min() <= found.max() <= 1
    if len(values) != 2:
        expected = reference.adjust_brightness(image, factors[0])
        expected = reference.adjust_saturation(reference.adjust_contrast(expected, factors[1]), factors[2])
        torch.testing.assert_close(
            found, expected, rtol=0, atol=2e-3
        )  # torchvision's shares of red, green, blue: 0.2989


@given(st_numpy.arrays(np.uint8, (3, 4, 5)))
@settings(max_examples=20)
def test_factors_of_one_change_nothing(values: np.ndarray) -> None:
    torch.testing.assert_close(jitter(image_of(values), torch.ones(1, 3)), image_of(values), rtol=0, atol=1e-6)


def test_saturation_leaves_a_grey_image_as_it_is() -> None:
    images = torch.rand(4, 1, 6, 6)
    factors = torch.tensor([[1.0, 1.0, 0.2]] * 4)
    torch.testing.assert_close(jitter(images, factors), images)


def test_features_and_images_smaller_than_the_padding_are_refused() -> None:
    with pytest.raises(UsageError, match=r"train\.augment can't change features \(512 numbers, not an image\)"):
        Augment(AugmentSettings(flip=True), 0, (512, 1, 1))
    with pytest.raises(UsageError, match=r"crop=8 would move images of 9x8 pixels out of sight; set at most 7"):
        augment(crop=8)
