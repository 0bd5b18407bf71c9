"""Splits: disjoint, as published, stable under growth; datasets that are missing or damaged say what to do."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import stages_by_name as stages
from stages_by_name import assigned

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.data.pack import PackedClass, open_pack, write_pack
from fewshot.data.sources import omniglot
from fewshot.data.splits import class_table, hashed_share, read_scheme, unrotated, write_scheme
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.settings.declarations import SPLITS
from fewshot.settings.episode_shape import EpisodeShape

SHAPE = EpisodeShape(5, 1, 15)


@pytest.fixture(scope="module")
def characters() -> list[PackedClass]:
    """All classes of Omniglot, from the table of its files."""
    names = {drawing.character for archive in omniglot.ARCHIVES for drawing in omniglot.drawings(archive)}
    return [PackedClass(name, name.partition("/")[0], 20 * k, 20) for k, name in enumerate(sorted(names))]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A data folder with prepared digits."""
    stages.fetch("digits", tmp_path)
    stages.pack("digits", tmp_path)
    stages.split("digits", tmp_path, {"test": [SHAPE]}, 20, 0)
    return tmp_path


def sizes(parts: dict[str, tuple[str, ...]]) -> dict[str, int]:
    return {part: len(names) for part, names in parts.items()}


def assert_disjoint(parts: dict[str, tuple[str, ...]]) -> None:
    """No character, whatever its rotation, stands in two parts."""
    bases = [name for names in parts.values() for name in {unrotated(name) for name in names}]
    assert len(bases) == len(set(bases))


def test_the_vinyals_split_is_the_published_one(characters: list[PackedClass]) -> None:
    parts = assigned("omniglot", "vinyals", characters)
    assert len(parts["train"]) == 4112
    assert len(parts["val"]) + len(parts["gate"]) == 688
    assert len(parts["test"]) == 1692
    assert_disjoint(parts)


def test_the_vinyals_lists_equal_the_source_class_for_class(characters: list[PackedClass], shared: Path) -> None:
    published = json.loads((shared / "splits" / "omniglot_vinyals.json").read_text())["splits"]
    parts = assigned("omniglot", "vinyals", characters)
    for part, names in (("train", parts["train"]), ("val", parts["val"] + parts["gate"]), ("test", parts["test"])):
        turned = {f"{name}{turn}" for name in published[part] for turn in ("", "@90", "@180", "@270")}
        assert set(names) == turned


def test_all_rotations_of_a_character_stay_together_and_the_gate_gets_about_half(
    characters: list[PackedClass],
) -> None:
    parts = assigned("omniglot", "vinyals", characters)
    for part in SPLITS:
        assert len(parts[part]) == 4 * len({unrotated(name) for name in parts[part]})
    # 172 fair coins: beyond four standard deviations once in 16,000.
    assert abs(len(parts["gate"]) / 4 - 86) < 4 * np.sqrt(172) / 2


def test_the_background_split_holds_out_whole_alphabets(characters: list[PackedClass]) -> None:
    parts = assigned("omniglot", "background", characters)
    assert sizes(parts) == {"train": 809, "val": 78, "gate": 77, "test": 659}
    assert_disjoint(parts)
    alphabets = {part: {name.partition("/")[0] for name in names} for part, names in parts.items()}
    assert len(alphabets["train"]) == 26
    assert alphabets["val"] == {"Balinese", "Burmese_(Myanmar)", "Sanskrit", "Tifinagh"}
    assert not alphabets["train"] & (alphabets["val"] | alphabets["gate"] | alphabets["test"])


def test_new_classes_never_move_old_ones(characters: list[PackedClass]) -> None:
    all_parts = assigned("omniglot", "background", characters)
    some = assigned("omniglot", "background", characters[::3])
    for part, names in some.items():
        assert set(names) <= set(all_parts[part])


def test_shares_by_hash_are_uniform_and_depend_on_the_purpose() -> None:
    shares = np.array([hashed_share(f"class{k}", "gate") for k in range(10_000)])
    others = np.array([hashed_share(f"class{k}", "validation") for k in range(10_000)])
    assert abs((shares < 0.5).mean() - 0.5) < 0.02
    assert abs(np.corrcoef(shares, others)[0, 1]) < 0.05
    assert hashed_share("Greek/alpha", "gate") == hashed_share("Greek/alpha", "gate")


def test_a_class_that_no_list_names_is_an_error() -> None:
    with pytest.raises(DataError, match=r"Klingon/a \(group Klingon\) is in none of train, val, gate and test"):
        assigned("glyphs", "scripts", [PackedClass("Klingon/a", "Klingon", 0, 20)])


def test_a_rotation_in_a_name_becomes_quarter_turns() -> None:
    classes = [PackedClass("a", "g", 0, 3), PackedClass("b", "g", 3, 5)]
    table = class_table(classes, ["b@270", "a", "b@90"])
    assert table.start.tolist() == [3, 0, 3]
    assert table.count.tolist() == [5, 3, 5]
    assert table.rotation.tolist() == [3, 0, 1]


def test_an_opened_dataset_gives_tables_names_groups_and_frozen_episodes(digits: Path) -> None:
    opened = open_dataset(digits, "digits", "")
    assert opened.class_names("test") == tuple(f"Digits/{k}" for k in range(10))
    assert opened.groups("test") == ("Digits",) * 10
    assert opened.class_table("test").count.sum() == len(opened.pack.images) == 1797
    assert opened.fixed_episodes("test", SHAPE, 20).rows.shape == (20, 5, 16)
    with pytest.raises(DataError, match="split scheme all of digits has no train classes; it has: test"):
        opened.class_table("train")


def test_the_digest_changes_with_images_parts_and_episodes(digits: Path) -> None:
    first = open_dataset(digits, "digits", "all")
    assert open_dataset(digits, "digits", "all").digest == first.digest
    stages.split("digits", digits, {"test": [SHAPE]}, 20, seed=1)
    other_episodes = open_dataset(digits, "digits", "all")
    assert other_episodes.digest != first.digest
    moved = {"val": first.scheme.splits["test"][:5], "test": first.scheme.splits["test"][5:]}
    path = digits / "digits" / "split" / "all.json"
    write_scheme(path, type(first.scheme)(**{**vars(first.scheme), "splits": moved}))
    assert open_dataset(digits, "digits", "all").digest != first.digest


def test_a_dataset_that_is_not_prepared_says_how_to(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(digits)
    with pytest.raises(DataError, match=r"^data/glyphs is not prepared; run: fewshot data prepare glyphs$"):
        open_dataset(Path("data"), "glyphs", "scripts")
    with pytest.raises(UsageError, match="unknown dataset 'digit'; did you mean 'digits'"):
        open_dataset(digits, "digit", "all")
    with pytest.raises(UsageError, match="unknown split scheme of digits 'al'; did you mean 'all'"):
        open_dataset(digits, "digits", "al")


def test_a_split_of_another_pack_is_found(digits: Path) -> None:
    folder = digits / "digits" / "pack"
    write_pack(folder, [(f"Digits/{k}", "Digits", f"{k}", np.zeros((1, 28, 28), np.uint8)) for k in range(10)])
    with pytest.raises(DamagedFileError, match=r"all.json belongs to another .*pack; run: fewshot data prepare digits"):
        open_dataset(digits, "digits", "all")


def test_damaged_split_and_episode_files_are_found(digits: Path) -> None:
    folder = digits / "digits" / "split"
    opened = open_dataset(digits, "digits", "all")
    content = bytearray((folder / "all-episodes.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "all-episodes.safetensors").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"all-episodes.safetensors is missing or damaged"):
        opened.fixed_episodes("test", SHAPE, 20)
    (folder / "all.json").write_text((folder / "all.json").read_text().replace("Digits/0", "Digits/8"))
    with pytest.raises(DamagedFileError, match=r"all.json was changed after it was written"):
        open_dataset(digits, "digits", "all")


def test_frozen_sets_of_parts_and_shapes_are_streams_of_their_own(tmp_path: Path) -> None:
    names = [("Armenian", 40), ("Georgian", 40), ("Latin", 40)]
    blank = np.zeros((1, 2, 2), np.uint8)
    items = [(f"{g}/{k:02}", g, f"{i:02}", blank) for g, classes in names for k in range(classes) for i in range(20)]
    write_pack(tmp_path / "glyphs" / "pack", items)
    shapes: dict[str, Sequence[EpisodeShape]] = {"val": [SHAPE], "test": [SHAPE, EpisodeShape(5, 5, 15)]}
    stages.split("glyphs", tmp_path, shapes, 50, 0)
    opened = open_dataset(tmp_path, "glyphs", "scripts")
    val, test = opened.fixed_episodes("val", SHAPE, 50), opened.fixed_episodes("test", SHAPE, 50)
    other = opened.fixed_episodes("test", EpisodeShape(5, 5, 15), 50)
    assert not np.array_equal(test.classes, other.classes)
    assert not np.array_equal(val.rows % 20, test.rows % 20)
    assert_disjoint(opened.scheme.splits)


def test_writing_a_split_twice_gives_the_same_bytes(digits: Path) -> None:
    folder = digits / "digits" / "split"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stages.split("digits", digits, {"test": [SHAPE]}, 20, 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    scheme = read_scheme(folder / "all.json")
    assert Dataset("digits", open_pack(digits / "digits" / "pack"), scheme).class_names("test") == scheme.splits["test"]


def test_a_shape_that_a_part_cannot_fill_is_an_error_in_numbers(digits: Path) -> None:
    with pytest.raises(DataError, match=r"10 of 10 classes hold 16 images .* but way=11"):
        stages.split("digits", digits, {"test": [EpisodeShape(11, 1, 15)]}, 20, 0)
    with pytest.raises(DataError, match="split scheme all of digits has no val classes for episodes; it has: test"):
        stages.split("digits", digits, {"val": [SHAPE]}, 20, 0)
