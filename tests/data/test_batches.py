"""Episode batches: the right images in the right places, turned as their classes ask."""

import numpy as np
import pytest
import torch

from fewshot.data import batches as images_module
from fewshot.data.batches import EpisodeBatch, ImageBank
from fewshot.data.episode_sampler import ClassTable, EpisodeIndices, EpisodeSampler
from fewshot.settings.episode_shape import EpisodeShape

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 1, 7, 7), dtype=np.uint8)


@pytest.fixture
def bank() -> ImageBank:
    return ImageBank(IMAGES, torch.device("cpu"))


def drawn(shape: EpisodeShape, number: int) -> EpisodeIndices:
    classes = ClassTable(np.arange(0, 60, 10), np.full(6, 10), np.array([0, 1, 2, 3, 0, 1], dtype=np.int8))
    return EpisodeSampler(classes, shape, 0, "test").sample(0, number)


def test_a_batch_has_the_documented_shape_and_values(bank: ImageBank) -> None:
    batch = bank.batch(drawn(EpisodeShape(3, 2, 4), 5))
    assert batch.support.shape == (5, 3, 2, 1, 7, 7)
    assert batch.query.shape == (5, 3, 4, 1, 7, 7)
    assert batch.support.dtype == torch.float32
    assert 0 <= batch.query.min() < batch.query.max() <= 1
    assert bank.image_shape == (1, 7, 7)


def test_every_image_is_the_packed_one_turned_counter_clockwise_as_numpy_turns(bank: ImageBank) -> None:
    rows = drawn(EpisodeShape(4, 2, 3), 6)
    batch = bank.batch(rows)
    images = torch.cat([batch.support, batch.query], dim=2).numpy()
    assert set(rows.rotation.ravel()) == {0, 1, 2, 3}
    for place in np.ndindex(rows.rows.shape):
        expected = np.rot90(IMAGES[rows.rows[place]], rows.rotation[place[:2]], axes=(-2, -1)).astype(np.float32) / 255
        np.testing.assert_array_equal(images[place], expected)


def test_labels_count_the_classes_in_the_order_of_the_queries(bank: ImageBank) -> None:
    batch = bank.batch(drawn(EpisodeShape(3, 1, 2), 2))
    assert batch.labels.tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert batch.labels.shape[1] == batch.query.flatten(1, 2).shape[1]


def test_splitting_a_batch_keeps_its_episodes(bank: ImageBank) -> None:
    batch = bank.batch(drawn(EpisodeShape(3, 1, 2), 5))
    pieces = batch.split(2)
    assert [len(piece.support) for piece in pieces] == [2, 2, 1]
    joined = EpisodeBatch(torch.cat([p.support for p in pieces]), torch.cat([p.query for p in pieces]))
    assert torch.equal(joined.support, batch.support)
    assert torch.equal(joined.query, batch.query)


def test_taking_images_never_changes_the_bank(bank: ImageBank) -> None:
    before = bank.take(np.arange(60), np.zeros(60))
    bank.take(np.arange(60), np.arange(60) % 4)
    assert torch.equal(bank.take(np.arange(60), np.zeros(60)), before)


def test_images_copied_to_a_device_with_room_give_the_same_batches(
    bank: ImageBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of an accelerator, made on the CPU, in several parts."""
    monkeypatch.setattr(images_module, "_room", lambda device: IMAGES.nbytes)
    monkeypatch.setattr(images_module, "_SENT_AT_ONCE", 7)
    images = IMAGES.copy()
    copied = ImageBank(images, torch.device("cpu"))
    images[:] = 0
    rows = drawn(EpisodeShape(4, 2, 3), 6)
    for one, other in zip(vars(copied.batch(rows)).values(), vars(bank.batch(rows)).values(), strict=True):
        assert torch.equal(one, other)


def test_a_device_gets_a_copy_only_if_half_of_its_free_memory_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    assert images_module._room(torch.device("cuda")) == 500
    assert images_module._room(torch.device("cpu")) == 0
