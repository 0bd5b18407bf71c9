"""The small sources, and Omniglot on a few synthetic drawings."""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import stages_by_name as stages
from PIL import Image
from sklearn.datasets import load_digits

from fewshot.data.given import Given
from fewshot.data.image_files import fit
from fewshot.data.pack import open_pack, source_names
from fewshot.data.sources import digits, omniglot
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.system.download import MIRROR

NAMES = ("Greek/character01", "Greek/character02")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror whose archives hold 4 drawings of 2 characters each, and an omniglot that expects just these."""
    numbers = np.random.default_rng(0)
    expected: dict[str, list[omniglot.Drawing]] = {}
    digests: dict[str, str] = {}
    folder = tmp_path / "mirror"
    folder.mkdir()
    for archive in omniglot.ARCHIVES:
        expected[archive], lines = [], ""
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as file:
            for k in range(4):
                paper = numbers.random((105, 105)) < 0.9
                path = f"{archive}/{NAMES[k // 2]}/000{k // 2}_{k % 2 + 1:02}.png"
                file.writestr(path, png(paper))
                digest = hashlib.sha256(png(paper))
                lines += f"{path} {digest.hexdigest()}\n"
                name = NAMES[k // 2].replace("Greek", archive)
                expected[archive].append(omniglot.Drawing(name, path, digest.digest()[:3]))
        digests[archive] = hashlib.sha256(lines.encode()).hexdigest()
    monkeypatch.setattr(omniglot, "drawings", expected.__getitem__)
    monkeypatch.setattr(omniglot, "digest_of", digests.__getitem__)
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


def png(paper: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(paper).save(buffer, "PNG")
    return buffer.getvalue()


def rewrite(path: Path, changes: dict[str, bytes | None]) -> None:
    """Pack an archive again with some members replaced, or left out (None)."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()} | changes
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            if content is not None:
                file.writestr(name, content)


def test_digits_are_scikit_learns_with_bright_ink_and_a_margin(tmp_path: Path) -> None:
    digits.fetch(tmp_path)
    items = list(digits.read(tmp_path))
    known = load_digits()
    assert [name for name, *_ in items] == [f"Digits/{label}" for label in known.target]
    images = np.stack([image for *_, image in items])
    assert images.shape == (1797, 1, 28, 28)
    assert not images[:, :, [0, 1, -2, -1]].any()
    assert not images[..., [0, 1, -2, -1]].any()
    means = images[:, 0, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4))
    assert np.corrcoef(means.ravel(), known.images.ravel())[0, 1] > 0.97


DAMAGED = {
    "empty": b"",
    "no gzip": b"no gzip",
    "short": gzip.compress(b"1,2\n", mtime=0),
    "letters": gzip.compress(b"x,y\n", mtime=0),
    "absent": None,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_of_digits_is_found(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "digits.csv.gz").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"digits.csv.gz .*; delete it and fetch it again"):
        list(digits.read(tmp_path))


def test_stages_leave_exactly_what_they_promise(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "omniglot" / "raw").mkdir(parents=True)
    (tmp_path / "omniglot" / "raw" / "stranger.txt").write_text("from an older version")
    stages.fetch("omniglot", tmp_path)
    assert sorted(path.name for path in (tmp_path / "omniglot" / "raw").iterdir()) == sorted(omniglot.FILES)
    stages.pack("omniglot", tmp_path)
    pack = open_pack(tmp_path / "omniglot" / "pack")
    assert [packed.count for packed in pack.classes] == [2, 2, 2, 2]
    assert pack.images.shape == (8, 1, 28, 28)
    assert source_names(tmp_path / "omniglot" / "pack")[0] == "images_background/Greek/character01/0000_01.png"


def test_ink_is_bright_and_the_reduction_keeps_its_amount(tmp_path: Path) -> None:
    paper = np.ones((105, 105), dtype=bool)
    paper[30:75, 45:60] = False
    image = fit(Image.fromarray((~paper).astype(np.uint8) * 255), (1, 28, 28), "bright")[0]
    assert image[0, 0] == 0
    assert image[14, 14] == 255
    assert abs(image.mean() / 255 - (~paper).mean()) < 0.005


def test_a_container_packed_anew_passes_and_a_wrong_drawing_is_named(tmp_path: Path, mirror: Path) -> None:
    path = mirror / "images_evaluation.zip"
    rewrite(path, {"images_evaluation/README": b"more", "images_evaluation/Greek/": b""})
    stages.fetch("omniglot", tmp_path)
    name = "images_evaluation/Greek/character02/0001_01.png"
    with zipfile.ZipFile(path) as file:
        paper = np.array(Image.open(io.BytesIO(file.read(name))))
    paper[50, 50] ^= True
    rewrite(path, {name: png(paper)})
    with pytest.raises(DamagedFileError, match=rf"{name} is not Omniglot's drawing"):
        stages.fetch("omniglot", tmp_path / "other")
    assert [p.name for p in (tmp_path / "other" / "omniglot" / "raw").iterdir()] == ["images_background.zip"]


def test_a_drawing_whose_short_digest_fits_by_chance_is_found(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omniglot, "digest_of", lambda archive: "0" * 64)
    with pytest.raises(DamagedFileError, match="a drawing is not Omniglot's, though its short digest fits"):
        omniglot.verify(mirror / "images_background.zip", "images_background")


def test_an_archive_with_the_official_md5_is_taken_as_it_is(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mirror / "images_background.zip"
    rewrite(path, {"images_background/Greek/character01/0000_02.png": b"other"})
    with pytest.raises(DamagedFileError, match="is not Omniglot's drawing"):
        omniglot.verify(path, "images_background")
    monkeypatch.setattr(omniglot, "official_md5", lambda archive: hashlib.md5(path.read_bytes()).hexdigest())
    omniglot.verify(path, "images_background")


def test_a_missing_corrupt_or_foreign_drawing_is_named(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "images_background/Greek/character01/0000_02.png"
    path = mirror / "images_background.zip"
    with zipfile.ZipFile(path) as file:
        whole = file.read(name)
    wrong: dict[str, bytes | None] = {
        "it has no": None,
        r"is not a drawing of 105x105 pixels \(cannot identify": b"no image",
        r"is not a drawing of 105x105 pixels \(.*runcated": whole[: len(whole) // 2],
        r"is not a drawing of 105x105 pixels \(28x28": png(np.ones((28, 28), dtype=bool)),
    }
    for message, content in wrong.items():
        rewrite(path, {name: content})
        with pytest.raises(DamagedFileError, match="it has no" if content is None else "is not Omniglot's") as error:
            omniglot.verify(path, "images_background")
        assert name in str(error.value)
        # Past the check, as one with the official MD5 would be, the pack stage still names it.
        monkeypatch.setattr(omniglot, "ARCHIVES", ("images_background",))
        with pytest.raises(DamagedFileError, match=message) as error:
            list(omniglot.read(mirror, Given("omniglot", None, omniglot.Options())))
        assert name in str(error.value)
        rewrite(path, {name: whole})


def test_a_cut_archive_in_raw_is_fetched_again_and_stops_the_pack_stage(tmp_path: Path, mirror: Path) -> None:
    stages.fetch("omniglot", tmp_path)
    path = tmp_path / "omniglot" / "raw" / "images_background.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DamagedFileError, match=r"images_background.zip is not a whole zip file"):
        stages.pack("omniglot", tmp_path)
    stages.fetch("omniglot", tmp_path)
    assert path.read_bytes() == whole


def test_the_table_of_drawings_covers_omniglot() -> None:
    background, evaluation = (omniglot.drawings(archive) for archive in omniglot.ARCHIVES)
    assert len(background) + len(evaluation) == 32_460
    assert len({drawing.character for drawing in background}) == 964
    assert len({drawing.character for drawing in evaluation}) == 659
    assert len({drawing.path for drawing in background + evaluation}) == 32_460


@pytest.mark.slow
def test_real_omniglot_passes_and_packs(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(shared / "data" / "omniglot"))
    stages.fetch("omniglot", tmp_path)
    stages.pack("omniglot", tmp_path)
    pack = open_pack(tmp_path / "omniglot" / "pack")
    assert pack.images.shape == (32_460, 1, 28, 28)
    assert len(pack.classes) == 1623
    assert {packed.count for packed in pack.classes} == {20}
    # Strokes are two to three of 105 pixels wide: about 6 % of a drawing is ink.
    assert 0.03 < pack.images.mean() / 255 < 0.12


def test_stages_out_of_order_and_unknown_datasets_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raw does not exist; run: fewshot data prepare digits"):
        stages.pack("digits", tmp_path)
    with pytest.raises(DamagedFileError, match=r"index.json does not exist; delete .*pack and prepare the data again"):
        stages.split("digits", tmp_path, {}, 2, 0)
    with pytest.raises(UsageError, match="unknown dataset 'omniglott'; did you mean 'omniglot'"):
        stages.fetch("omniglott", tmp_path)
