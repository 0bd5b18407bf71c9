"""A state folder as an earlier release left it: two versions of a model, the second promoted over the first.

`legacy/state-format-1.tar.xz` was written by the release before formats were numbered. The paths in it are relative to
/PROJECT, a word that is replaced by the folder it is unpacked to.
"""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

LEGACY = Path(__file__).parent / "legacy"


def unpack(project: Path, state: Path) -> None:
    """Unpack to `state` what that release had in `project`/.fewshot, and a training folder of its own: alone."""
    folder = state.parent / "unpacked"
    with tarfile.open(LEGACY / "state-format-1.tar.xz") as archive:
        # Python before 3.11.4 knows no filter, from 3.12 on it warns without one; this archive is our own.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (folder / "state").rename(state)
    (folder / "alone").rename(state.parent / "alone")
    old, new = "/PROJECT/.fewshot", str(state)
    for file in state.rglob("*"):
        if file.is_file() and file.suffix not in (".db", ".png", ".safetensors"):
            content = file.read_bytes()
            if old.encode() in content:
                file.write_bytes(content.replace(old.encode(), new.encode()))
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                where = f"WHERE typeof({column}) = 'text' AND {column} LIKE '%/PROJECT%'"
                database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?) {where}", (old, new))
