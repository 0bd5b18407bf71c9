"""The packed file: layout, determinism, and what is noticed when it was damaged."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fewshot.data.pack import Item, PackedClass, open_pack, source_names, write_pack
from fewshot.errors import DamagedFileError, DataError


def test_classes_are_sorted_and_their_images_stand_in_consecutive_rows(tmp_path: Path, items: list[Item]) -> None:
    pack = write_pack(tmp_path / "pack", items)
    assert pack.classes == (
        PackedClass("a/y", "a", 0, 3),
        PackedClass("b/a", "b", 3, 5),
        PackedClass("b/x", "b", 8, 4),
    )
    by_source = {source: image for _, _, source, image in items}
    for row, source in enumerate(source_names(tmp_path / "pack")):
        np.testing.assert_array_equal(pack.images[row], by_source[source])


def test_the_order_in_which_images_come_does_not_change_a_byte(tmp_path: Path, items: list[Item]) -> None:
    write_pack(tmp_path / "one", items)
    write_pack(tmp_path / "other", iter(items[::-1]))
    for name in ("images.npy", "index.json", "sources.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_images_are_mapped_and_read_only(tmp_path: Path, items: list[Item]) -> None:
    pack = write_pack(tmp_path / "pack", items)
    assert isinstance(pack.images, np.memmap)
    assert pack.images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        pack.images[0] = 0


@pytest.mark.parametrize("name", ["images.npy", "sources.txt"])
def test_one_flipped_byte_is_found_and_the_file_named(tmp_path: Path, items: list[Item], name: str) -> None:
    write_pack(tmp_path / "pack", items)
    path = tmp_path / "pack" / name
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"{name} was changed .* delete .*pack and prepare the data again"):
        open_pack(tmp_path / "pack")


def test_a_changed_index_is_found(tmp_path: Path, items: list[Item]) -> None:
    write_pack(tmp_path / "pack", items)
    path = tmp_path / "pack" / "index.json"
    index = json.loads(path.read_text())
    index["classes"][0][3] = 2
    path.write_text(json.dumps(index))
    with pytest.raises(DamagedFileError, match=r"index.json was changed after it was written"):
        open_pack(tmp_path / "pack")


@pytest.mark.parametrize("name", ["images.npy", "index.json", "sources.txt"])
def test_a_missing_file_is_named(tmp_path: Path, items: list[Item], name: str) -> None:
    write_pack(tmp_path / "pack", items)
    (tmp_path / "pack" / name).unlink()
    with pytest.raises(DamagedFileError, match=rf"{name} does not exist"):
        open_pack(tmp_path / "pack")


def test_a_pack_cut_short_while_it_was_written_anew_is_not_taken_for_whole(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack(tmp_path / "pack", items)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(OSError, match="No space"):
        write_pack(tmp_path / "pack", items[:3])
    with pytest.raises(DamagedFileError, match=r"index.json does not exist"):
        open_pack(tmp_path / "pack")
    assert not list((tmp_path / "pack").glob(".*"))


def test_items_that_can_not_be_packed_leave_the_pack_that_was_there(tmp_path: Path, items: list[Item]) -> None:
    digest = write_pack(tmp_path / "pack", items).digest
    with pytest.raises(DataError, match="twice"):
        write_pack(tmp_path / "pack", [*items, items[0]])
    assert open_pack(tmp_path / "pack").digest == digest
    assert len(list((tmp_path / "pack").iterdir())) == 3


def test_packing_holds_names_in_memory_and_hardly_any_pixels(tmp_path: Path) -> None:
    number, image = 2000, np.zeros((3, 64, 64), dtype=np.uint8)
    items = ((f"class{k % 100:03}", "group", f"{k:04}.png", image + np.uint8(k % 256)) for k in range(number))
    tracemalloc.start()
    pack = write_pack(tmp_path / "pack", items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pack.images.nbytes == number * image.nbytes > 24e6
    assert peak < 2e6
    assert [of_class[0, 0, 0, 0] for of_class in np.split(pack.images, 100)] == list(range(100))


def test_the_file_is_what_numpy_saves(tmp_path: Path, items: list[Item]) -> None:
    pack = write_pack(tmp_path / "pack", items)
    np.save(tmp_path / "saved.npy", np.array(pack.images))
    assert (tmp_path / "pack" / "images.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_items_that_do_not_fit_together_are_refused_in_numbers(tmp_path: Path, items: list[Item]) -> None:
    name, group, source, image = items[0]
    with pytest.raises(DataError, match="there is no image to pack"):
        write_pack(tmp_path, [])
    with pytest.raises(DataError, match="stands in two groups"):
        write_pack(tmp_path, [*items, (name, "other", "new.png", image)])
    with pytest.raises(DataError, match="twice"):
        write_pack(tmp_path, [*items, (name, group, source, image)])
    with pytest.raises(DataError, match=r"float32 \[1, 6, 5\]"):
        write_pack(tmp_path, [*items, (name, group, "new.png", image.astype(np.float32))])
    with pytest.raises(DataError, match=r"uint8 \[1, 3, 5\].* here \[1, 6, 5\]"):
        write_pack(tmp_path, [*items, (name, group, "new.png", image[:, :3])])
    with pytest.raises(DataError, match="class a@90: @90, @180 or @270 at the end marks a rotation"):
        write_pack(tmp_path, [("a@90", group, source, image)])
