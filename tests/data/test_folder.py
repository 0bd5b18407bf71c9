"""A user's own folder of images: what is collected from it, when, and what is said of its changes."""

from pathlib import Path

import numpy as np
import pytest
import stages_by_name as stages
from PIL import Image
from stages_by_name import assigned, own_images, place_of

from fewshot.data import local_images
from fewshot.data.pack import PackedClass, open_pack, source_names
from fewshot.data.sources import Source, local
from fewshot.data.sources.local import changes, classes_in
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.settings.episode_shape import EpisodeShape


def draw(place: Path, shade: int, size: tuple[int, int] = (12, 12)) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(place)


@pytest.fixture
def watched(tmp_path: Path) -> Source:
    place = tmp_path / "watched"
    for number in range(3):
        draw(place / "birds" / "wren" / f"{number}.png", 40 + number)
        draw(place / "cat" / f"{number}.jpg", 90 + number, size=(30, 10))
    draw(place / ".trash" / "cat" / "9.png", 1)
    (place / "cat" / "notes.txt").write_text("no image")
    return own_images(place)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_each_folder_that_holds_images_is_a_class(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    stages.pack("folder", data, watched)
    pack = open_pack(data / "folder" / "pack")
    assert [(c.name, c.group, c.count) for c in pack.classes] == [("birds/wren", "birds", 3), ("cat", ".", 3)]
    assert pack.images.shape == (6, 3, 8, 8)
    assert source_names(data / "folder" / "pack")[:2] == ["birds/wren/0.png", "birds/wren/1.png"]
    assert np.array_equal(pack.images[0][0], np.full((8, 8), 40)), "a square image is fitted whole"
    assert pack.images[3][0][0].max() == 0, "a wide image stands in the middle of a square"


def test_an_unchanged_folder_leaves_the_archive_alone(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    archive = data / "folder" / "raw" / local.IMAGES
    before, content = archive.stat().st_mtime_ns, archive.read_bytes()
    stages.collect(watched, data)
    assert archive.stat().st_mtime_ns == before
    archive.unlink()
    for file in place_of(watched).rglob("*.png"):
        file.touch()
    stages.collect(watched, data)
    assert archive.read_bytes() == content, "equal files give an equal archive"


def test_a_bad_file_is_named_and_the_archive_stays_as_it_was(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    kept = classes_in(data / "folder" / "raw")
    bad = Path(place_of(watched), "cat", "3.jpg")
    bad.write_bytes(b"half an upload")
    with pytest.raises(DataError, match=r"cat/3\.jpg can't be read as an image .*replace or remove it"):
        stages.collect(watched, data)
    assert classes_in(data / "folder" / "raw") == kept
    bad.unlink()
    draw(Path(place_of(watched), "stray.png"), 3)
    with pytest.raises(DataError, match=r"stray\.png lies beside the classes; move it"):
        stages.collect(watched, data)


def test_a_file_that_changes_while_it_is_collected_is_noticed(
    watched: Source, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = local_images.read_bytes, iter(range(100))
    monkeypatch.setattr(local_images, "read_bytes", lambda file: read(file) + (b" " if next(times) > 6 else b""))
    with pytest.raises(DataError, match=r"was changed while it was collected; run it again"):
        stages.collect(watched, data)
    assert not (data / "folder" / "raw" / local.IMAGES).exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (False, r"nowhere does not exist; name the place again: fewshot data add folder PATH"),
        (True, r"nowhere holds no image \(\.png, .*put a folder"),
    ],
)
def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path: Path, make: bool, message: str) -> None:
    place = tmp_path / "nowhere"
    if make:
        place.mkdir()
    with pytest.raises(DataError, match=message):
        stages.collect(own_images(place), tmp_path / "data")


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data/datasets\.yaml: folder\.options\.channels = 2"):
        own_images(tmp_path, channels=2)
    with pytest.raises(UsageError, match=r"data/datasets\.yaml: folder\.options\.sides"):
        own_images(tmp_path, sides=2)


def test_the_pack_has_the_size_that_is_declared(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    stages.pack("folder", data, own_images(place_of(watched), side=10, channels=1))
    assert open_pack(data / "folder" / "pack").images.shape == (6, 1, 10, 10)


def test_a_damaged_archive_is_named(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    archive = data / "folder" / "raw" / local.IMAGES
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match=r"images\.zip is not a whole zip file"):
        stages.pack("folder", data, watched)
    stages.collect(watched, data)
    stages.pack("folder", data, watched)


def test_a_bit_that_flipped_in_the_archive_is_made_good(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    archive = data / "folder" / "raw" / local.IMAGES
    whole = archive.read_bytes()
    archive.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    stages.collect(watched, data)
    assert archive.read_bytes() == whole


def test_changes_are_told_class_by_class() -> None:
    before = {"a": {"1": "x"}, "b": {"1": "x", "2": "y"}, "c": {"1": "x"}, "d": {"1": "x"}, "same": {"1": "x"}}
    after = {"b": {"1": "x"}, "c": {"1": "z"}, "d": {"1": "x", "2": "y"}, "e": {"1": "x"}, "same": {"1": "x"}}
    assert changes(before, after) == [
        "a vanished (1 images)",
        "b shrank from 2 to 1 images",
        "c changed (1 of 1 images)",
        "d grew from 1 to 2 images",
        "e is new (1 images)",
    ]
    assert changes(after, after) == []


def test_classes_keep_their_part_when_others_come_and_go() -> None:
    names = [f"class {number}" for number in range(400)]
    parts = assigned("folder", "hash", [PackedClass(name, ".", 0, 5) for name in names])
    part_of = {name: part for part, members in parts.items() for name in members}
    shares = {part: len(members) / len(names) for part, members in parts.items()}
    expected = {"train": 0.5, "val": 0.15, "gate": 0.15, "test": 0.2}
    # Four standard deviations of a binomial share at most.
    assert all(abs(shares[part] - share) < 4 * (share * (1 - share) / 400) ** 0.5 for part, share in expected.items())
    fewer = assigned("folder", "hash", [PackedClass(name, ".", 0, 9) for name in [*names[::3], "another"]])
    assert all(part_of.get(name, part) == part for part, members in fewer.items() for name in members)


def test_too_few_classes_are_said_to_be_so(watched: Source, data: Path) -> None:
    stages.collect(watched, data)
    stages.pack("folder", data, watched)
    with pytest.raises(DataError, match=r"too few classes \(2 in all\) to train on: test has 0 of 5 classes with 5"):
        stages.split("folder", data, {"test": [EpisodeShape(5, 1, 4)]}, 3, 0)
