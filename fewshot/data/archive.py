"""Reading zip archives that came from elsewhere: nothing is unpacked, no member is trusted, every read is bounded."""

import re
import stat
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewshot.errors import DamagedFileError

MEMBER_LIMIT = 16 * 2**20
"""Largest unpacked size of one member, bytes."""
TOTAL_LIMIT = 4 * 2**30
"""Largest unpacked size of all members together, bytes."""


class Archive:
    """An open zip archive whose member list has been checked. `read` raises DamagedFileError that names the member."""

    def __init__(self, path: Path, members: zipfile.ZipFile, member_limit: int) -> None:
        self._path, self._zip, self._member_limit = path, members, member_limit
        self.names = frozenset(members.namelist())

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The bytes of one member; its checksum is verified."""
        if name not in self.names:
            raise DamagedFileError(f"{self._path} is incomplete: it has no {name}; delete it and fetch it again")
        try:
            with self._zip.open(name) as member:
                content = member.read(self._member_limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
            raise DamagedFileError(f"{self._path}: {name} is damaged ({error}); delete it and fetch it again") from None
        if len(content) > self._member_limit:
            raise DamagedFileError(f"{self._path}: {name} is larger than it says; it is not the one that was meant")
        return content


_opened: dict[tuple[Path, int, int], Archive] = {}
"""Archives that `read_member` has open in this process: (path, size, time of change) -> archive."""


_opening = threading.Lock()


def read_member(path: Path, name: str) -> bytes:
    """A member of a zip file that `open_archive` has checked; the file stays open for the next one.

    For processes that read many: they are given a path and names, not bytes. Raises DamagedFileError that names the
    member.
    """
    try:
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns)
        with _opening:
            if key not in _opened:
                _close()
                _opened[key] = Archive(path, zipfile.ZipFile(path), TOTAL_LIMIT)
    except (zipfile.BadZipFile, OSError) as error:
        raise DamagedFileError(f"{path} is not a whole zip file ({error}); delete it and fetch it again") from None
    return _opened[key].read(name)


@contextmanager
def archives_closed() -> Iterator[None]:
    """At the end of the block, close the files that `read_member` left open in this process."""
    try:
        yield
    finally:
        _close()


def _close() -> None:
    for archive in _opened.values():
        archive.close()
    _opened.clear()


@contextmanager
def open_archive(path: Path, member_limit: int = MEMBER_LIMIT, total_limit: int = TOTAL_LIMIT) -> Iterator[Archive]:
    """Open a zip file after checking all its members. Raises DamagedFileError.

    Refused are paths that leave the folder, links, encrypted and repeated members, and more bytes than the limits.
    """
    try:
        members = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist; fetch it again") from None
    # NotImplementedError: a later version of the format; ValueError: names that are no text.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DamagedFileError(f"{path} is not a whole zip file ({said}); delete it and fetch it again") from None
    with members:
        _check(path, members.infolist(), member_limit, total_limit)
        yield Archive(path, members, member_limit)


def _check(path: Path, members: list[zipfile.ZipInfo], member_limit: int, total_limit: int) -> None:
    seen: set[str] = set()
    for member in members:
        reason = _objection(member, member_limit) or ("it is there twice" if member.filename in seen else "")
        if reason:
            raise DamagedFileError(f"{path} holds {member.filename!r}, refused: {reason}")
        seen.add(member.filename)
    total = sum(member.file_size for member in members)
    if total > total_limit:
        raise DamagedFileError(f"{path} unpacks to {total:,} bytes, over the limit of {total_limit:,}")


def objection_to_name(name: str) -> str:
    """The reason why a member of an archive may not be called so; empty if it may."""
    parts = re.split(r"[/\\]", name)
    if not name or name[0] in "/\\" or ".." in parts or re.match(r"[A-Za-z]:", name):
        return "its path leaves the folder"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "it holds a control character, or bytes that are no text"
    return ""


def _objection(member: zipfile.ZipInfo, member_limit: int) -> str:
    """Why this member is refused; empty if it is not."""
    if reason := objection_to_name(member.filename):
        return reason
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in a way that is not read here (only stored and deflated members are)"
    if member.flag_bits & 0x1:
        return "it is encrypted"
    if member.file_size > member_limit:
        return f"it has {member.file_size:,} bytes, over the limit of {member_limit:,}"
    return ""
