"""Any dataset that is one archive (.zip, .tar.gz, .tgz) at an open address, with a folder of images for each class.

A dataset more is a declaration more: its address, its digest, and the folder in the archive that holds those of the
classes. The archive is read as it is, never unpacked.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import Field, field_validator

from fewshot.data.archive import open_archive
from fewshot.data.class_folders import SUFFIXES, is_housekeeping
from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.data.tar_archive import ENDS, member_names, read_members
from fewshot.errors import DamagedFileError
from fewshot.system.download import check_md5, fetch_file

MEMBER_LIMIT, TOTAL_LIMIT = 64 * 2**20, 64 * 2**30
"""Largest unpacked sizes of one image and of an archive, bytes."""


class Options(ImageOptions):
    """The place of an archive, its digest and layout, and the form of its images."""

    address: str = Field(pattern=r"https?://.+/.+", description="of the archive; it ends in the archive's name")
    md5: str = Field(pattern=r"[0-9a-f]{32}", description="its digest, in hexadecimal")
    prefix: str = Field("", description="the folder in it that holds those of the classes; none: its top")

    @field_validator("address")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        if not value.endswith((".zip", *ENDS)):
            raise ValueError(f"it has to end in .zip, {' or '.join(ENDS)}")
        return value

    @property
    def archive(self) -> str:
        """The name of the archive."""
        return self.address.rpartition("/")[2]


def FILES(given: Given) -> tuple[str, ...]:
    """The archive."""
    return (given.options.archive,)


def fetch(raw: Path, given: Given) -> None:
    """Fetch the archive; only a whole one gets its name."""
    options: Options = given.options
    fetch_file(options.address, raw / options.archive, partial(check_md5, md5=options.md5))


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each image below the prefix, as the bytes of its file; its folder is its class. Raises DamagedFileError."""
    options: Options = given.options
    path, found = raw / options.archive, False
    for name, content in _files(path, _is_image(options)):
        found = True
        class_name = name[len(_below(options)) :].rpartition("/")[0]
        yield class_name, class_name.rpartition("/")[0] or ".", name, content
    if not found:
        raise DamagedFileError(f"{path} holds no image of a class below '{options.prefix}'; correct options.prefix")


def count(raw: Path, given: Given) -> int:
    """The number of images."""
    path, is_image = raw / given.options.archive, _is_image(given.options)
    if path.name.endswith(ENDS):
        return len(member_names(path, is_image, TOTAL_LIMIT))
    with open_archive(path, MEMBER_LIMIT, TOTAL_LIMIT) as members:
        return sum(map(is_image, members.names))


def _files(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if path.name.endswith(ENDS):
        yield from read_members(path, is_wanted, MEMBER_LIMIT, TOTAL_LIMIT)
        return
    with open_archive(path, MEMBER_LIMIT, TOTAL_LIMIT) as members:
        for name in sorted(filter(is_wanted, members.names)):
            yield name, members.read(name)


def _below(options: Options) -> str:
    return f"{options.prefix.strip('/')}/" if options.prefix.strip("/") else ""


def _is_image(options: Options) -> Callable[[str], bool]:
    """A function that tells an image of a class by its name: in a folder below the prefix, and no housekeeping."""

    def is_image(name: str) -> bool:
        if not name.startswith(_below(options)) or Path(name).suffix.lower() not in SUFFIXES:
            return False
        parts = name[len(_below(options)) :].split("/")
        return len(parts) > 1 and not any(map(is_housekeeping, parts))

    return is_image
