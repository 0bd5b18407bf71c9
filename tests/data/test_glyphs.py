# ruff: noqa: RUF001 - letters that look alike are what this is about
"""Glyphs: enough letters of enough systems, none like another, every image whole and a function of its letter."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from stages_by_name import assigned

from fewshot.data.pack import PackedClass
from fewshot.data.sources import glyphs
from fewshot.errors import DamagedFileError

Faces = dict[str, dict[str, Image.Image]]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    glyphs.fetch(folder)
    return folder


@pytest.fixture(scope="module")
def faces(raw: Path) -> Faces:
    return {face: glyphs._letters_of(raw, face) for face in glyphs.FACES}


@pytest.fixture(scope="module")
def letters(faces: Faces) -> list[str]:
    """The letters of the dataset."""
    return glyphs.distinct([x for system in glyphs.SYSTEMS.values() for x in glyphs._letters(system, faces)], faces)


@pytest.fixture(scope="module")
def parts(letters: list[str]) -> dict[str, tuple[str, ...]]:
    classes = [PackedClass("/".join(glyphs.class_of(x)), glyphs.class_of(x)[0], 0, 20) for x in letters]
    return assigned("glyphs", "scripts", classes)


def test_fetching_leaves_exactly_the_files_it_names(raw: Path) -> None:
    assert sorted(path.name for path in raw.iterdir()) == sorted(glyphs.FILES)


def test_there_are_many_letters_of_many_systems_in_every_part(parts: dict[str, tuple[str, ...]]) -> None:
    systems = {part: {name.partition("/")[0] for name in names} for part, names in parts.items()}
    assert {part: len(names) for part, names in parts.items()} == {"train": 727, "val": 40, "gate": 47, "test": 224}
    assert systems["test"] == {"Georgian", "Arabic", "Hebrew", "NKo", "Lao"}
    assert systems["val"] == systems["gate"] == {"Armenian", "Tifinagh", "Ogham"}
    assert not systems["train"] & (systems["val"] | systems["test"])
    assert set.union(*systems.values()) == set(glyphs.SYSTEMS)


def test_class_names_are_readable_and_no_two_are_equal(letters: list[str]) -> None:
    assert glyphs.class_of("α") == ("Greek", "small_alpha")
    assert glyphs.class_of("א") == ("Hebrew", "alef")
    assert glyphs.class_of("ა") == ("Georgian", "an")
    assert len({glyphs.class_of(letter) for letter in letters}) == len(letters)
    assert {unicodedata.category(letter) for letter in letters} <= {"Lu", "Ll", "Lo"}


def test_famous_look_alikes_are_there_once(letters: list[str]) -> None:
    for alike in ("AΑАꓮ", "OoΟοОоՕօⵔߋ", "PpΡРр", "HΗНꓧ", "XxΧХх", "Ss"):
        assert len(set(alike) & set(letters)) == 1, alike


def test_no_letter_looks_like_another_in_any_face_and_none_like_one_of_another_part(
    letters: list[str], faces: Faces
) -> None:
    """The threshold is LOOKALIKE: at equal size, over 3.5 % of one's ink is more than a pixel of 32 off the other's."""
    for face, drawn in faces.items():
        there = [letter for letter in letters if letter in drawn]
        ink = np.stack([glyphs.outline(drawn[letter]) for letter in there])
        alike = glyphs.lookalikes(ink)
        assert alike.sum() == len(there), face
        # Without any tolerance, and without the function that is tested:
        assert len({image.tobytes() for image in ink}) == len(there), face


def test_looking_alike_ignores_size_and_a_pixel_but_not_a_missing_dot(raw: Path) -> None:
    def drawn(text: str, size: int) -> Image.Image:
        page = Image.new("L", (300, 300))
        ImageDraw.Draw(page).text((90, 90), text, 255, ImageFont.truetype(str(raw / "DejaVuSans.ttf"), size))
        return page.crop(page.getbbox())

    ink = np.stack([glyphs.outline(drawn(text, size)) for text, size in [("o", 90), ("O", 60), ("i", 80), ("ı", 80)]])
    expected = np.eye(4, dtype=bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(glyphs.lookalikes(ink), expected)
    moved = np.stack([ink[0], np.roll(ink[0], 1, axis=0), np.roll(ink[0], 3, axis=0)])
    assert glyphs.lookalikes(moved)[0].tolist() == [True, True, False]


def test_no_face_draws_the_box_of_a_missing_glyph(raw: Path, letters: list[str], faces: Faces) -> None:
    for face, drawn in faces.items():
        font = ImageFont.truetype(str(raw / f"{face}.ttf"), glyphs._TYPE, layout_engine=ImageFont.Layout.BASIC)
        box = glyphs._rendered(font, "\U0010fffd")  # no face has this one; STIX draws nothing for it
        if box is not None:
            assert not [x for x in letters if x in drawn and drawn[x].tobytes() == box.tobytes()], face


def test_drawings_of_a_letter_are_whole_varied_and_depend_on_nothing_else(letters: list[str], faces: Faces) -> None:
    for letter in letters[::97]:
        drawings = list(glyphs._drawings(letter, faces))
        images = np.stack([image for _, image in drawings])
        assert images.shape == (20, 1, 28, 28)
        assert images.dtype == np.uint8
        border = np.concatenate([images[:, 0, [0, -1]].ravel(), images[:, 0, :, [0, -1]].ravel()])
        assert not border.any()
        assert len({image.tobytes() for image in images}) == 20
        assert (images.reshape(20, -1).max(axis=1) >= 200).all()
        assert (images.reshape(20, -1) > 100).sum(axis=1).min() >= 10
        used = {face for face, _ in drawings}
        assert len(used) == min(20, sum(letter in drawn for drawn in faces.values()))
        np.testing.assert_array_equal(images, np.stack([image for _, image in glyphs._drawings(letter, faces)]))


def test_displacements_are_multiples_of_a_sixteenth_pixel() -> None:
    moved = glyphs._displacement(np.random.default_rng(0).random((3, 54)))
    in_pixels = moved.astype(np.float64) * 32
    np.testing.assert_array_equal(in_pixels * 16, np.round(in_pixels * 16))


@pytest.mark.parametrize("keep", [0, 1000, 300_000])
def test_a_cut_font_is_found(raw: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "DejaVuSans.ttf").write_bytes((raw / "DejaVuSans.ttf").read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match=r"DejaVuSans.ttf is not a whole font"):
        glyphs._letters_of(tmp_path, "DejaVuSans")
