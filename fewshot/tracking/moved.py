"""A state folder that was moved or copied: MLflow's database names the files of its runs by their whole addresses.

The addresses are rewritten when the database is first opened in its new place, so that a moved project finds its
models, and a copy its own instead of the original's.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

_ARTIFACTS = "artifacts"


def follow(database: Path, folder: Path) -> None:
    """Let the addresses in MLflow's database point below `folder`, in which its artifacts are.

    Nothing is changed where they do, or where the artifacts of a project are elsewhere by its own wish.
    """
    here = (folder / _ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database, timeout=60)) as opened:
        try:
            known = opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:  # there are no tables yet, or it is damaged, as MLflow will say
            return
        suffix = f"/{folder.name}/{_ARTIFACTS}"
        moved = [place for (place,) in known if str(place).startswith("file:") and str(place).endswith(suffix)]
        for old in moved:
            if old != here:
                with opened:
                    _rewrite(opened, old.removesuffix(f"/{_ARTIFACTS}"), folder.as_uri())


def _rewrite(opened: sqlite3.Connection, old: str, new: str) -> None:
    """Replace the beginning of every address in every table."""
    tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for _, column, *_ in opened.execute(f'PRAGMA table_info("{table}")').fetchall():
            opened.execute(
                f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '
                f'WHERE typeof("{column}") = \'text\' AND substr("{column}", 1, ?) = ?',
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )
