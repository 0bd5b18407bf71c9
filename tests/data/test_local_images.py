"""Images of the user's own in the layouts that people have: each gives the same dataset, what is wrong is named."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import stages_by_name as stages
from PIL import Image
from stages_by_name import own_images

from fewshot.data.dataset import open_dataset
from fewshot.data.local_images import find_local
from fewshot.data.pack import open_pack
from fewshot.data.stages.listing import list_images
from fewshot.data.stages.pack import ORIGINALS
from fewshot.data.stages.split import split
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.settings.datasets import COLUMN, TEST_ONLY
from fewshot.settings.declarations import EpisodeOptions
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import read_json, sha256_file

CLASSES = {"n01": 4, "n02": 3, "n03": 5}


def picture(name: str, number: int) -> bytes:
    pixels = np.random.default_rng([int(name[1:]), number]).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """class/name -> content."""
    return {f"{name}/{name}_{k}.png": picture(name, k) for name, count in CLASSES.items() for k in range(count)}


def write(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(place: Path, content: dict[str, bytes]) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w") as members:
        for name, data in content.items():
            members.writestr(name, data)
    return place


def table(place: Path, rows: list[str], encoding: str = "utf-8") -> Path:
    place.write_text("\n".join(rows), encoding=encoding)
    return place


def class_folders(at: Path) -> Path:
    return write(at / "own", files())


def parts_above(at: Path) -> Path:
    return write(at / "own", {f"{'train' if name < 'n03' else 'test'}/{name}": data for name, data in files().items()})


def one_archive(at: Path) -> Path:
    return archive(at / "own.zip", {f"images/{name}": data for name, data in files().items()})


def archive_of_each_part(at: Path) -> Path:
    for part, names in (("train", ("n01", "n02")), ("test", ("n03",))):
        archive(at / "own" / f"{part}.zip", {f"{part}/{n}": data for n, data in files().items() if n[:3] in names})
    return at / "own"


def tables_beside_images(at: Path) -> Path:
    """As miniImageNet came with the lists of Ravi & Larochelle."""
    write(at / "own" / "images", {name.partition("/")[2]: data for name, data in files().items()})
    for part, names in (("train", ("n01", "n02")), ("test", ("n03",))):
        rows = [f"{name.partition('/')[2]},{name[:3]}" for name in files() if name[:3] in names]
        table(at / "own" / f"{part}.csv", ["filename,label", *rows])
    return at / "own"


@pytest.mark.parametrize(
    "layout", [class_folders, parts_above, one_archive, archive_of_each_part, tables_beside_images]
)
def test_every_layout_gives_the_same_archive(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    source = own_images(layout(tmp_path), by_last_folder=True)
    list_images("folder", source, tmp_path / "data")
    stages.collect(source, tmp_path / "data")
    expected = own_images(class_folders(tmp_path / "plain"), by_last_folder=True)
    stages.collect(expected, tmp_path / "expected")
    raw = tmp_path / "data" / "folder" / "raw"
    assert sha256_file(raw / "images.zip") == sha256_file(tmp_path / "expected" / "folder" / "raw" / "images.zip")
    listed = read_json(tmp_path / "data" / "folder" / "listing.json", "")
    index = read_json(raw / "index.json", "")
    assert listed["classes"] == index["classes"]
    stages.pack("folder", tmp_path / "data", source)
    pack = open_pack(tmp_path / "data" / "folder" / "pack")
    assert {one.name: one.count for one in pack.classes} == CLASSES
    kept = read_json(tmp_path / "data" / "folder" / "pack" / ORIGINALS, "")
    assert kept == {"modes": {"RGB": 12}, "sizes": [[10, 12, 12]]}


def test_a_table_names_class_group_and_split(tmp_path: Path) -> None:
    write(tmp_path, files())
    rows = [f"{name}\t{name[:3]}\tbirds\t{'Train' if name < 'n02' else 'test'}" for name in files()]
    source = own_images(table(tmp_path / "labels.tsv", ["Path\tLabel\tGroup\tSplit", *rows], "utf-8-sig"))
    data = tmp_path / "data"
    stages.collect(source, data)
    stages.pack("folder", data, source)
    assert [one.group for one in open_pack(data / "folder" / "pack").classes] == ["birds"] * 3
    split(
        "folder", {"column": COLUMN}, data, EpisodeOptions(number=5), lambda: source.assigned(data / "folder" / "raw")
    )
    opened = open_dataset(data, "folder", "column")
    assert opened.scheme.splits == {"train": ("n01",), "test": ("n02", "n03")}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_quotes_and_names_with_spaces_are_read(tmp_path: Path, separator: str) -> None:
    write(tmp_path, {"my cats/a, b.png": picture("n01", 1), "übel/é.png": picture("n01", 2)})
    rows = [f'"my cats/a, b.png"{separator}cat', f"übel/é.png{separator}übel", ""]
    found = find_local(table(tmp_path / "labels.csv", [f"path{separator}label", *rows]))
    assert [(one.class_name, one.name) for one in found.images] == [("cat", "my cats/a, b.png"), ("übel", "übel/é.png")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["path,label", "n01/n01_0.png,n01", "n01/gone.png,n01"], r"line 3: n01/gone\.png does not exist in .*correct"),
        (["path,label", "n01/n01_0.png,"], r"line 2: n01/n01_0\.png has no label; give it one"),
        (["path,label", ",n01"], r"line 2: it names no file"),
        (["path", "n01/n01_0.png"], r"has no column label; its first line is 'path'"),
        (["n01/n01_0.png,n01"], r"has no column path and no column label"),
        ([], r"has no column path and no column label"),
        (["path,label", "/etc/passwd.png,n01"], r"/etc/passwd\.png is an absolute path; write it relative to"),
        (["path,label", "../n01.png,n01"], r"'\.\./n01\.png' is refused: its path leaves the folder"),
        (["path,label", "n01/n01_0.png,a@90"], r"label 'a@90' lies in a class whose name ends like"),
        (["path,label", "n01/n01_0.png,../x"], r"label '\.\./x' has a name that can't be kept"),
        (["path,label", "n01/n01_0.png,a", "n01/n01_0.png,b"], r"line 3: n01/n01_0\.png is listed twice"),
        (["path,label,split", "n01/n01_0.png,a,train", "n01/n01_1.png,a,test"], r"class a is in two splits, train and"),
        (["path,label,group", "n01/n01_0.png,a,x", "n01/n01_1.png,a,y"], r"class a is in two groups, x and y"),
        (["path,label,split", "n01/n01_0.png,a,tran"], r"unknown split of class a 'tran'; did you mean 'train'"),
        (["path,label", "labels.txt,a"], r"labels\.txt is not an image file"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(tmp_path: Path, rows: list[str], message: str) -> None:
    write(tmp_path, files())
    with pytest.raises((DataError, UsageError), match=message):
        find_local(table(tmp_path / "labels.csv", rows))


def test_another_encoding_is_named(tmp_path: Path) -> None:
    write(tmp_path, files())
    with pytest.raises(DataError, match=r"labels\.csv is not UTF-8 \(byte .*: b'\\xfc'\); save it as UTF-8"):
        find_local(table(tmp_path / "labels.csv", ["path,label", "n01/n01_0.png,übel"], "latin-1"))
    (tmp_path / "null.csv").write_bytes(b"path,label\n\x00,a\n")
    with pytest.raises(DataError, match=r"null\.csv, line 2: "):
        find_local(tmp_path / "null.csv")


def test_a_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "own", {"mini-imagenet-cache-train.pkl": b"x"})
    for place in (tmp_path / "own", tmp_path / "own" / "mini-imagenet-cache-train.pkl"):
        with pytest.raises(DataError, match=r"train\.pkl is a pickle, which can run any code when it is read"):
            find_local(place)


def test_places_that_hold_nothing_to_read_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": b"x", "cut.zip": b"PK\x03\x04"})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"nowhere does not exist; give a folder"):
        find_local(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"notes\.txt is neither a folder nor a table"):
        find_local(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"pipe is no folder, table or zip archive"):
        find_local(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match=r"cut\.zip is not a whole zip file"):
        find_local(tmp_path / "cut.zip")
    twice = archive(tmp_path / "twice.zip", {"a/x/1.png": b"1", "b/x/1.png": b"2"})
    assert [one.class_name for one in find_local(twice).images] == ["a/x", "b/x"]
    with pytest.raises(DataError, match=r"both hold x/1\.png; remove one"):
        find_local(twice, by_last_folder=True)
    stray = archive(tmp_path / "stray.zip", {"1.png": b"1", "__MACOSX/a/1.png": b"2"})
    with pytest.raises(DataError, match=r"stray\.zip: 1\.png lies beside the classes"):
        find_local(stray)


def test_all_classes_held_out_get_the_episodes_that_they_allow(tmp_path: Path) -> None:
    source = own_images(class_folders(tmp_path))
    data = tmp_path / "data"
    stages.collect(source, data)
    stages.pack("folder", data, source)
    split("folder", {"test-only": TEST_ONLY}, data, EpisodeOptions(number=5))
    opened = open_dataset(data, "folder", "test-only")
    assert opened.scheme.splits == {"test": ("n01", "n02", "n03")}
    assert opened.fixed_shapes("test") == [EpisodeShape(3, 1, 2)]
    with pytest.raises(
        DataError, match=r"too few classes \(3 in all\) to train on: .*hold all classes out for a pretr"
    ):
        split("folder", {"hash": {"shares": {"test": 0.2, "val": 0.3, "train": 0.5}}}, data, EpisodeOptions(number=5))
