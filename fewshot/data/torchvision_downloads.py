"""Downloads and archives of torchvision.datasets, handled by functions of ours instead of torchvision's."""

import gzip
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.data.archive import objection_to_name
from fewshot.errors import DamagedFileError, UsageError

Place = str | Path


@contextmanager
def downloading(
    kind: type, get: Callable[[str, Path, str], None], extract: Callable[[Path, Path], None]
) -> Iterator[None]:
    """Let the modules of a class call `get` (address, place, MD5) and `extract` (archive, folder) in the block."""

    def download_url(url: str, root: Place, filename: str | None = None, md5: str | None = None, **_: Any) -> None:
        get(url, Path(root) / (filename or url.rpartition("/")[2]), md5 or "")

    def extract_archive(from_path: Place, to_path: Place | None = None, **_: Any) -> None:
        extract(Path(from_path), Path(to_path) if to_path else Path(from_path).parent)

    def download_and_extract_archive(
        url: str,
        download_root: Place,
        extract_root: Place | None = None,
        filename: str | None = None,
        md5: str | None = None,
        **_: Any,
    ) -> None:
        download_url(url, download_root, filename, md5)
        extract_archive(str(Path(download_root) / (filename or url.rpartition("/")[2])), extract_root or download_root)

    def download_file_from_google_drive(*_: Any, **__: Any) -> None:
        raise UsageError(
            f"torchvision's {kind.__name__} comes from Google Drive, which often refuses programs; get it "
            "by hand, and add its folder as a dataset of your own"
        )

    functions = (download_url, extract_archive, download_and_extract_archive, download_file_from_google_drive)
    ours = {one.__name__: one for one in functions}
    modules = [
        sys.modules[one.__module__] for one in kind.__mro__ if one.__module__.startswith("torchvision.datasets.")
    ]
    theirs = [(module, name, getattr(module, name)) for module in modules for name in ours if hasattr(module, name)]
    try:
        for module, name, _ in theirs:
            setattr(module, name, ours[name])
        yield
    finally:
        for module, name, function in theirs:
            setattr(module, name, function)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, or a compressed file; nothing of it lands outside of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as members:
                members.extractall(folder)
        elif archive.suffix == ".gz" and not archive.stem.endswith(".tar"):
            with gzip.open(archive) as unzipped, (folder / archive.stem).open("wb") as file:
                shutil.copyfileobj(unzipped, file)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    _unpack_member(archive, tar, member, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DamagedFileError(f"{archive.name} can't be unpacked ({error}); delete it and fetch it again") from None


def _unpack_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file of a tar archive; Python before 3.11.4 has no filter that would keep others within the folder."""
    if member.isdir():
        return
    name = member.name.removeprefix("./")
    reason = objection_to_name(name) or ("" if member.isfile() else "it is a link, or no regular file")
    content = tar.extractfile(member)
    if reason or content is None:
        raise DamagedFileError(f"{archive.name} holds {member.name!r}, refused: {reason}")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with content, (folder / name).open("wb") as file:
        shutil.copyfileobj(content, file)
