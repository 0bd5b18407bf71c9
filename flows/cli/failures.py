"""Errors on the command line: one sentence on standard error, with what to do, and the exit status."""

import errno
import os
import shutil
import sys
import traceback
from typing import Any

import typer

from fewshot.errors import FewshotError
from fewshot.system.text import shown

INTERRUPTED = 130
DEBUG = "FEWSHOT_DEBUG"
"""The environment variable that asks for tracebacks."""
_LITTLE = 2**20
"""Bytes; a disk with less room than this counts as full."""


def report(error: Exception) -> int:
    """Print what went wrong and return the exit status. Unforeseen errors are raised again, with their traceback."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    if isinstance(error, typer.Abort):
        return _say("interrupted; run the same command again to continue", INTERRUPTED)
    if isinstance(error, FewshotError):
        return _say(f"error: {_disk(str(error))}", error.exit_code)
    usage: Any = error
    if hasattr(usage, "format_message"):  # the command line itself is wrong
        if message := usage.format_message():
            _say(f"error: {message}", 2)
        return int(usage.exit_code)
    if (message := _of_the_system(error)) is not None:
        return _say(f"error: {message}", 1)
    if (message := _of_prefect(error)) is not None:
        return _say(f"error: {_disk(message)}", 1)
    raise error


def _of_the_system(error: Exception) -> str | None:
    """One sentence for what the disk refuses; None for other errors."""
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.filename or 'while writing'}); free some space and run the same command again"
    if error.errno == errno.EROFS:
        return f"{error.filename or 'the disk'} is on a read-only file system; set FEWSHOT_HOME to a folder that is not"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {error.filename or 'a file'}; change its owner or mode, or set FEWSHOT_HOME"
    return None


def _of_prefect(error: Exception) -> str | None:
    """One sentence for a Prefect server that does not answer, or answers with an error; None for other errors."""
    import httpx

    if not isinstance(error, httpx.HTTPError):
        return None
    said = str(error).splitlines()[0].partition(" for url ")[0] if str(error) else type(error).__name__
    return (
        f"Prefect at {os.environ.get('PREFECT_API_URL', 'its address')} was lost ({said}); what is done already is "
        "kept: run the same command again, with PREFECT_API_URL unset or its server running"
    )


def _disk(message: str) -> str:
    """The message, after what matters more if the state folder's disk is full: neither server says so itself."""
    from fewshot.project.paths import find_home

    try:
        state = find_home().state
        free = shutil.disk_usage(state).free
    except (FewshotError, OSError):
        return message
    if free >= _LITTLE:
        return message
    return f"the disk of {state} is full; free some space and run the same command again ({message})"


def _say(text: str, status: int) -> int:
    print(shown(text, keep="\n"), file=sys.stderr)
    return status
