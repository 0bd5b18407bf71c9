"""Reading .tar.gz archives from elsewhere: nothing is unpacked, no member is trusted, every read is bounded."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fewshot.data.archive import MEMBER_LIMIT, TOTAL_LIMIT, objection_to_name
from fewshot.errors import DamagedFileError

ENDS = (".tar.gz", ".tgz")
_AT_ONCE = 2**20


def read_members(
    path: Path, is_wanted: Callable[[str], bool], member_limit: int = MEMBER_LIMIT, total_limit: int = TOTAL_LIMIT
) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each wanted file, in the archive's order; the others are passed over, whatever they are.

    The checksum of the whole archive is verified at the end. Raises DamagedFileError for a damaged archive, a wanted
    member that is a link or leaves the folder, and more bytes than the limits.
    """
    yield from _members(path, is_wanted, member_limit, total_limit, with_content=True)


def member_names(path: Path, is_wanted: Callable[[str], bool], total_limit: int = TOTAL_LIMIT) -> list[str]:
    """The names of the wanted files. Raises DamagedFileError as `read_members` does."""
    return [name for name, _ in _members(path, is_wanted, total_limit, total_limit, with_content=False)]


def _members(
    path: Path, is_wanted: Callable[[str], bool], member_limit: int, total_limit: int, with_content: bool
) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    total = 0
    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                total += member.size
                if total > total_limit:
                    raise DamagedFileError(f"{path} unpacks to over {total_limit:,} bytes; it is not what was meant")
                if member.isdir() or not is_wanted(_name(member)):
                    continue
                reason = _objection(member, member_limit) or ("it is there twice" if _name(member) in seen else "")
                if reason:
                    raise DamagedFileError(f"{path} holds {member.name!r}, refused: {reason}")
                seen.add(_name(member))
                content = tar.extractfile(member) if with_content else None
                yield _name(member), content.read() if content else b""
            while unzipped.read(_AT_ONCE):  # up to the checksum
                pass
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist; fetch it again") from None
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DamagedFileError(f"{path} is not a whole .tar.gz file ({error}); delete it and fetch it again") from None


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./")


def _objection(member: tarfile.TarInfo, member_limit: int) -> str:
    """The reason why this member is refused; empty if it is not."""
    if reason := objection_to_name(_name(member)):
        return reason
    if not member.isfile():
        return "it is a link, or no regular file"
    if member.size > member_limit:
        return f"it has {member.size:,} bytes, over the limit of {member_limit:,}"
    return ""
