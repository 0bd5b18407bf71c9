"""Archives from elsewhere: what is refused, and that damage names the member."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot.data.archive import open_archive
from fewshot.errors import DamagedFileError


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_members_are_read_whole(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a/b.png": b"image", "a/c.png": b""})
    with open_archive(path) as members:
        assert members.names == {"a/b.png", "a/c.png"}
        assert members.read("a/b.png") == b"image"


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/outside", "a\\..\\outside", "C:outside"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {"fine": b"", name: b""})
    with pytest.raises(DamagedFileError, match="its path leaves the folder"), open_archive(path):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DamagedFileError, match="'link', refused: it is a link"), open_archive(path):
        pass


def test_a_repeated_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a", b"2")
    with pytest.raises(DamagedFileError, match="it is there twice"), open_archive(path):
        pass


def test_sizes_are_bounded_for_a_member_and_in_all(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": bytes(1000), "b": bytes(1000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedFileError, match=r"1,000 bytes, over the limit of 999"), open_archive(path, 999):
        pass
    with pytest.raises(DamagedFileError, match=r"2,000 bytes, over the limit of 1,999"), open_archive(path, 1000, 1999):
        pass


def test_a_member_that_lies_about_its_size_is_not_read_beyond_the_limit(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": bytes(100_000)}, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    path.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with open_archive(path, member_limit=1000) as members, pytest.raises(DamagedFileError, match="a is "):
        members.read("a")


@pytest.mark.parametrize("left", [0, 10, 200])
def test_a_cut_archive_is_no_zip_file(tmp_path: Path, left: int) -> None:
    path = archive(tmp_path / "a.zip", {"a": bytes(500)})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedFileError, match="is not a whole zip file"), open_archive(path):
        pass


def test_a_flipped_byte_names_the_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": b"aaaa", "b": b"bbbb"})
    path.write_bytes(path.read_bytes().replace(b"bbbb", b"bbbc"))
    with open_archive(path) as members:
        assert members.read("a") == b"aaaa"
        with pytest.raises(DamagedFileError, match=r"b is damaged .*CRC"):
            members.read("b")


def test_a_missing_member_or_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": b""})
    with open_archive(path) as members, pytest.raises(DamagedFileError, match="it has no b"):
        members.read("b")
    with pytest.raises(DamagedFileError, match="does not exist"), open_archive(tmp_path / "none.zip"):
        pass


def _cut_lzma(path: Path) -> None:
    archive(path, {"a": bytes(3000)}, zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(bytes(content))


def _later_version(path: Path) -> None:
    content = bytearray(archive(path, {"a": b"1"}).read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 6 : place + 8] = (99).to_bytes(2, "little")
    path.write_bytes(bytes(content))


def _no_text(path: Path) -> None:
    content = bytearray(archive(path, {"\u00e4": b"1"}).read_bytes())
    path.write_bytes(bytes(content).replace("\u00e4".encode(), b"\xff\xfe"))


@pytest.mark.parametrize("make", [_cut_lzma, _later_version, _no_text, Path.mkdir, Path.touch])
def test_an_odd_archive_is_refused_in_a_sentence(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    make(path)
    with (
        pytest.raises(DamagedFileError, match=r"a\.zip (is not a whole zip file|holds 'a', refused: it is compressed)"),
        open_archive(path) as members,
    ):
        members.read("a")
