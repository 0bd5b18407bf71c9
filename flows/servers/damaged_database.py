"""Prefect's database, damaged or half made: it is set aside, and the server makes a new one.

It holds the history of flow runs and the deployments; models, results and caches are elsewhere.
"""

import re
import time
from pathlib import Path

from fewshot.project.paths import Home

_SIGNS = re.compile(
    rb"malformed|file is not a database|(table|index) \w+ already exists|no such (table|column|index)|duplicate column|"
    rb"Can't locate revision"
)
"""Parts of the errors that SQLite and the migration of a database end with when it is damaged or half made."""


def set_aside(home: Home, log: Path, since: int) -> str:
    """Rename the database if what the server wrote to `log`, from byte `since`, says that it is damaged.

    Returns a sentence of what was done; empty if nothing was.
    """
    database = home.prefect / "prefect.db"
    with log.open("rb") as file:
        file.seek(since)
        if not (database.is_file() and _SIGNS.search(file.read())):
            return ""
    kept = database.with_name(f"prefect.db.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    database.rename(kept)
    for rest in ("prefect.db-wal", "prefect.db-shm"):
        database.with_name(rest).unlink(missing_ok=True)
    return f"Prefect's database was damaged; it is kept as {kept}, and a new one is made, without the history of runs"
