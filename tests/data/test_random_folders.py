"""Random folders through list, collect, pack and split: every good image is packed, everything else refused by name."""

import os
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

import pytest
import stages_by_name as stages
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from stages_by_name import own_images

from fewshot.data.class_folders import SUFFIXES
from fewshot.data.pack import open_pack, source_names
from fewshot.data.sources.local import classes_in
from fewshot.data.stages.listing import LISTING, list_images
from fewshot.errors import DataError
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import read_json
from fewshot.system.text import shown

LETTERS = st.sampled_from([*"ab.@:\\ [$é😀", "e\u0301", "\n", "\x1b", "\udce9", "\u2028", "\u202e", "@90", "A:"])
NAMES = st.one_of(
    st.sampled_from(("cat", "dog", "@eaDir", "__MACOSX", ".hidden")),
    st.lists(LETTERS, min_size=1, max_size=4).map("".join).filter(lambda name: name not in (".", "..")),
)
PICTURES = {
    **{mode: ((9, 9), mode) for mode in ("L", "RGB", "P", "I;16", "LA", "1", "RGBA")},
    **{"strip": ((2, 300), "L"), "pixel": ((1, 1), "RGB"), "wide": ((3000, 1), "RGB")},
}
KINDS = st.sampled_from((*PICTURES, "linked", "class", "bytes", "empty", "F", "fifo", "circle", "dangling", "folder"))
FILES = st.tuples(st.lists(NAMES, max_size=2), NAMES, st.sampled_from((*SUFFIXES[:2], ".PNG", "", ".txt")), KINDS)
Entries = list[tuple[list[str], str, str, str]]


def make(folder: Path, outside: Path, of_class: list[str], name: str, suffix: str, kind: str) -> bool:
    """One entry; False for what the file system refuses, as a file below a file."""
    place = folder.joinpath(*of_class, name + suffix)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(place):
            return False
        if kind == "fifo":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        elif kind in ("bytes", "empty"):
            place.write_bytes(b"no image" if kind == "bytes" else b"")
        elif target := {"circle": folder, "dangling": "nothing", "class": outside, "linked": outside / "1.png"}.get(
            kind
        ):
            place.symlink_to(target)
        else:
            size, mode = PICTURES.get(kind, ((9, 9), kind))
            Image.new(mode, size).save(place, "TIFF" if kind in ("F", "I;16") else "PNG")
    except (NotADirectoryError, FileExistsError, IsADirectoryError):
        return False
    return True


def is_good(name: str) -> bool:
    """True for an image that has to be packed, by its path from the folder. The rule is written anew here."""
    *of_class, file = name.split("/")
    skipped = any(part.startswith(".") or part.lower() in ("@eadir", "__macosx") for part in (*of_class, file))
    refused = re.search(r"[\n\x1b\udce9\u2028]|^[A-Za-z]:|^\\|(^|[/\\])\.\.([/\\]|$)", name)
    turned = of_class and of_class[-1].endswith("@90")
    return bool(of_class and not skipped and not refused and not turned and Path(file).suffix.lower() in SUFFIXES)


def good_images(folder: Path, made: Entries) -> set[str]:
    """Those of the entries that have to be packed, by the names that they have in a pack."""
    found: list[str] = []
    for of_class, name, suffix, kind in made:
        place = "/".join([*of_class, name + suffix])
        if kind in PICTURES or kind == "linked":
            found += [place] if is_good(place) else []
        elif kind == "class":
            found += [f"{place}/1.png"] if is_good(f"{place}/1.png") else []
    composed = [unicodedata.normalize("NFC", place) for place in found]
    return {place for place in composed if composed.count(place) == 1}


def named(folder: Path, said: str) -> dict[str, Path]:
    """Paths that an error names, with the path to delete for each: of an image behind a link, the link."""
    there = {}
    for at, folders, files in os.walk(folder):
        for place in (Path(at) / one for one in (*folders, *files)):
            there[place] = place
            if place.is_symlink() and place.is_dir():
                there[place / "1.png"] = place
    return {
        unicodedata.normalize("NFC", place.relative_to(folder).as_posix()): delete
        for place, delete in there.items()
        if re.search(rf"{re.escape(shown(str(place)))} (can't|is|has|lies|and)\b", said)
    }


def check_folder(entries: Entries) -> None:
    """Refused until what was named is gone, then packed whole; no good image is ever refused."""
    root = Path(tempfile.mkdtemp())
    try:
        folder, outside, options = root / "images", root / "outside", own_images(root / "images")
        for place in (folder / "class", outside):
            place.mkdir(parents=True)
            Image.new("L", (9, 9)).save(place / "1.png")
        made = [entry for entry in entries if make(folder, outside, *entry)]
        good = good_images(folder, made) | {"class/1.png"}
        rounds = 0
        while True:
            errors = []
            for work in (
                lambda: list_images("folder", options, root / "data"),
                lambda: stages.collect(options, root / "data"),
            ):
                try:
                    work()
                except DataError as error:
                    errors.append(str(error))
            if not errors:
                break
            rounds += 1
            for said in errors:  # the listing does not read images, so collect may name more
                assert "\n" not in said
                assert named(folder, said), said
            found = {name: place for said in errors for name, place in named(folder, said).items()}
            assert not found.keys() & good, errors
            for place in set(found.values()):
                place.unlink()
            assert rounds < 4, errors
        event(f"refused {rounds} times, then packed whole")
        stages.pack("folder", root / "data", options)
        pack = open_pack(root / "data" / "folder" / "pack")
        packed = set(source_names(root / "data" / "folder" / "pack"))
        assert good <= packed
        assert len(packed) == len(pack.images) == sum(packed.count for packed in pack.classes)
        assert read_json(root / "data" / "folder" / LISTING, "")["classes"] == classes_in(
            root / "data" / "folder" / "raw"
        )
        said = ""
        try:
            stages.split("folder", root / "data", {"test": [EpisodeShape(2, 1, 1)]}, 2, 0)
        except DataError as error:
            said = str(error)
        event("split" if not said else "split says how many classes are missing")
        assert not said or re.search(r"too few classes \(\d+ in all\) to train on: test has \d of 2 classes", said), (
            said
        )
    finally:
        shutil.rmtree(root)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FILES, max_size=6))
def test_a_random_folder_is_packed_whole_or_refused_by_name(entries: Entries) -> None:
    check_folder(entries)


@pytest.mark.nightly
@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FILES, max_size=6))
def test_two_thousand_random_folders_are_packed_whole_or_refused_by_name(entries: Entries) -> None:
    check_folder(entries)
