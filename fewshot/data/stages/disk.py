"""Errors of the disk, as one sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewshot.errors import DataError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses while `folder` is written into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk is full, {folder} was not written; free some space and run it again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(f"can't write to {folder} ({error.strerror}); make it writable and run it again") from error
        raise DataError(f"{folder} was not written: {error}") from error
