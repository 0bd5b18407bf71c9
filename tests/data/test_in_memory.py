"""Datasets of what is in memory, and episodes for loops of others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset
from fewshot.data.torch_loader import EpisodeBatchSampler, collate
from fewshot.errors import DataError, UsageError
from fewshot.settings.episode_shape import EpisodeShape

LABELS = [place % 10 for place in range(80)]
IMAGES = np.stack([np.full((1, 6, 5), 10 * label + turn, np.uint8) for turn, label in enumerate(LABELS)])


def test_each_image_stays_with_its_label() -> None:
    dataset = Dataset.from_arrays(IMAGES, LABELS)
    bank = ImageBank(dataset.pack.images, torch.device("cpu"))
    episodes = dataset.fixed_episodes("test", EpisodeShape(2, 1, 3), 20)
    names = dataset.class_names("test")
    batch = bank.batch(episodes)
    known = {int(image[0, 0, 0]): str(label) for image, label in zip(IMAGES, LABELS, strict=True)}
    for task, classes in zip((batch.together * 255).round().int(), episodes.classes, strict=True):
        for images, place in zip(task, classes, strict=True):
            assert {known[int(image[0, 0, 0])] for image in images} == {names[place]}


def test_every_form_of_the_same_images_is_the_same_dataset() -> None:
    forms = [IMAGES, IMAGES[:, 0], IMAGES / 255, torch.from_numpy(IMAGES), torch.from_numpy(IMAGES).float() / 255]
    assert len({Dataset.from_arrays(form, LABELS).digest for form in forms}) == 1
    colour = np.repeat(IMAGES, 3, axis=1)
    assert (
        Dataset.from_arrays(colour.transpose(0, 2, 3, 1), LABELS).digest == Dataset.from_arrays(colour, LABELS).digest
    )
    assert Dataset.from_arrays(IMAGES, LABELS).digest != Dataset.from_arrays(IMAGES, LABELS[::-1]).digest
    black = torch.zeros(80, 1, 6, 5)
    assert Dataset.from_arrays(black.bfloat16(), LABELS).digest == Dataset.from_arrays(black, LABELS).digest


def test_a_dataset_is_printed_in_a_line() -> None:
    assert len(repr(Dataset.from_arrays(IMAGES, LABELS))) < 700


def test_classes_are_shared_out_and_no_class_is_in_two_splits() -> None:
    splits = Dataset.from_arrays(IMAGES, LABELS).scheme.splits
    assert {split: len(names) for split, names in splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert sorted(name for names in splits.values() for name in names) == sorted(map(str, range(10)))
    assert Dataset.from_arrays(IMAGES, LABELS, splits="test-only").scheme.splits == {"test": tuple("0123456789")}
    given = Dataset.from_arrays(IMAGES, LABELS, splits={"train": range(5), "test": [7, 8]})
    assert given.scheme.splits == {"train": tuple("01234"), "test": ("7", "8")}


def test_fixed_episodes_are_the_same_each_time() -> None:
    first, again = (
        Dataset.from_arrays(IMAGES, LABELS).fixed_episodes("val", EpisodeShape(2, 1, 2), 9) for _ in range(2)
    )
    np.testing.assert_array_equal(first.rows, again.rows)
    assert Dataset.from_arrays(IMAGES, LABELS).fixed_shapes("val") == [EpisodeShape(2, 1, 7), EpisodeShape(2, 5, 3)]


@pytest.mark.parametrize(
    ("images", "labels", "splits", "message"),
    [
        (IMAGES, LABELS[1:], "hash", "80 images but 79 labels"),
        (IMAGES.astype(np.int64), LABELS, "hash", "images are int64 from 0 to 169; give uint8"),
        (IMAGES - 3.0, LABELS, "hash", "not yet normalised"),
        (IMAGES[:, 0, 0], LABELS, "hash", r"images of shape \(80, 5\)"),
        (IMAGES, ["a@90", *LABELS[1:]], "hash", "label 0 is 'a@90', which can't name a class"),
        (IMAGES, [*LABELS[1:], None], "hash", "label 79 is None, which can't name a class"),
        (IMAGES, [float("nan"), *LABELS[1:]], "hash", "label 0 is nan, which can't name a class"),
        (IMAGES, ["1", *LABELS[1:]], "hash", "the labels '1' and 1 read alike"),
        (IMAGES, None, "hash", "labels are NoneType; give one label for each image"),
        (IMAGES, np.array(LABELS)[:, None], "hash", r"labels of shape \(80, 1\)"),
        ([IMAGES[0], IMAGES[0][:, 1:]], LABELS, "hash", "the images differ in size"),
        (IMAGES, LABELS, {"trian": [1]}, "unknown split 'trian'; did you mean 'train'"),
        (IMAGES, LABELS, {"train": "12"}, 'give "hash", "test-only" or the labels of each split'),
        (IMAGES, [np.arange(2)] * 80, "hash", "labels are list; give one label for each image"),
        (IMAGES, LABELS, {"train": [1, 11]}, r"unknown class in splits\['train'\] '11'"),
        (IMAGES, LABELS, {"train": [1, 2], "test": [2]}, "class '2' is in two splits, train and test"),
    ],
)
def test_what_does_not_fit_is_said(images: np.ndarray, labels: list[object], splits: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Dataset.from_arrays(images, labels, splits=splits)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../out", "a/b", "..", "", "a:b", "a\\b", "a\nb", "x" * 101])
def test_a_name_that_can_not_be_a_files_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"give a dataset a name of up to 100 characters, without / \\ and :"):
        Dataset.from_arrays(IMAGES, LABELS, name=name)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "PA", "CMYK", "YCbCr", "I;16", "HSV"])
def test_pictures_of_every_mode_are_read_as_they_look(mode: str) -> None:
    look = Image.fromarray(np.full((6, 5, 3), (200, 30, 90), np.uint8))
    grey = mode in ("1", "L", "LA", "I;16")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(look.convert("L")).astype(np.uint16) * 257)
    else:
        picture = look.convert("P" if mode == "PA" else mode, palette=Image.Palette.ADAPTIVE).convert(mode)
    expected = np.asarray(look.convert(mode if mode == "1" else "L") if grey else look).astype(float)
    expected = expected * 255 if mode == "1" else expected
    found = Dataset.from_torch([(picture, 0)] * 2).pack.images[0]
    assert found.shape == ((1, 6, 5) if grey else (3, 6, 5))
    assert abs(found - (expected[None] if grey else expected.transpose(2, 0, 1))).max() <= 30
    with pytest.raises(UsageError, match="an image of mode F can't be read"):
        Dataset.from_torch([(look.convert("F"), 0)])


def test_too_few_classes_are_said_with_their_number() -> None:
    dataset = Dataset.from_arrays(IMAGES, LABELS)
    with pytest.raises(DataError, match=r"2 of 2 classes hold 2 images .* but way=5"):
        dataset.fixed_episodes("val", EpisodeShape(5, 1, 1), 3)


def test_a_torch_dataset_is_read_whole() -> None:
    tensors = TensorDataset(torch.from_numpy(IMAGES).float() / 255, torch.tensor(LABELS))
    assert Dataset.from_torch(tensors).digest == Dataset.from_arrays(IMAGES, LABELS).digest
    pictures = [(Image.fromarray(image[0]), label) for image, label in zip(IMAGES, LABELS, strict=True)]
    assert Dataset.from_torch(pictures).digest == Dataset.from_arrays(IMAGES, LABELS).digest
    with pytest.raises(UsageError, match=r"item 1 of the dataset is an image of \(1, 3, 5\), the first"):
        Dataset.from_torch([(IMAGES[0], 0), (IMAGES[1][:, :3], 1)])
    with pytest.raises(UsageError, match="the dataset is empty"):
        Dataset.from_torch([])
    with pytest.raises(UsageError, match=r"item 0 of the dataset is a ndarray; it has to be \(image, label\)"):
        Dataset.from_torch(list(IMAGES))
    with pytest.raises(UsageError, match="a zip has no length or no items by number"):
        Dataset.from_torch(zip(IMAGES, LABELS, strict=True))


def test_a_folder_is_a_dataset_of_its_folders(tmp_path: Path) -> None:
    for place in range(5):
        (tmp_path / f"c{place}").mkdir()
        Image.fromarray(np.full((9, 9, 3), 40 * place, np.uint8)).save(tmp_path / f"c{place}" / "one.png")
    dataset = Dataset.from_folder(tmp_path, side=8, splits="test-only")
    assert dataset.class_names("test") == tuple(f"c{place}" for place in range(5))
    assert dataset.pack.images.shape == (5, 3, 8, 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        Dataset.from_folder(tmp_path / "empty")
    with pytest.raises(UsageError, match="side=100000, channels=3: give a side of 1 to 4096 pixels"):
        Dataset.from_folder(tmp_path, side=100_000)
    with pytest.raises(DataError, match="nowhere is no folder; give one with a folder of images for each class"):
        Dataset.from_folder(tmp_path / "nowhere")


def test_the_episodes_of_a_torch_loader_are_whole_and_the_same_each_time() -> None:
    dataset = TensorDataset(torch.from_numpy(IMAGES), torch.tensor(LABELS))
    sampler = EpisodeBatchSampler(LABELS, "3w2s4q", episodes=5, seed=1)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate("3w2s4q"))
    assert len(loader) == 5
    first, again = list(loader), list(loader)
    for (support, support_labels, query, query_labels, classes), other in zip(first, again, strict=True):
        assert (support.shape, query.shape) == ((6, 1, 6, 5), (12, 1, 6, 5))
        torch.testing.assert_close(support, other[0])
        assert support_labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert query_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        images = torch.cat([support, query])
        assert len({int(image[0, 0, 0]) for image in images}) == len(images), "no image is in both"
        of = {int(image[0, 0, 0]): label for image, label in zip(IMAGES, LABELS, strict=True)}
        for image, label in zip(images, torch.cat([support_labels, query_labels]), strict=True):
            assert of[int(image[0, 0, 0])] == classes[label]
    items = [dataset[place] for place in next(iter(sampler))]
    assert collate("3w2s4q")([(image.numpy(), label) for image, label in items])[4] == first[0][4]
    with pytest.raises(
        UsageError, match="18 items, but an episode of 3w1s4q has 15; give the sampler and collate one shape"
    ):
        collate("3w1s4q")(items)
    with pytest.raises(UsageError, match="'3w' is no episode shape"):
        EpisodeBatchSampler(LABELS, "3w", 5)
    with pytest.raises(UsageError, match="episodes=-1; give their number"):
        EpisodeBatchSampler(LABELS, "3w2s4q", -1)
