"""Questions to MLflow's SQLite file, wherever it lies."""

import shutil
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


def test_a_state_folder_that_was_moved_or_copied_finds_its_own_files(tmp_path: Path) -> None:
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

    from fewshot.project.paths import Home
    from fewshot.tracking.runs import Run
    from fewshot.tracking.store import Store

    def opened(state: Path) -> Store:
        # MLflow keeps where a run's files are, by its id alone; another project is another process.
        _artifact_repos_cache.clear()
        home = Home(tmp_path, state)
        return Store(f"sqlite:///{home.mlflow / 'mlflow.db'}", home.mlflow, home.locks)

    first = opened(tmp_path / "a b#1" / "state")
    run = Run.start(first, "fewshot", "run")
    run.log_text("note.txt", "first")
    shutil.copytree(tmp_path / "a b#1", tmp_path / "copy")
    copy = opened(tmp_path / "copy" / "state")
    Run(copy, run.id).log_text("note.txt", "the copy's")
    assert copy.download(f"runs:/{run.id}/note.txt").read_text() == "the copy's"
    shutil.move(tmp_path / "a b#1", tmp_path / "moved")
    moved = opened(tmp_path / "moved" / "state")
    assert moved.download(f"runs:/{run.id}/note.txt").read_text() == "first"
    assert not (tmp_path / "a b#1").exists()
