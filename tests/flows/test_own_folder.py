"""A watched folder of images that grows: a new DVC version each time, classes that keep their part, all of it told."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from own_images import draw, watch
from project_copy import TINY
from test_verify import git, repository, say  # noqa: F401  # a fixture

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.errors import DataError, UsageError
from fewshot.project.paths import Home
from fewshot.tracking.store import Store
from flows.dvc import commands as dvc
from flows.dvc import watched_folders

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = [
    *(setting for setting in TINY if not setting.startswith(("train.episode=", "evaluate.also="))),
    "gate.episodes=30",
]


@pytest.fixture
def watched(repository: Home, tmp_path: Path) -> Path:  # noqa: F811
    """A folder of 60 classes, named in the params.yaml of a project under git."""
    folder = tmp_path / "watched"
    assert f"params.yaml names {folder}" in watch(repository, folder)
    params = (repository.project / "params.yaml").read_text()
    assert f"path: {folder}" in params
    assert "# Your own images" in params, "comments stay"
    git(repository, "commit", "-qam", "the folder is watched")
    return folder


def retrain() -> dict[str, Any]:
    from flows.retrain import retrain as flow

    return flow("folder-protonet", SETTINGS)


def opened(home: Home) -> Dataset:
    return open_dataset(home.data, "folder")


@pytest.mark.slow
def test_a_folder_that_grows_is_versioned_and_every_change_is_told(repository: Home, watched: Path) -> None:  # noqa: F811
    home = repository
    first = retrain()
    assert (first["outcome"], first["remarks"]) == ("first", [])
    before, parts = dvc.dvc_lock(home, "folder"), opened(home).scheme.splits
    assert {path: md5.endswith(".dir") for path, md5 in before.items()} == {
        f"data/folder/{name}": True for name in ("raw", "pack", "split")
    }
    assert retrain()["outcome"] == "nothing to do"

    shutil.rmtree(watched / "group 1" / "class 01")
    (watched / "group 0" / "class 00" / "5.png").unlink()
    shutil.copy(watched / "group 0" / "class 03" / "0.png", watched / "group 2" / "class 02" / "0.png")
    draw(watched, "group 2/class 60", range(7))
    assert "folder" in dvc.stale(home, ["folder"])
    second = retrain()
    assert second["remarks"] == [
        "folder: group 1/class 01 vanished (6 images); group 0/class 00 shrank from 6 to 5 images; "
        "group 2/class 02 changed (1 of 6 images); group 2/class 60 is new (7 images); "
        "the same image in two classes, 1 times: group 0/class 03/0.png = group 2/class 02/0.png"
    ]
    assert (second["outcome"] in ("kept", "promoted"), second["version"]) == (True, "2")
    after = opened(home).scheme.splits
    part_of = {name: part for part, names in parts.items() for name in names}
    assert all(part_of.get(name, part) == part for part, names in after.items() for name in names)
    assert all(dvc.dvc_lock(home, "folder")[path] != md5 for path, md5 in before.items())

    # A file that is no image is named, and the version before it stays.
    bad = watched / "group 0" / "class 00" / "9.png"
    bad.write_bytes(b"half an upload")
    with pytest.raises(DataError, match=r"class 00/9\.png can't be read as an image .*; replace or remove it"):
        retrain()
    bad.unlink()
    assert retrain()["outcome"] == "nothing to do"
    assert len(Store.open(home).client.search_model_versions("name = 'folder-protonet'")) == 2

    # The first version is made again from data that the folder no longer holds.
    status, text = say(home, "verify", "folder-protonet/1")
    assert status == 0, text
    assert "rebuilt        bit-identical" in text

    shutil.move(watched, watched.with_name("away"))
    with pytest.raises(DataError, match=r"params\.yaml names .*watched, which is no folder; name yours"):
        retrain()


def test_what_is_no_folder_of_images_is_not_watched(own_home: Home, tmp_path: Path) -> None:
    params = own_home.project / "params.yaml"
    before = params.read_text()
    for wrong, message in (
        (tmp_path / "nowhere", "nowhere is no folder"),
        (own_home.project, "holds this project itself"),
        (own_home.data, "is where fewshot, DVC or git keep files"),
        (own_home.state / "prefect", "is where fewshot, DVC or git keep files"),
        (tmp_path / os.fsdecode(b"caf\xe9"), "has a name that is no text"),
    ):
        if "nowhere" not in message:
            wrong.mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=message):
            watched_folders.options(wrong, own_home)
    params.write_text(f"<<<<<<< HEAD\n{before}=======\n>>>>>>> other\n")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"params\.yaml holds a merge conflict; keep one side \(git checkout --ours"):
        watched_folders.watch(own_home, watched_folders.options(tmp_path / "images", own_home))


@pytest.mark.slow
def test_dvc_is_not_shown_the_folder_and_changes_behind_links_are_noticed(own_home: Home, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "watched", tmp_path / "elsewhere"
    for number in range(60):
        draw(folder, f"class {number:02}", range(6))
    shutil.move(folder / "class 00", elsewhere)
    (folder / "class 00").symlink_to(elsewhere)
    # Each of these ended DVC, or kept it for ever.
    (folder / ".cache").mkdir()
    os.mkfifo(folder / ".cache" / "pipe")
    (folder / "class 01" / "notes.txt").symlink_to("/nowhere")
    (folder / "class 01" / os.fsdecode(b"caf\xe9.txt")).write_text("Latin-1")
    watched_folders.watch(own_home, watched_folders.options(folder, own_home, side=16, channels=1))
    assert dvc.prepare(own_home, "folder") == ""
    assert dvc.stale(own_home, ["folder"]) == {}
    draw(elsewhere, ".", range(6, 7))
    assert dvc.stale(own_home, ["folder"]) == {"folder": "data/folder/listing.json modified"}
    # A cache that is lost meanwhile hides none of it.
    shutil.rmtree(own_home.project / ".dvc" / "cache")
    assert dvc.prepare(own_home, "folder") == "folder: class 00 grew from 6 to 7 images"
    assert dvc.stale(own_home, ["folder"]) == {}
    os.mkfifo(folder / "class 02" / "9.png")
    with pytest.raises(DataError, match=r"class 02/9\.png is no regular file; remove it"):
        dvc.stale(own_home, ["folder"])


def test_classes_that_are_too_small_are_told(own_home: Home) -> None:
    after = {"cat": {"1.png": "a", "2.png": "b"}, "dog": {f"{number}.png": f"d{number}" for number in range(5)}}
    assert watched_folders.remark(own_home, {}, after) == "folder: too small for any episode: cat (2 images)"
    assert watched_folders.remark(own_home, after, after) == ""


def test_without_a_folder_the_error_says_how_to_name_one(own_home: Home) -> None:
    with pytest.raises(DataError, match="my-images, which is no folder; name yours: fewshot data watch"):
        dvc.prepare(own_home, "folder")
