"""Where everything lives: the project folder, the state folder inside it, and what its tools must be told."""

import os
import sys
from collections.abc import Mapping
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

    def training(self, key: str) -> Path:
        """Checkpoints and finished weights of one training."""
        return self.state / "training" / key

    def evaluation(self, key: str) -> Path:
        """The measured numbers of one evaluation."""
        return self.state / "evaluations" / key

    def lock(self, name: str) -> Path:
        """A lock file; the folder it stands in is made."""
        folder = self.state / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"


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


def environment(home: Home, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that Prefect, MLflow and DVC need to keep to `home`; what is set in `given` (os.environ) stays."""
    given = os.environ if given is None else given
    wanted = {
        "FEWSHOT_PROJECT": str(home.project),
        "FEWSHOT_HOME": str(home.state),
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_LOCAL_STORAGE_PATH": str(home.results),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Prefect gives its embedded server 20 s to start; a loaded machine was seen to need 25 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # The console belongs to the command line; the same lines still reach Prefect's UI.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
        # Five tries more would be a minute of waiting at each call, and five minutes until a run whose server died says
        # so. Three are 2, 4 and 8 s: longer than a server takes that `fewshot up` starts again.
        "PREFECT_CLIENT_MAX_RETRIES": "3",
        "DO_NOT_TRACK": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home.mlflow / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # MLflow's own defaults try a dead server for 4 minutes at each call. These wait 0, 2 and 4 s, and up to 1 s
        # more each time; a step that failed is tried twice more, 3 s and 20 s later. So a server that is started again
        # has a minute, and nobody waits longer to hear that there is none. 30 s: a machine that does not even refuse.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # Its job runner costs eight processes and 2 GB, for functions that are not used here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(home.state / "dvc"),
        "DVC_GLOBAL_CONFIG_DIR": str(home.state / "dvc" / "config"),
        "MPLCONFIGDIR": str(home.state / "matplotlib"),
        "TORCH_HOME": str(home.state / "torch"),
    }
    wanted = {name: given.get(name, value) for name, value in wanted.items()}
    # DVC's stages say `python`: that must be this interpreter, whatever else the shell finds first.
    folder, path = str(Path(sys.executable).parent), given.get("PATH", os.defpath)
    wanted["PATH"] = path if path.split(os.pathsep)[0] == folder else os.pathsep.join((folder, path))
    return wanted


def prepare_environment(home: Home) -> None:
    """Set `environment(home)` in this process. Call it before prefect or mlflow is imported: they read it then."""
    home.prefect.mkdir(parents=True, exist_ok=True)  # Prefect makes its home, but not the folder above it
    os.environ.update(environment(home))
