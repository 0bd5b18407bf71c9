"""Reaching MLflow: one client on an upgraded database, and quick questions that need no MLflow at all."""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fewshot.errors import RegistryError
from fewshot.project.paths import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

_WAIT_S = 300
"""How long to wait for another process that upgrades the database."""
_NO_ANSWER = re.compile(r"API request to \S+ failed with (timeout )?exception")


@contextmanager
def mlflow_errors(home: Home) -> Iterator[None]:
    """Turn MLflow's errors into a RegistryError that says where MLflow was looked for."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"MLflow at {home.tracking_uri}{_in_words(error)}") from error


def connect(home: Home) -> "MlflowClient":
    """A client on `home.tracking_uri`. The SQLite file is created and upgraded here, by one process at a time.

    Three processes that met a new file at once were seen to die in its migration.
    """
    import mlflow

    home.mlflow.mkdir(parents=True, exist_ok=True)
    # Else it writes each error with its traceback to the terminal, besides raising it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.tracking_uri)
    with mlflow_errors(home), FileLock(home.file_lock("mlflow"), timeout=_WAIT_S):
        client = mlflow.MlflowClient(home.tracking_uri, home.tracking_uri)
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    return client


def experiment_id(client: "MlflowClient", home: Home, name: str) -> str:
    """The experiment of this name, made if need be, with its artifacts below `home` when the store is a local file."""
    with FileLock(home.file_lock("mlflow"), timeout=_WAIT_S):
        found = client.get_experiment_by_name(name)
        if found is None:
            place = (home.mlflow / "artifacts").as_uri() if _database(home) else None
            # Else MLflow's page asks whether the experiment holds models or chats.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def run_exists(home: Home, run_id: str) -> bool:
    """Whether a run is there and not deleted."""
    rows = _quick(home, "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", run_id)
    if rows is not None:
        return bool(rows)
    from mlflow.exceptions import MlflowException

    try:
        return bool(connect(home).get_run(run_id).info.lifecycle_stage == "active")
    except (MlflowException, RegistryError):
        return False


def aliases(home: Home, model: str, version: str) -> list[str] | None:
    """The aliases of a model version; None if there is no such version."""
    held = "SELECT current_stage FROM model_versions WHERE name = ? AND version = ?"
    rows = _quick(home, held, model, version)
    if rows is not None:
        if not [stage for (stage,) in rows if stage != "Deleted_Internal"]:
            return None
        named = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"
        return [alias for (alias,) in _quick(home, named, model, version) or []]
    from mlflow.exceptions import MlflowException

    try:
        found = connect(home).get_registered_model(model).aliases
        connect(home).get_model_version(model, version)
    except (MlflowException, RegistryError):
        return None
    return sorted(alias for alias, number in found.items() if str(number) == version)


def may_have_running_runs(home: Home) -> bool:
    """False only if it is sure that no run stands as RUNNING; spares the import of MLflow on most starts."""
    rows = _quick(home, "SELECT 1 FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active' LIMIT 1")
    return rows is None or bool(rows)


def _in_words(error: Exception) -> str:
    """What an error of MLflow's says, and what to do where that is known."""
    if _NO_ANSWER.search(str(error)):
        return (
            " does not answer; start that server, or unset MLFLOW_TRACKING_URI, and run the same command again: "
            "what is done already is kept"
        )
    # SQLAlchemy begins with a remark in brackets about itself, then says what is wrong.
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("(raised as")]
    return f": {lines[0] if lines else repr(error)}"


def _database(home: Home) -> Path | None:
    uri = home.tracking_uri
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def _quick(home: Home, query: str, *values: str) -> list[Any] | None:
    """Rows straight from MLflow's SQLite file, read-only; None where that is not possible and MLflow must be asked.

    Importing MLflow costs 3 s, this 1 ms, and a second `fewshot run` needs nothing else of it.
    """
    database = _database(home)
    if database is None:
        return None
    if not database.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error:
        return None
