"""Folders as people have them: each file is packed whole, or named; nothing is left out in silence."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stages_by_name as stages
from PIL import Image
from stages_by_name import own_images

from fewshot.data.class_folders import SUFFIXES, find_images, is_housekeeping
from fewshot.data.image_files import fit, image_files, read_support
from fewshot.data.pack import open_pack
from fewshot.data.sources.local import classes_in, shared_images
from fewshot.errors import DataError


def draw(place: Path, shade: int = 9) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 9), shade).save(place, "PNG")
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        draw(tmp_path / "images" / name / "1.png")
    return tmp_path / "images"


def names(folder: Path) -> list[str]:
    return [f"{found.class_name}/{found.name}" for found in find_images(folder)]


def test_what_programs_put_among_the_files_is_skipped_by_all_commands(folder: Path) -> None:
    for place in (
        ".ipynb_checkpoints/1.png", "__MACOSX/cat/1.png", "cat/._1.png", "cat/@eaDir/1.png", "$RECYCLE.BIN/1.png",
        "@Recycle/cat/1.png", "cat/Temporary Items/1.png",
        "#recycle/x/1.png", "System Volume Information/1.png", ".DS_Store/1.png", "lost+found/1.png",
    ):  # fmt: skip
        draw(folder / place)
    assert names(folder) == ["cat/1.png", "dog/1.png"]
    assert list(read_support(folder, partial(fit, image_shape=(1, 8, 8)))) == ["cat", "dog"]
    assert image_files(folder / "cat") == [folder / "cat" / "1.png"]


def test_links_to_classes_and_files_are_followed(folder: Path, tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "2.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "3.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    assert names(folder) == ["cat/1.png", "cat/3.png", "dog/1.png", "linked/2.png"]


def _socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened, pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.parent)  # an address is short
        opened.bind(place.name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: (at / "cat" / "x.png").symlink_to("/nowhere"), r"cat/x\.png is a link to nothing; remove it"),
        (lambda at: (at / "cat" / "up").symlink_to(".."), r"cat/up is a link back to a folder that it lies in"),
        (lambda at: os.mkfifo(at / "cat" / "x.png"), r"cat/x\.png is no regular file; remove it"),
        (lambda at: _socket(at / "cat" / "x.png"), r"cat/x\.png is no regular file; remove it"),
        (lambda at: draw(at / "x.png"), r"x\.png lies beside the classes; move it"),
        (lambda at: draw(at / "cat" / "a\nb.png"), r"cat/a\\nb\.png has a name that can't be kept: it holds a control"),
        (
            lambda at: draw(at / os.fsdecode(b"caf\xe9") / "1.png"),
            r"caf\\udce9/1\.png has a name .* that are no text",
        ),
        (lambda at: draw(at / "C:" / "1.png"), r"C:/1\.png has a name that can't be kept: its path leaves the folder"),
        (
            lambda at: draw(at / "cat@90" / "1.png"),
            r"cat@90/1\.png lies in a class whose name ends like",
        ),
        (
            lambda at: [draw(at / form / "1.png") for form in ("\u00e9", "e\u0301")],
            r"two spellings of Unicode",
        ),
    ],
)
def test_what_can_not_be_collected_is_named(folder: Path, make: Callable[[Path], Any], message: str) -> None:
    make(folder)
    with pytest.raises(DataError, match=message):
        find_images(folder)


def test_two_spellings_of_a_name_are_one_class_and_other_signs_stay(folder: Path, tmp_path: Path) -> None:
    draw(folder / "e\u0301t\u0065\u0301" / "1.png", 1)
    draw(folder / "\u00e9t\u00e9" / "2.png", 2)
    for name in ("scan 12:30.png", "a\\b.png", "a@b.png", "$x$ [1].png", "😀.png", " lead.png"):
        draw(folder / "a@b" / name, len(name))
    stages.collect(own_images(folder), tmp_path / "data")
    stages.pack("folder", tmp_path / "data", own_images(folder))
    pack = open_pack(tmp_path / "data" / "folder" / "pack")
    assert [(packed.name, packed.count) for packed in pack.classes] == [
        ("a@b", 6), ("cat", 1), ("dog", 1), ("\u00e9t\u00e9", 2),
    ]  # fmt: skip


def test_all_bad_files_are_named_at_once_and_equal_ones_of_two_classes_reported(folder: Path, tmp_path: Path) -> None:
    for number in range(13):
        (folder / "cat" / f"bad {number:02}.png").write_bytes(b"half an upload")
    with pytest.raises(
        DataError, match=r"bad 00\.png can't be read .*bad 09\.png can't be read .*; and 3 more$"
    ) as said:
        stages.collect(own_images(folder), tmp_path / "data")
    assert "\n" not in str(said.value)
    for bad in folder.rglob("bad*"):
        bad.unlink()
    stages.collect(own_images(folder), tmp_path / "data")
    assert shared_images(classes_in(tmp_path / "data" / "folder" / "raw")) == [("cat/1.png", "dog/1.png")]


def test_no_folder_of_the_package_is_housekeeping() -> None:
    assert not any(map(is_housekeeping, ("cat", "@home", "a.png", "lost", "Recycle", "$x")))
    assert all(map(is_housekeeping, (".git", "._a.png", "__MACOSX", "@eaDir", "$Recycle.Bin")))
    assert np.all([suffix == suffix.lower() for suffix in SUFFIXES])
