"""The way to MLflow: one client on an upgraded database, the aliases and tags of its registry, its files."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from fewshot.errors import RegistryError
from fewshot.project.paths import Home
from fewshot.tracking.client import Client, error_code, mlflow_errors
from fewshot.tracking.database import query, sqlite_file
from fewshot.tracking.moved import follow

_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Codes of MLflow's errors about what does not exist. Whatever else goes wrong says nothing of what is there."""
_WAIT_S = 300.0
"""Seconds to wait for another process that upgrades the database."""


class Store:
    """MLflow's runs, model versions and files at one address. Open one for each command and pass it on.

    Opening costs nothing: MLflow is imported (3 s) when its client is first needed. What MLflow can't do or does not
    hold raises RegistryError, in every method.
    """

    def __init__(self, uri: str, folder: Path, locks: Path) -> None:
        """`folder` is for the database's files and artifacts, `locks` for the lock files."""
        self.uri, self._folder, self._locks = uri, folder, locks

    @classmethod
    def open(cls, home: Home) -> "Store":
        """The store of a project: at MLFLOW_TRACKING_URI, or in its state folder."""
        return cls(home.tracking_uri, home.mlflow, home.locks)

    @property
    def alive(self) -> Path:
        """The folder of lock files that living processes hold."""
        return self._locks / "alive"

    def lock(self, name: str, timeout_s: float = -1.0) -> FileLock:
        """A lock between processes; the default is to wait for it without limit."""
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / f"{name}.lock", timeout=timeout_s)

    @cached_property
    def client(self) -> Client:
        """MLflow's client, for the modules of this room. A new SQLite file is made here, by one process at a time.

        Three processes that met a new file at once were seen to die in its migration.
        """
        import mlflow

        self._folder.mkdir(parents=True, exist_ok=True)
        # Else it writes each error with its traceback to the terminal, besides raising it.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with self.module_functions(), self.lock("mlflow", _WAIT_S):
            self._follow()
            client = Client(mlflow.MlflowClient(self.uri, self.uri), self.uri)
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
        return client

    def _follow(self) -> None:
        """Let a database of ours name its files where they are now; RegistryError if it was emptied."""
        file = sqlite_file(self.uri)
        if file is None or file.parent != self._folder or not file.is_file():
            return
        if file.stat().st_size == 0 and any(self._folder.glob("artifacts/*")):
            raise RegistryError(
                f"{file} is empty, but there are files of its models beside it; restore a copy of it, or delete it: "
                "the next run makes a new one, with the runs whose results are still there"
            )
        follow(file, self._folder)

    def connect(self) -> None:
        """Reach MLflow now, which makes or upgrades the database, rather than at the first call that needs it."""
        _ = self.client

    @contextmanager
    def module_functions(self) -> Iterator[None]:
        """Let functions of the package `mlflow`, which know one address for the whole process, use this store."""
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        with mlflow_errors(self.uri):
            yield

    # Questions that need no import of MLflow where its store is a local file.

    def run_exists(self, run_id: str) -> bool:
        """True if a run is there and not deleted."""
        rows = query(self.uri, "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", run_id)
        if rows is not None:
            return bool(rows)
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except RegistryError as error:
            if error_code(error) in _NOT_THERE:
                return False
            raise

    def aliases(self, model: str, version: str) -> list[str] | None:
        """The aliases of a model version; None if there is no such version."""
        held = "SELECT current_stage FROM model_versions WHERE name = ? AND version = ?"
        rows = query(self.uri, held, model, version)
        if rows is not None:
            if not [stage for (stage,) in rows if stage != "Deleted_Internal"]:
                return None
            named = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"
            return [alias for (alias,) in query(self.uri, named, model, version) or []]
        try:
            found = self.client.get_registered_model(model).aliases
            self.client.get_model_version(model, version)
        except RegistryError as error:
            if error_code(error) in _NOT_THERE:
                return None
            raise
        return sorted(alias for alias, number in found.items() if str(number) == version)

    def files_of(self, model: str, version: str) -> Path | None:
        """The folder of a version's files on this machine, whether it is there or not; None where MLflow keeps them."""
        with self.lock("mlflow", _WAIT_S):
            self._follow()
        held = "SELECT storage_location FROM model_versions WHERE name = ? AND version = ?"
        return self.local_path(next((str(place) for (place,) in query(self.uri, held, model, version) or []), ""))

    def files_of_run(self, run_id: str) -> Path | None:
        """The folder of a run's files on this machine; None where MLflow keeps them, or there is no such run."""
        rows = query(self.uri, "SELECT artifact_uri FROM runs WHERE run_uuid = ?", run_id)
        return self.local_path(next((str(place) for (place,) in rows or []), ""))

    def local_path(self, address: str) -> Path | None:
        """The path of an address "file:///..." below our folder; None for any other."""
        place = urlsplit(address)
        path = Path(url2pathname(place.path))
        return path if place.scheme == "file" and path.is_relative_to(self._folder) else None

    def version_tag(self, model: str, version: str, name: str) -> str | None:
        """A tag of a version; None if it has none."""
        tagged = "SELECT value FROM model_version_tags WHERE name = ? AND version = ? AND key = ?"
        rows = query(self.uri, tagged, model, version, name)
        if rows is not None:
            return next((value for (value,) in rows), None)
        found = self.client.get_model_version(model, version).tags.get(name)
        return None if found is None else str(found)

    def may_have_running_runs(self) -> bool:
        """False only if it is certain that no run has the status RUNNING."""
        running = "SELECT 1 FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active' LIMIT 1"
        rows = query(self.uri, running)
        return rows is None or bool(rows)

    # Models of the registry, their aliases and tags.

    def version_with(self, model: str, alias: str) -> str:
        """The version that bears an alias; empty if the alias is not there or its version was deleted.

        Other errors are raised: a champion that can't be asked for is not one that does not exist.
        """
        try:
            return str(self.client.get_model_version_by_alias(model, alias).version)
        except RegistryError as error:
            if error_code(error) in _NOT_THERE:
                return ""
            raise

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Give an alias to a version; whichever bore it before loses it."""
        self.client.set_registered_model_alias(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away from the version that bears it."""
        self.client.delete_registered_model_alias(model, alias)

    def tag_version(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, one after the other in the given order."""
        for name, value in tags.items():
            self.client.set_model_version_tag(model, version, name, value)

    def untag_version(self, model: str, version: str, name: str) -> None:
        """Delete a tag of a version."""
        self.client.delete_model_version_tag(model, version, name)

    def model_tags(self, model: str) -> dict[str, str]:
        """The tags of a registered model, which are not those of its versions."""
        return dict(self.client.get_registered_model(model).tags)

    def tag_model(self, model: str, name: str, value: str) -> None:
        """Set a tag of a registered model."""
        self.client.set_registered_model_tag(model, name, value)

    # Experiments and files.

    def experiment_id(self, name: str) -> str:
        """The experiment of this name, made if need be; a local store keeps the files of its runs in our folder."""
        client = self.client
        with self.lock("mlflow", _WAIT_S):
            found = client.get_experiment_by_name(name)
            if found is None:
                place = (self._folder / "artifacts").as_uri() if sqlite_file(self.uri) else None
                # Else MLflow's page asks whether the experiment holds models or chats.
                tags = {"mlflow.experimentKind": "custom_model_development"}
                return str(client.create_experiment(name, artifact_location=place, tags=tags))
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def download(self, uri: str) -> Path:
        """The local path of a file or folder such as "runs:/ID/history.json" or "models:/NAME@champion"."""
        self.connect()
        import mlflow

        with self.module_functions():
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
