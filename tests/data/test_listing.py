"""The listing by which DVC notices each change of a watched folder without looking into it."""

import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from PIL import Image
from stages_by_name import own_images, place_of

from fewshot.data import local_images
from fewshot.data.sources import Source
from fewshot.data.stages import listing
from fewshot.data.stages.listing import LISTING, list_images
from fewshot.errors import DataError
from fewshot.system.files import read_json


@pytest.fixture
def options(tmp_path: Path) -> Source:
    for number in range(3):
        file = tmp_path / "images" / "cat" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), number).save(file)
    return own_images(tmp_path / "images")


def listed(options: Source, data: Path) -> dict[str, dict[str, str]]:
    list_images("folder", options, data)
    return dict(read_json(data / "folder" / LISTING, "")["classes"])


def test_it_changes_with_the_images_and_with_nothing_else(options: Source, tmp_path: Path) -> None:
    cat, file = Path(place_of(options), "cat"), tmp_path / "folder" / LISTING
    first = listed(options, tmp_path)
    assert [*first["cat"]] == ["0.png", "1.png", "2.png"]
    before = file.stat().st_mtime_ns
    (cat / "notes.txt").write_text("no image")
    os.utime(cat / "0.png")
    assert listed(options, tmp_path) == first
    assert file.stat().st_mtime_ns == before, "it is left alone"
    shutil.copy(cat / "2.png", cat / "3.png")
    assert listed(options, tmp_path)["cat"]["3.png"] == first["cat"]["2.png"]


def test_other_bytes_of_the_same_size_and_time_are_noticed(options: Source, tmp_path: Path) -> None:
    file = Path(place_of(options), "cat", "0.png")
    first, state = listed(options, tmp_path), file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert listed(options, tmp_path)["cat"]["0.png"] != first["cat"]["0.png"]


def test_what_has_settled_is_not_read_again(options: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_SETTLED_S", -1)
    first = listed(options, tmp_path)
    reads: list[Path] = []
    read = local_images.read_bytes
    monkeypatch.setattr(local_images, "read_bytes", lambda file: reads.append(file) or read(file))
    assert listed(options, tmp_path) == first
    assert not reads
    # A list that is damaged is made again.
    for file in (tmp_path / "folder").iterdir():
        file.write_bytes(file.read_bytes()[:20])
    assert listed(options, tmp_path) == first
    assert len(reads) == 3


def test_pipes_sockets_links_to_nothing_and_names_beside_the_images_matter_to_nobody(
    options: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = place_of(options), listed(options, tmp_path)
    for place in (folder, folder / "cat", folder / ".hidden"):
        place.mkdir(exist_ok=True)
        os.mkfifo(place / "pipe")
        (place / "gone.txt").symlink_to("/nowhere")
        (place / os.fsdecode(b"caf\xe9.txt")).write_text("Latin-1")
        monkeypatch.chdir(place)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("socket")
    began = time.monotonic()
    assert listed(options, tmp_path) == first
    assert time.monotonic() - began < 20
    os.mkfifo(folder / "cat" / "x.png")
    (folder / "cat" / "y.png").symlink_to("/nowhere")
    with pytest.raises(DataError, match=r"x\.png is no regular file; remove it; .*y\.png is a link to nothing"):
        list_images("folder", options, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; name the place again: fewshot data add folder"):
        list_images("folder", own_images(tmp_path / "nowhere"), tmp_path)
