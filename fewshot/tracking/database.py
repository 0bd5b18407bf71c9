"""Quick questions to MLflow's SQLite file, read-only: 1 ms, where importing MLflow takes 3 s."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def sqlite_file(uri: str) -> Path | None:
    """The file behind a tracking URI; None if it is not a local SQLite database."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def query(uri: str, statement: str, *values: str) -> list[Any] | None:
    """The rows of a query; none if there is no database yet. None where only MLflow itself can answer."""
    file = sqlite_file(uri)
    if file is None:
        return None
    if not file.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement, values).fetchall()
    except sqlite3.Error:
        return None
