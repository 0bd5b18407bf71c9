"""Questions to MLflow's SQLite file, wherever it lies."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fewshot.tracking.database import query


@pytest.mark.parametrize("name", ["a#b", "a%41b", "a&b;c", "[k]", "a+b", "ü b", "a:b", "a@b"])
def test_a_path_of_any_letters_is_asked_and_nothing_is_made_beside_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with closing(sqlite3.connect(folder / "mlflow.db")) as made:
        made.execute("CREATE TABLE t (x)")
        made.execute("INSERT INTO t VALUES (7)")
        made.commit()
    assert query(f"sqlite:///{folder / 'mlflow.db'}", "SELECT x FROM t") == [(7,)]
    assert query(f"sqlite:///{folder / 'none.db'}", "SELECT x FROM t") == []
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert [file.name for file in folder.iterdir()] == ["mlflow.db"]
