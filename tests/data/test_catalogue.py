"""The catalogue: every entry opens; each dataset of torchvision is fetched from a mirror, packed and split."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_archives
import torchvision.datasets
from local_mirror import Mirror, serving
from prepared import changed, digests, prepare, sizes

from fewshot.data.pack import source_names
from fewshot.data.sources import open_source
from fewshot.data.stages.fetch import fetch
from fewshot.data.stages.pack import pack
from fewshot.errors import DamagedFileError, UsageError
from fewshot.settings.datasets import definitions_of
from fewshot.settings.declarations import catalogue
from fewshot.settings.published import published_classes, published_scheme, published_schemes
from fewshot.system.download import MIRROR

OF_TORCHVISION = tuple(name for name, entry in catalogue().items() if "torchvision" in entry.declaration.source)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    with serving(folder) as server:
        monkeypatch.setenv(MIRROR, server.address)
        yield server


@pytest.mark.parametrize("name", catalogue())
def test_every_entry_opens_with_its_options_and_schemes(name: str, root: Path) -> None:
    entry = catalogue()[name]
    source = open_source(name, entry.declaration, root)
    assert source.files
    for scheme, definition in definitions_of(name, entry.declaration, root).items():
        listed = [one for names in definition.get("classes", {}).values() for one in names]
        assert len(listed) in (0, entry.classes), scheme
    assert bool(entry.where) == entry.needs_path


def test_a_dataset_more_is_an_entry_of_under_ten_lines(root: Path) -> None:
    text = (root / "fewshot" / "data" / "catalogue.yaml").read_text(encoding="utf-8")
    _, *names_and_bodies = re.split(r"^([\w-]+):.*\n", text, flags=re.MULTILINE)
    bodies = dict(zip(names_and_bodies[::2], names_and_bodies[1::2], strict=True))
    assert bodies.keys() == catalogue().keys()
    for name, entry in catalogue().items():
        lines = [line for line in bodies[name].splitlines() if not line.startswith("#")]
        if entry.declaration.episodes.shapes is None and not entry.needs_path:
            assert len(lines) < 10, name


def test_published_lists_name_each_class_once() -> None:
    for scheme in published_schemes():
        classes = published_classes(scheme)
        assert len(set(classes)) == len(classes), scheme
    assert published_classes("cub/closer-look") == published_classes("cub/meta-dataset")
    assert len(published_classes("tieredimagenet/ren")) == 608
    groups = published_scheme("cifar100/fc100")["groups"]
    assert {name: len(of_split) for name, of_split in groups.items()} == {"train": 12, "val": 4, "test": 4}
    with pytest.raises(UsageError, match="unknown published split scheme 'cub/closerlook'; did you mean 'cub/closer"):
        published_classes("cub/closerlook")


def test_torchvisions_own_names_are_those_of_the_lists() -> None:
    numbered = [f"{k:03}.{name}" for k, name in enumerate(torchvision.datasets.Flowers102.classes, 1)]
    assert numbered == published_classes("flowers/meta-dataset")
    signs = published_classes("traffic-sign/meta-dataset")
    assert [int(name.partition(".")[0]) for name in signs] == list(range(43))


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_a_dataset_of_torchvision_goes_through_all_stages(
    name: str, root: Path, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = getattr(small_archives, name.replace("-", "_"))(mirror.folder)
    made = digests(mirror.folder)
    # These two classes check digests themselves.
    files = {key: (file, made.get(file)) for key, (file, _) in torchvision.datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)
    lists = {key: [*row[:2], made.get(row[1])] for key, row in torchvision.datasets.SVHN.split_list.items()}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists)
    declaration = changed(name, md5=made)
    if "hash" in declaration.splits:  # of classes as few as here a hash can't make three splits
        declaration = declaration.model_copy(update={"splits": ("test-only",)})
    packed = prepare(name, declaration, root, tmp_path / "data")
    assert sizes(packed) == expected
    assert packed.images.shape[1:] == open_source(name, declaration, root).image_options.image_shape
    assert sorted(file for file, _ in mirror.requests) == sorted(made)
    prepare(name, declaration, root, tmp_path / "data")
    assert len(mirror.requests) == len(made), "a whole file was fetched again"
    assert (
        torchvision.datasets.dtd.download_and_extract_archive is torchvision.datasets.utils.download_and_extract_archive
    )


def test_emnist_is_upright(root: Path, tmp_path: Path, mirror: Mirror) -> None:
    small_archives.emnist(mirror.folder)
    packed = prepare("emnist", changed("emnist", md5=digests(mirror.folder)), root, tmp_path)
    zero = packed.images[packed.classes[0].start : packed.classes[0].start + 3]
    first = next(image for image in zero if image.any())
    assert (first[0, 0] == 255).all()
    assert not first[0, 1:].any()


def test_images_of_a_dataset_of_torchvision_are_the_bytes_of_its_files(
    root: Path, tmp_path: Path, mirror: Mirror
) -> None:
    small_archives.dtd(mirror.folder)
    prepare("dtd", declaration := changed("dtd", md5=digests(mirror.folder)), root, tmp_path)
    names = source_names(tmp_path / "dtd" / "pack")
    assert names[:2] == ["dtd/dtd/images/banded/banded_0000.jpg", "dtd/dtd/images/banded/banded_0001.jpg"]
    items = open_source("dtd", declaration, root).read(tmp_path / "dtd" / "raw")
    assert next(items)[3] == small_archives.picture(0)
    assert (tmp_path / "dtd" / ".unpacked").is_dir()
    items.close()  # whatever stops the reading, nothing unpacked stays
    assert not (tmp_path / "dtd" / ".unpacked").exists()


def test_a_dataset_of_torchvision_that_is_damaged_in_raw_is_named(root: Path, tmp_path: Path, mirror: Mirror) -> None:
    small_archives.dtd(mirror.folder)
    source = open_source("dtd", changed("dtd", md5=digests(mirror.folder)), root)
    fetch("dtd", source, tmp_path)
    archive = tmp_path / "dtd" / "raw" / "dtd-r1.0.1.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match=r"dtd-r1.0.1.tar.gz is not whole, or another version: its MD5 is"):
        pack("dtd", source, tmp_path)
    archive.unlink()
    with pytest.raises(DamagedFileError, match=r"dtd-r1.0.1.tar.gz does not exist; fetch it again"):
        pack("dtd", source, tmp_path)


def test_an_archive_that_is_not_one_is_named_although_its_digest_fits(
    root: Path, tmp_path: Path, mirror: Mirror
) -> None:
    (mirror.folder / "dtd-r1.0.1.tar.gz").write_bytes(b"something else")
    with pytest.raises(DamagedFileError, match=r"dtd-r1.0.1.tar.gz can't be unpacked"):
        prepare("dtd", changed("dtd", md5=digests(mirror.folder)), root, tmp_path)


WRONG = {
    "torchvision's CIFAR100 reads a pickle, which can run any code": {"dataset": "CIFAR100"},
    "unknown dataset of torchvision.datasets 'Food10'; did you mean 'Food101'": {"dataset": "Food10"},
    "DTD, .*: Unknown value 'tests' for argument split": {"parts": [{"split": "tests"}]},
    "DTD, .*: .* got an unexpected keyword argument 'part'": {"parts": [{"part": 1}]},
    "ImageFolder, .*unexpected keyword argument": {"dataset": "ImageFolder"},
    "StanfordCars, .* The original URL is broken": {"dataset": "StanfordCars", "parts": [{}]},
    "CelebA comes from Google Drive, which often refuses programs; get it by hand": {
        "dataset": "CelebA",
        "parts": [{}],
    },
    "no digest of fgvc-aircraft-2013b.tar.gz; give it: dtd.options.md5": {"dataset": "FGVCAircraft", "parts": [{}]},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_torchvision_has_not_is_reported(message: str, root: Path) -> None:
    with pytest.raises(UsageError, match=message):
        _ = open_source("dtd", changed("dtd", **WRONG[message]), root).files


@pytest.mark.parametrize("name", ["tieredimagenet", "fungi", "miniimagenet"])
def test_a_dataset_that_needs_a_path_goes_through_all_stages(name: str, root: Path, tmp_path: Path) -> None:
    entry = catalogue()[name]
    lists = published_scheme(entry.declaration.splits[0])["classes"]
    names = [*lists["train"][:2], *lists["val"][:10], *lists["test"][:5]]
    for number, class_name in enumerate(names):
        folder = tmp_path / "images" / ("train" if number < 2 else "rest") / class_name
        folder.mkdir(parents=True)
        for k in range(2):
            (folder / f"{class_name}_{k}.jpg").write_bytes(small_archives.picture(number * 2 + k))
    declaration = changed(name).model_copy(update={"path": str(tmp_path / "images")})
    assert sizes(prepare(name, declaration, root, tmp_path / "data")) == dict.fromkeys(names, 2)
