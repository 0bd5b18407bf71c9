"""Tar archives from elsewhere: what is wanted is read, what is damaged, hostile or too large is refused by name."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot.data.tar_archive import member_names, read_members
from fewshot.errors import DamagedFileError


def member(name: str, **values: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(found, key, value)
    return found


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Writes a .tar.gz of files by name, and of further members without content."""

    def write(files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
        path = tmp_path / "some.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                tar.addfile(member(name, size=len(content)), io.BytesIO(content))
            for other in others:
                tar.addfile(other)
        return path

    return write


def is_wanted(name: str) -> bool:
    return name.startswith("a/") or ".." in name


def test_wanted_files_are_read_and_the_others_passed_over(archive: Callable[..., Path]) -> None:
    link = member("b/link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    path = archive({"./a/1.png": b"one", "b/2.png": b"two", "a/3.png": b""}, member("a", type=tarfile.DIRTYPE), link)
    assert list(read_members(path, is_wanted)) == [("a/1.png", b"one"), ("a/3.png", b"")]
    assert member_names(path, is_wanted) == ["a/1.png", "a/3.png"]


def test_hostile_members_are_refused_by_name(archive: Callable[..., Path]) -> None:
    link = member("a/link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with pytest.raises(DamagedFileError, match=r"'a/link', refused: it is a link"):
        list(read_members(archive({}, link), is_wanted))
    with pytest.raises(DamagedFileError, match=r"'../x', refused: its path leaves the folder"):
        list(read_members(archive({"../x": b"1"}), is_wanted))
    with pytest.raises(DamagedFileError, match=r"'./a/1', refused: it is there twice"):
        list(read_members(archive({"a/1": b"1", "./a/1": b"2"}), is_wanted))
    with pytest.raises(DamagedFileError, match=r"'a/1', refused: it has 1,000 bytes, over the limit of 10"):
        list(read_members(archive({"a/1": bytes(1000)}), is_wanted, member_limit=10))
    with pytest.raises(DamagedFileError, match=r"some.tar.gz unpacks to over 1,500 bytes"):
        list(read_members(archive({"b/1": bytes(1000), "b/2": bytes(1000)}), is_wanted, total_limit=1500))


def test_a_damaged_archive_is_named_wherever_the_damage_is(archive: Callable[..., Path]) -> None:
    path = archive({f"a/{k}": bytes(range(256)) * 40 for k in range(20)})
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:-4], whole[: len(whole) // 2], b"", b"no gzip", gzip.compress(b"no tar" * 200)):
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"some.tar.gz is not a whole .tar.gz file"):
            list(read_members(path, is_wanted))
    flipped = bytearray(whole)
    flipped[-8] ^= 1  # of the checksum
    path.write_bytes(flipped)
    with pytest.raises(DamagedFileError, match=r"not a whole .tar.gz file \(CRC check failed"):
        list(read_members(path, is_wanted))
    path.unlink()
    with pytest.raises(DamagedFileError, match=r"some.tar.gz does not exist"):
        list(read_members(path, is_wanted))
