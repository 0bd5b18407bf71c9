"""The project folder, and the state folder inside it."""

import os
from dataclasses import dataclass
from pathlib import Path

from fewshot.errors import UsageError

MARKS = ("dvc.yaml", "prefect.yaml")
"""A folder that holds both of these files is a project."""


@dataclass(frozen=True)
class Home:
    """The places of one project. All that is written is below `state` and `data`; deleting `state` is safe."""

    project: Path
    """Folder with dvc.yaml and prefect.yaml."""
    state: Path
    """FEWSHOT_HOME, or .fewshot in the project."""

    @property
    def data(self) -> Path:
        """What DVC versions: <dataset>/{raw,pack,split}."""
        return self.project / "data"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.state / "mlflow"

    @property
    def prefect(self) -> Path:
        """Prefect's home: its database, and the stored results of steps."""
        return self.state / "prefect"

    @property
    def results(self) -> Path:
        """The JSON records of finished steps, one file a cache key."""
        return self.prefect / "results"

    @property
    def tracking_uri(self) -> str:
        """MLFLOW_TRACKING_URI, or the SQLite file of this project."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def trainings(self) -> Path:
        """A folder for each training."""
        return self.state / "training"

    @property
    def evaluations(self) -> Path:
        """A folder for each evaluation."""
        return self.state / "evaluations"

    @property
    def features(self) -> Path:
        """A folder for the features of each split by each encoder."""
        return self.state / "features"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.state / "locks"

    @property
    def alive(self) -> Path:
        """A lock file for each process that runs a flow or a training, which it holds until it ends."""
        return self.locks / "alive"

    def training(self, key: str) -> Path:
        """Checkpoints and finished weights of one training."""
        return self.trainings / key

    def evaluation(self, key: str) -> Path:
        """The measured numbers of one evaluation."""
        return self.evaluations / key

    def file_lock(self, name: str) -> Path:
        """A lock file; the folder that it is in is made."""
        self.locks.mkdir(parents=True, exist_ok=True)
        return self.locks / f"{name}.lock"


def find_project(start: Path | None = None) -> Path:
    """FEWSHOT_PROJECT, or the nearest folder from `start` (default: the working folder) upwards that is a project.

    Raises UsageError where there is none.
    """
    named = os.environ.get("FEWSHOT_PROJECT")
    begin = Path(named).expanduser() if named else (start or Path.cwd())
    for folder in (begin.resolve(), *(() if named else begin.resolve().parents)):
        if all((folder / mark).is_file() for mark in MARKS):
            return folder
    place = f"FEWSHOT_PROJECT={named}" if named else f"{begin} or above it"
    raise UsageError(f"no project at {place}: {' and '.join(MARKS)} not found; go to a clone or set FEWSHOT_PROJECT")


def find_home(start: Path | None = None) -> Home:
    """The project around `start` and its state folder."""
    project = find_project(start)
    named = os.environ.get("FEWSHOT_HOME")
    return Home(project, Path(named).expanduser().resolve() if named else project / ".fewshot")
