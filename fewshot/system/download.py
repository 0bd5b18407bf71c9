"""Fetching a file over http or from a mirror: resumed after a cut, tried again on failure, checked before it counts."""

import errno
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from fewshot.errors import DamagedFileError, DataError
from fewshot.system import progress

MIRROR = "FEWSHOT_MIRROR"
"""Environment variable: a folder or an http(s) address that holds the files of all datasets and networks."""
TRIES = 5
_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


def fetch_file(
    address: str, path: Path, check: Callable[[Path], None], pause_s: float = 1.0, limit: int | None = None
) -> None:
    """Fetch `address`, or the file of the same name from the mirror, to `path`, unless it is there and passes `check`.

    `check` raises DamagedFileError for a wrong file; only a file that passes gets the name `path`. `pause_s` is the
    pause before the second try, each further one is twice as long. With a `limit` no more than so many bytes, the first
    ones of the file, are fetched. Raises DataError if the file can't be had.
    """
    if path.exists():
        try:
            return check(path)
        except DamagedFileError as error:
            _log.warning("%s", error)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    mirror = os.environ.get(MIRROR, "")
    name = address.rpartition("/")[2]
    with _removed_when_disk_is_full(part):
        if mirror and not mirror.startswith(("http://", "https://")):
            _copy(Path(mirror), name, part, limit)
        else:
            _download(f"{mirror.rstrip('/')}/{name}" if mirror else address, part, pause_s, limit)
        try:
            check(part)
        except DamagedFileError as error:
            part.unlink()
            raise DamagedFileError(f"what came from {mirror or address} is not what was meant: {error}") from None
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    part.replace(path)


def check_md5(path: Path, md5: str) -> None:
    """Check the digest of a file, in hexadecimal. DamagedFileError names the file and both digests."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist; fetch it again") from None
    if found != md5:
        raise DamagedFileError(
            f"{path} is not whole, or another version: its MD5 is {found}, not {md5}; fetch it again"
        )


def _copy(folder: Path, name: str, part: Path, limit: int | None) -> None:
    if not folder.is_dir():
        raise DataError(f"{MIRROR}={folder} is no folder; set it to a folder or an http address that holds {name}")
    if not (folder / name).is_file():
        raise DataError(f"{MIRROR}={folder} holds no {name}; put it there, or unset {MIRROR}")
    if limit is None:
        shutil.copyfile(folder / name, part)
        return
    with (folder / name).open("rb") as file:
        part.write_bytes(file.read(limit))


def _download(address: str, part: Path, pause_s: float, limit: int | None) -> None:
    """Fill `part`, trying again after what may pass: a cut connection, a time-out, a busy or failing server."""
    hint = f"check the network, or set {MIRROR} to a folder or address that holds the file"
    version = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            with httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as client:
                version = _receive(client, address, part, version, limit)
            return
        except httpx.HTTPStatusError as error:
            reason = f"the server answered {error.response.status_code}"
            if error.response.status_code < 500 and error.response.status_code not in (408, 416, 429):
                raise DataError(f"can't fetch {address}: {reason}; {hint}") from None
        except httpx.InvalidURL as error:
            raise DataError(f"'{address}' is no address ({error}); {hint}") from None
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            reason = str(error) or type(error).__name__
        _log.warning("%s, try %d of %d: %s", address, attempt + 1, TRIES, reason)
    raise DataError(f"can't fetch {address} after {TRIES} tries: {reason}; {hint}")


def _receive(client: httpx.Client, address: str, part: Path, version: str, limit: int | None) -> str:
    """One request: goes on behind what `part` holds if the server can, else starts anew.

    `version` is the ETag of what `part` holds, if known, so that two versions of a file are never mixed.
    """
    there = part.stat().st_size if part.exists() else 0
    if limit is not None and there >= limit:
        os.truncate(part, limit)
        return version
    # A compressed transfer has other offsets than the file.
    headers = {"Accept-Encoding": "identity"}
    if there or limit is not None:
        headers["Range"] = f"bytes={there}-{limit - 1 if limit is not None else ''}"
        if there and version:
            headers["If-Range"] = version
    with client.stream("GET", address, headers=headers) as answer:
        if answer.status_code == 416:
            part.unlink(missing_ok=True)
        answer.raise_for_status()
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        if answer.status_code == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise httpx.RemoteProtocolError("the server sent another range than was asked for")
        with part.open("ab" if resumed else "wb") as file:
            start = there if resumed else 0
            total = int(answer.headers["Content-Length"]) + start if "Content-Length" in answer.headers else None
            with _progress(part.name.strip(".").removesuffix(".part"), total) as show:
                for chunk in answer.iter_bytes():
                    file.write(chunk if limit is None else chunk[: limit - file.tell()])
                    show(file.tell())
                    if file.tell() == limit:  # a server without ranges sends more
                        break
        return str(answer.headers.get("ETag", ""))


@contextmanager
def _removed_when_disk_is_full(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            part.unlink(missing_ok=True)
        raise


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Call the yielded function with the bytes received: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total)
            yield lambda received: bar.update(task, completed=received)
        return
    last = time.monotonic()

    def show(received: int) -> None:
        nonlocal last
        if time.monotonic() - last >= progress.LINE_EVERY_S:
            last = time.monotonic()
            _log.info("%s: %.1f of %s MB", name, received / 1e6, f"{total / 1e6:.1f}" if total else "?")

    yield show
