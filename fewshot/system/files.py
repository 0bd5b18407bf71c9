"""Files that are written whole or not at all, and checked when they are read back."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fewshot.errors import DamagedFileError


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. DamagedFileError for what is no file."""
    refuse_special(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_special(path: Path) -> None:
    """DamagedFileError for a folder, pipe, socket or device: to open a pipe waits for ever, a device may never end."""
    if path.exists() and not path.is_file():
        raise DamagedFileError(f"{path} is no file, but a folder, pipe, socket or device; move it away")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a link counts as nothing, and so does what is gone by then."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(Path(entry.path)) for entry in os.scandir(path))
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except FileNotFoundError:
        return 0


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it.

    A reader sees the old file or the new one, never a part; a full disk leaves the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # as when the disk is full
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    write_atomically(path, lambda temporary: _write(temporary, content))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object atomically, with the digest of its content under "sha256"."""
    sealed = {**value, "sha256": sha256_json(value)}
    write_bytes(path, (json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read what `write_json` wrote, without its "sha256".

    `remedy` says what the user can do when the file is missing or damaged; both raise DamagedFileError.
    """
    refuse_special(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        digest = value.pop("sha256")
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist; {remedy}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, IsADirectoryError):
        raise DamagedFileError(f"{path} is not a whole JSON file of this program; {remedy}") from None
    if sha256_json(value) != digest:
        raise DamagedFileError(f"{path} was changed after it was written (its digest differs); {remedy}")
    return dict(value)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
