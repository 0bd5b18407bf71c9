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
from fewshot.settings.declarations import FILE, Declaration, EpisodeOptions, catalogue, read_declarations
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.tracking.store import Store
from flows.dvc import adding, datasets
from flows.dvc import commands as dvc

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
    """A folder of 60 classes, declared in a project under git."""
    folder = tmp_path / "watched"
    assert f"folder: 360 images of 60 classes in {folder}" in watch(repository, folder)
    declared = (repository.project / FILE).read_text()
    assert f"path: {folder}" in declared
    assert "# of each shape" in declared, "comments stay"
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
        "the same image in two classes, 1 times: group 0/class 03/0.png = group 2/class 02/0.png; "
        "too small for any episode: group 0/class 00 (5 images)"
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
    with pytest.raises(
        DataError, match=r"dataset folder: .*watched does not exist; name the place again: fewshot data add folder"
    ):
        retrain()


def test_what_is_no_place_of_images_is_not_declared(own_home: Home, tmp_path: Path) -> None:
    declared = own_home.project / FILE
    before = declared.read_text()
    (tmp_path / "empty").mkdir()
    for name, place, message in (
        ("a", tmp_path / "nowhere", "nowhere does not exist"),
        ("a", own_home.project, "holds this project itself"),
        ("a", own_home.data, "is where fewshot, DVC or git keep files"),
        ("a", own_home.state / "prefect", "is where fewshot, DVC or git keep files"),
        ("a", tmp_path / os.fsdecode(b"caf\xe9"), "has a name that is no text"),
        ("a", tmp_path / "empty", "empty holds no image"),
        ("../a", tmp_path / "empty", "can't name a dataset"),
        ("a.b", tmp_path / "empty", "can't name a dataset"),
        ("glyphs", tmp_path / "empty", "declares glyphs already; choose another name"),
        ("a", None, "the catalogue has no dataset a; give the place of your images"),
        ("miniimagenet", None, "miniimagenet can't be downloaded: .*; then: fewshot data add miniimagenet PATH"),
    ):
        if place and "nowhere" not in message:
            place.mkdir(exist_ok=True)
        with pytest.raises((UsageError, DataError), match=message):
            adding.add(own_home, name, place, {})
    assert declared.read_text() == before
    draw(tmp_path / "images", "cat", range(2))
    with pytest.raises(UsageError, match=r"a\.options\.side = 5000"):
        adding.add(own_home, "a", tmp_path / "images", {"side": 5000})
    with pytest.raises(UsageError, match="unknown split scheme of a 'hsh'; did you mean 'hash'"):
        adding.add(own_home, "a", tmp_path / "images", {}, ("hsh",))
    declared.write_text(f"<<<<<<< HEAD\n{before}=======\n>>>>>>> other\n")
    with pytest.raises(DataError, match=r"datasets\.yaml holds a merge conflict; keep one side \(git checkout --ours"):
        adding.add(own_home, "a", tmp_path / "images", {})


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
    adding.add(own_home, "folder", folder, {"side": 16, "channels": 1})
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


def test_classes_that_are_too_small_are_told(own_home: Home, tmp_path: Path) -> None:
    after = {"cat": {"1.png": "a", "2.png": "b"}, "dog": {f"{number}.png": f"d{number}" for number in range(5)}}
    draw(tmp_path / "images", "cat", range(2))
    shapes = EpisodeOptions(shapes={"test": (EpisodeShape(5, 1, 4),)})
    datasets.write(own_home, "pets", Declaration(source=adding.LOCAL, splits=("hash",), episodes=shapes))
    assert datasets.remark(own_home, "pets", {}, after) == "pets: too small for any episode: cat (2 images)"
    assert datasets.remark(own_home, "pets", after, after) == ""


def test_a_dataset_that_is_not_there_is_added_as_the_error_says(own_home: Home) -> None:
    with pytest.raises(UsageError, match=r"unknown dataset .birds.; .* or add yours: fewshot data add birds FOLDER"):
        dvc.prepare(own_home, "birds")
    datasets.remove(own_home, "omniglot")
    with pytest.raises(UsageError, match="omniglot is not in this project yet; add it: fewshot data add omniglot"):
        dvc.prepare(own_home, "omniglot")
    with pytest.raises(UsageError, match="declares no dataset omniglot"):
        datasets.remove(own_home, "omniglot")
    assert "omniglot:" not in (own_home.project / FILE).read_text()
    assert adding.add(own_home, "omniglot", None, {}).declaration == catalogue()["omniglot"].declaration


def test_the_folder_of_an_earlier_release_goes_on_and_moves(own_home: Home, tmp_path: Path) -> None:
    for number in range(60):
        draw(tmp_path / "images", f"class {number:02}", range(6))
    params, declared = own_home.project / "params.yaml", own_home.project / FILE
    params.write_text(
        f"""
# Mine.
mine: 1
datasets: {{glyphs: fewshot/data/sources/glyphs.py, folder: fewshot/data/sources/folder.py}}
downloads: {{glyphs: fewshot/data/sources/glyphs.py}}
folder: {{path: {tmp_path / "images"}, side: 16, channels: 1, ink: bright}}
frozen:
  glyphs: {{seed: 0, episodes: 9, shapes: {{test: [5w1s15q]}}}}
  folder: {{seed: 0, episodes: 9, shapes: {{val: [5w1s4q], gate: [5w1s4q], test: [5w1s4q]}}}}
"""
    )
    assert "folder" in dvc.stale(own_home, ["folder"])
    assert params.read_text().split() == ["#", "Mine.", "mine:", "1"]
    found = read_declarations(own_home.project)
    assert list(found) == ["glyphs", "digits", "omniglot", "folder"]
    assert (found["glyphs"].episodes.number, found["folder"].episodes.number) == (9, 9)
    assert "# of each shape" in declared.read_text(), "comments stay"
    assert dvc.prepare(own_home, "folder") == ""
    assert len(open_dataset(own_home.data, "folder").class_table("train")) > 15
    params.write_text("folder: {path: my-images}\ndatasets: {folder: fewshot/data/sources/folder.py}\n")
    assert list(dvc.stale(own_home, ["folder"])) == []
