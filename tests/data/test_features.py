"""Features of a frozen encoder: of the original images, once, to the bit after a cut, and never those of others."""

from pathlib import Path

import numpy as np
import pytest
import stages_by_name as stages
import torch
from PIL import Image
from stages_by_name import own_images

from fewshot.data import features
from fewshot.data.dataset import Dataset, open_dataset
from fewshot.data.feature_bank import FeatureBank
from fewshot.data.features import Features, compute_features, features_key, open_features
from fewshot.data.splits import SplitScheme
from fewshot.data.stages import split as split_stage
from fewshot.errors import DamagedFileError, DataError
from fewshot.settings.declarations import Declaration, EpisodeOptions
from fewshot.system.files import read_json, write_json

SIDE = 24
PART = 16


class Encoder:
    """Means of quarters: enough to tell an image from its rotations, and where it was shrunk."""

    digest = "means"
    out_features, parts_ahead = 4, 0
    calls = 0
    dies_at = 10**9

    def pixels(self, image: Image.Image) -> np.ndarray:
        assert image.size == (SIDE, SIDE), "the original, not the packed image"
        return np.asarray(image.convert("L"))[None]

    def embed(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls > self.dies_at:
            raise KeyboardInterrupt
        half = SIDE // 2
        quarters = [images[:, 0, a : a + half, b : b + half].mean((1, 2)) for a in (0, half) for b in (0, half)]
        return np.stack(quarters, axis=1).astype(np.float16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four classes of a folder, packed at 8 pixels; two of them are for tests, one of them turned, too."""
    root = tmp_path_factory.mktemp("features")
    numbers = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        for number in range(40):
            file = root / "images" / name / f"{number:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(file)
    source, data = own_images(root / "images", channels=1), root / "data"
    stages.collect(source, data)
    stages.pack("folder", data, source)
    split_stage.split("folder", {"test-only": {"rest": "test"}}, data, EpisodeOptions(number=5))
    opened = open_dataset(data, "folder", "test-only")
    splits = {"train": ("a", "b"), "test": ("c", "d", "d@90")}
    scheme = SplitScheme("folder", "test-only", opened.pack.digest, splits, opened.scheme.episodes_digest)
    return Dataset("folder", opened.pack, scheme, None, opened.raw)


@pytest.fixture(autouse=True)
def declared(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "AT_ONCE", PART)
    options = {"side": 8, "channels": 1}
    declaration = Declaration(source=stages.LOCAL, path="images", options=options, splits=("test-only",))
    monkeypatch.setattr("fewshot.data.dataset.declaration_of", lambda name: declaration)


def originals(dataset: Dataset) -> dict[str, np.ndarray]:
    folder = dataset.raw.parents[2] / "images" if dataset.raw else Path()
    return {f"{file.parent.name}/{file.name}": np.asarray(Image.open(file)) for file in folder.rglob("*.png")}


def expected(dataset: Dataset, name: str, turns: int = 0) -> np.ndarray:
    images = [image for file, image in sorted(originals(dataset).items()) if file.startswith(name)]
    return Encoder().embed(np.stack([np.rot90(image, turns) for image in images])[:, None])


def test_they_are_of_the_originals_class_by_class_and_turned(dataset: Dataset, tmp_path: Path) -> None:
    found = compute_features(dataset, "test", Encoder(), tmp_path)
    wanted = np.concatenate([expected(dataset, "c"), expected(dataset, "d"), expected(dataset, "d", turns=1)])
    assert np.array_equal(found.values, wanted)
    bank = FeatureBank(found, torch.device("cpu"))
    table = dataset.class_table("test")
    for place, name in enumerate(("c", "d")):
        taken = bank.take(table.start[place] + np.arange(40), np.zeros(40, dtype=np.int8))
        assert taken.shape == (40, 4, 1, 1)
        assert np.array_equal(taken[..., 0, 0].numpy(), expected(dataset, name).astype(np.float32))
    turned = bank.take(table.start[2] + np.arange(40), np.ones(40, dtype=np.int8))
    assert np.array_equal(turned[..., 0, 0].numpy(), expected(dataset, "d", turns=1).astype(np.float32))


def test_they_are_computed_once(dataset: Dataset, tmp_path: Path) -> None:
    encoder = Encoder()
    first = compute_features(dataset, "train", encoder, tmp_path)
    calls = encoder.calls
    assert calls == 80 // PART
    again = compute_features(dataset, "train", encoder, tmp_path)
    assert (encoder.calls, again.digest) == (calls, first.digest)
    other = Encoder()
    other.digest = "others"
    assert features_key(dataset, "train", "means") != features_key(dataset, "train", "others")
    compute_features(dataset, "train", other, tmp_path)
    assert other.calls == calls, "of another encoder"


@pytest.mark.parametrize("dies_at", [1, 3, 4])
def test_a_run_that_was_cut_goes_on_to_the_same_bytes(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr("fewshot.data.features._SAVED_EVERY", 2)
    whole = compute_features(dataset, "test", Encoder(), tmp_path / "whole")
    cut = Encoder()
    cut.dies_at = dies_at
    with pytest.raises(KeyboardInterrupt):
        compute_features(dataset, "test", cut, tmp_path / "cut")
    rest = Encoder()
    found = compute_features(dataset, "test", rest, tmp_path / "cut")
    assert found.digest == whole.digest
    assert rest.calls == -(-120 // PART) - dies_at // 2 * 2


def test_damaged_and_foreign_features_are_not_taken(dataset: Dataset, tmp_path: Path) -> None:
    first = compute_features(dataset, "train", Encoder(), tmp_path)
    whole = first.file.read_bytes()
    first.file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match=r"features\.npy is missing or was changed .*computed again"):
        open_features(first.file.parent, first.places)
    assert compute_features(dataset, "train", Encoder(), tmp_path).digest == first.digest
    with pytest.raises(DamagedFileError, match="holds 80 features, of other images"):
        open_features(first.file.parent, np.arange(7))
    index = first.file.parent / "index.json"
    write_json(index, read_json(index, "") | {"digest": "0" * 64})
    assert compute_features(dataset, "train", Encoder(), tmp_path).digest == first.digest


def test_images_in_memory_are_their_own_originals(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 1, SIDE, SIDE), dtype=np.uint8)
    dataset = Dataset.from_arrays(images, np.repeat(["a", "b", "c"], 4), splits="test-only")
    found: Features = compute_features(dataset, "test", Encoder(), tmp_path)
    assert np.array_equal(found.values, Encoder().embed(images))


def test_raw_files_that_are_gone_are_named(dataset: Dataset, tmp_path: Path) -> None:
    gone = Dataset("folder", dataset.pack, dataset.scheme, None, tmp_path / "folder" / "raw")
    with pytest.raises(DataError, match=r"raw does not exist; run: fewshot data prepare folder"):
        compute_features(gone, "test", Encoder(), tmp_path)
