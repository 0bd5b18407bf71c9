"""The key of this project's Prefect server: it is asked of every request, and is known to this user alone."""

import os
import secrets

from filelock import FileLock

from fewshot.project.paths import Home

_LEAST = 32
"""Characters of a whole key; a file that holds fewer was cut, and a new key is made."""


def server_key(home: Home) -> str:
    """The key, in the form that Prefect's server wants (name:password). It is made when it is first asked for."""
    file = home.prefect / "api-key"
    if len(key := _read(home)) >= _LEAST:
        return key
    with FileLock(home.file_lock("api-key")):
        if len(key := _read(home)) >= _LEAST:
            return key
        key = f"fewshot:{secrets.token_urlsafe(32)}"
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(".api-key.part")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            opened.write(f"{key}\n")
        temporary.replace(file)
    return key


def _read(home: Home) -> str:
    try:
        return (home.prefect / "api-key").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
