"""The sources of single archives and of files at an address: cuts, wrong digests, damage, and what is a pickle."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_archives
from local_mirror import Mirror, serving
from prepared import changed, digests, prepare, sizes

from fewshot.data.pack import source_names
from fewshot.data.sources import Source, cifar100, npy_files, open_source
from fewshot.data.splits import read_scheme, scheme_path
from fewshot.data.stages.fetch import fetch
from fewshot.data.stages.pack import pack
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.settings.declarations import Declaration, EpisodeOptions
from fewshot.settings.published import published_classes
from fewshot.system.download import MIRROR, fetch_file


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    with serving(folder) as server:
        monkeypatch.setenv(MIRROR, server.address)
        yield server


def test_cub_goes_through_all_stages_after_a_cut_and_a_wrong_digest(
    root: Path, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = small_archives.cub(mirror.folder)
    with pytest.raises(
        DamagedFileError, match=r"came from http://127.* is not what was meant: .*, not 97eceeb196236b17"
    ):
        prepare("cub", changed("cub"), root, tmp_path)
    assert not list((tmp_path / "cub" / "raw").iterdir())

    mirror.requests.clear()
    mirror.cut_after = 1000
    declaration = changed("cub", md5=digests(mirror.folder)["CUB_200_2011.tgz"])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    packed = prepare("cub", declaration, root, tmp_path)
    assert mirror.requests == [("CUB_200_2011.tgz", ""), ("CUB_200_2011.tgz", "bytes=1000-")]
    assert sizes(packed) == expected
    assert source_names(tmp_path / "cub" / "pack")[0] == "CUB_200_2011/images/001.Black_footed_Albatross/0.jpg"
    scheme = read_scheme(scheme_path(tmp_path, "cub", "closer-look"))
    assert scheme.splits["train"][0] == "001.Black_footed_Albatross"
    prepare("cub", declaration, root, tmp_path)
    assert len(mirror.requests) == 2

    archive = tmp_path / "cub" / "raw" / "CUB_200_2011.tgz"
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match=r"CUB_200_2011.tgz is not a whole .tar.gz file"):
        pack("cub", open_source("cub", declaration, root), tmp_path)


def test_a_zip_archive_of_folders_is_a_declaration_more(root: Path, tmp_path: Path, mirror: Mirror) -> None:
    files = {
        f"top/{name}/{k}.png": small_archives.picture(k, "PNG") for name in ("a/x", "a/y", "b/z") for k in range(3)
    }
    small_archives.zipped(mirror.folder / "some.zip", {"top/readme.txt": b"", "__MACOSX/top/a/._1.png": b"", **files})
    options = {"address": "https://example.org/data/some.zip", "md5": digests(mirror.folder)["some.zip"], "side": 8}
    own = Declaration(
        source="fewshot/data/sources/archive_of_folders.py",
        splits=("test-only",),
        options=options | {"prefix": "top"},
        episodes=EpisodeOptions(number=2),
    )
    packed = prepare("own", own, root, tmp_path)
    assert [(one.name, one.group, one.count) for one in packed.classes] == [
        ("a/x", "a", 3),
        ("a/y", "a", 3),
        ("b/z", "b", 3),
    ]
    elsewhere = own.model_copy(update={"options": options | {"prefix": "elsewhere"}})
    with pytest.raises(DamagedFileError, match=r"holds no image of a class below 'elsewhere'; correct options.prefix"):
        pack("own", open_source("own", elsewhere, root), tmp_path)
    rar = own.model_copy(update={"options": options | {"address": "https://example.org/some.rar"}})
    with pytest.raises(UsageError, match=r"it has to end in .zip, .tar.gz or .tgz"):
        open_source("own", rar, root)


@pytest.fixture
def small_cifar(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A mirror with an archive of 300 images, and a source that expects just these."""
    expected = small_archives.cifar100(mirror.folder)
    monkeypatch.setattr(cifar100, "MD5", digests(mirror.folder)[cifar100.ARCHIVE])
    monkeypatch.setattr(cifar100, "IMAGES", {"train.bin": 200, "test.bin": 100})
    return expected


def test_cifar_fs_and_fc100_go_through_all_stages(
    root: Path, tmp_path: Path, mirror: Mirror, small_cifar: dict[str, int]
) -> None:
    packed = prepare("cifar-fs", changed("cifar-fs"), root, tmp_path)
    assert sizes(packed) == small_cifar
    assert packed.images.shape == (300, 3, 32, 32)
    assert [packed.images[one.start].max() for one in packed.classes] == list(range(100))  # each by its own label
    assert source_names(tmp_path / "cifar-fs" / "pack")[:3] == ["test.bin#00000", "train.bin#00000", "train.bin#00100"]
    splits = read_scheme(scheme_path(tmp_path, "cifar-fs", "cifar-fs")).splits
    assert {name: len(of_split) for name, of_split in splits.items()} == {"train": 64, "val": 9, "gate": 7, "test": 20}

    prepare("fc100", changed("fc100"), root, tmp_path)
    splits = read_scheme(scheme_path(tmp_path, "fc100", "fc100")).splits
    assert (len(splits["train"]), len(splits["val"]) + len(splits["gate"]), len(splits["test"])) == (60, 20, 20)


def test_cifars_pickled_archive_is_refused_and_the_own_copy_of_the_other_taken(
    root: Path, tmp_path: Path, mirror: Mirror, small_cifar: dict[str, int]
) -> None:
    pickled = tmp_path / "cifar-100-python.tar.gz"
    small_archives.tar_gz(pickled, {"cifar-100-python/train": pickle.dumps({b"data": 1})})
    declaration = changed("cifar-fs").model_copy(update={"path": str(pickled)})
    with pytest.raises(DamagedFileError, match="is CIFAR-100's Python version, a pickle, which can run any code"):
        fetch("cifar-fs", open_source("cifar-fs", declaration, root), tmp_path)
    declaration = declaration.model_copy(update={"path": str(mirror.folder / cifar100.ARCHIVE)})
    assert sizes(prepare("cifar-fs", declaration, root, tmp_path / "data")) == small_cifar
    assert not mirror.requests
    declaration = declaration.model_copy(update={"path": str(tmp_path / "nowhere")})
    with pytest.raises(DataError, match=r"nowhere is no file; give cifar-100-binary.tar.gz, or no path"):
        fetch("cifar-fs", open_source("cifar-fs", declaration, root), tmp_path)


def test_a_damaged_archive_of_cifar_is_named(
    root: Path, tmp_path: Path, mirror: Mirror, small_cifar: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Source = open_source("cifar-fs", changed("cifar-fs"), root)
    fetch("cifar-fs", source, tmp_path)
    raw = tmp_path / "cifar-fs" / "raw" / cifar100.ARCHIVE
    raw.write_bytes(raw.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match=r"cifar-100-binary.tar.gz is not a whole .tar.gz file"):
        pack("cifar-fs", source, tmp_path)
    small_archives.tar_gz(raw, {"cifar-100-binary/fine_label_names.txt": b"apple"})
    with pytest.raises(DamagedFileError, match=r"cifar-100-binary/fine_label_names.txt does not name 100 labels"):
        pack("cifar-fs", source, tmp_path)
    small_archives.cifar100(raw.parent, per_class=3)
    with pytest.raises(DamagedFileError, match=r"train.bin has 922,200 bytes, not 614,800; delete it"):
        pack("cifar-fs", source, tmp_path)


@pytest.mark.parametrize("with_ranges", [True, False])
def test_quickdraw_fetches_only_the_beginning_of_each_file(
    with_ranges: bool, root: Path, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = published_classes("quickdraw/meta-dataset")[:20]
    monkeypatch.setattr(npy_files, "published_classes", lambda scheme: names)
    for k, name in enumerate(names):
        np.save(mirror.folder / f"{name}.npy", np.full((5, 784), k, np.uint8))
    mirror.with_ranges = with_ranges
    declaration = changed("quickdraw", images_per_class=2)
    packed = prepare("quickdraw", declaration, root, tmp_path)
    assert sizes(packed) == dict.fromkeys(names, 2)
    assert [packed.images[one.start].max() for one in packed.classes] == list(range(20))
    assert mirror.requests[0] == ("The Eiffel Tower.npy", "bytes=0-2591")
    assert {file.stat().st_size for file in (tmp_path / "quickdraw" / "raw").iterdir()} == {1024 + 2 * 784}
    fetch("quickdraw", open_source("quickdraw", declaration, root), tmp_path)
    assert len(mirror.requests) == 20
    more = open_source("quickdraw", changed("quickdraw", images_per_class=3), root)
    fetch("quickdraw", more, tmp_path)
    assert len(mirror.requests) == 40
    assert more.count(tmp_path / "quickdraw" / "raw") == 60


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


STRANGE = {
    "holds pickled objects, which can run any code": npy(np.array([{}, {}], dtype=object)),
    "is not a NumPy file": b"<html>404</html>",
    r"holds float32 \[5, 784\], not a row of uint8 \[1, 28, 28\]": npy(np.zeros((5, 784), np.float32)),
    r"holds uint8 \[5, 100\], not a row": npy(np.zeros((5, 100), np.uint8)),
    "has 3,948 bytes, not 4,048": npy(np.zeros((5, 784), np.uint8))[:-100],
}


@pytest.mark.parametrize("message", STRANGE)
def test_a_strange_file_of_quickdraw_is_named(message: str, root: Path, tmp_path: Path, mirror: Mirror) -> None:
    (mirror.folder / "The Eiffel Tower.npy").write_bytes(STRANGE[message])
    with pytest.raises(DamagedFileError, match=rf"The Eiffel Tower.npy.part {message}"):
        fetch("quickdraw", open_source("quickdraw", changed("quickdraw"), root), tmp_path)


def test_the_beginning_of_a_file_is_resumed_and_may_come_from_a_folder(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror.folder / "a b.bin").write_bytes(content := bytes(range(200)))
    address, path = "https://example.org/a b.bin", tmp_path / "a b.bin"
    part = tmp_path / ".a b.bin.part"
    for there, asked in ((b"", "bytes=0-99"), (content[:40], "bytes=40-99"), (content, None)):
        part.write_bytes(there)
        mirror.requests.clear()
        fetch_file(address, path, no_check, limit=100)
        assert path.read_bytes() == content[:100]
        assert mirror.requests == ([("a b.bin", asked)] if asked else [])
        path.unlink()
    mirror.cut_after = 30
    fetch_file(address, path, no_check, pause_s=0.0, limit=100)
    assert path.read_bytes() == content[:100]
    path.unlink()
    fetch_file(address, path, no_check, limit=1000)
    assert path.read_bytes() == content
    path.unlink()
    monkeypatch.setenv(MIRROR, str(mirror.folder))
    fetch_file(address, path, no_check, limit=100)
    assert path.read_bytes() == content[:100]


def no_check(path: Path) -> None:
    pass
