"""The environment variables that keep Prefect, MLflow, DVC and others to this project's folders."""

import errno
import os
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from fewshot.errors import UsageError
from fewshot.project.paths import Home, find_home
from fewshot.project.server_key import server_key

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def environment(home: Home, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that Prefect, MLflow and DVC need to keep to `home`; what is set in `given` (os.environ) stays."""
    given = os.environ if given is None else given
    wanted = {
        "FEWSHOT_PROJECT": str(home.project),
        "FEWSHOT_HOME": str(home.state),
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_LOCAL_STORAGE_PATH": str(home.results),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
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
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
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
        "HF_HOME": str(home.state / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    wanted = {name: given.get(name, value) for name, value in wanted.items()}
    if (api := given.get("PREFECT_API_URL", "")) == "":
        # Of the servers that this project starts, one that is started by hand included.
        wanted["PREFECT_API_AUTH_STRING"] = wanted["PREFECT_SERVER_API_AUTH_STRING"] = server_key(home)
    elif _is_here(api):
        wanted["PREFECT_API_AUTH_STRING"] = given.get("PREFECT_API_AUTH_STRING", server_key(home))
    # A proxy is for other machines; with these, what talks to a server of this one does not ask it.
    here = [*filter(None, (given.get("NO_PROXY", "") or given.get("no_proxy", "")).split(",")), *_LOOPBACK]
    wanted["NO_PROXY"] = wanted["no_proxy"] = ",".join(dict.fromkeys(here))
    # DVC's stages say `python`: that must be this interpreter, whatever else the shell finds first.
    folder, path = str(Path(sys.executable).parent), given.get("PATH", os.defpath)
    wanted["PATH"] = path if path.split(os.pathsep)[0] == folder else os.pathsep.join((folder, path))
    return wanted


def _is_here(url: str) -> bool:
    """True for an address of this machine: the key is sent to no other."""
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:  # no address at all
        return False


def _check_profiles(home: Home) -> None:
    """UsageError for a file of Prefect's profiles that it can't read: it is read when Prefect is imported."""
    profiles = home.prefect / "profiles.toml"
    try:
        if profiles.exists():
            tomllib.loads(profiles.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{profiles} is no valid TOML ({error}); delete it: Prefect then has its defaults") from None


def open_home() -> Home:
    """Find the home of the project around the working folder and prepare this process's environment for it.

    Call it before prefect or mlflow is imported. Raises UsageError outside a project.
    """
    home = find_home()
    prepare_environment(home)
    return home


def prepare_environment(home: Home) -> None:
    """Set `environment(home)` in this process. Call it before prefect or mlflow is imported: they read it then.

    Raises UsageError for a state folder that can't be made, or whose path no database address can hold.
    """
    if "?" in str(home.state):
        raise UsageError(
            f"{home.state}: a '?' in the path begins the options of a database's address; move the project, or set "
            "FEWSHOT_HOME to another folder"
        )
    if set("{}") & set(str(home.project)):
        raise UsageError(f"{home.project}: DVC takes braces in a path for a name to fill in; move the project")
    try:
        home.prefect.mkdir(parents=True, exist_ok=True)  # Prefect makes its home, but not the folder above it
    except (FileExistsError, NotADirectoryError):
        file = next(place for place in (home.prefect, *home.prefect.parents) if place.exists() and not place.is_dir())
        raise UsageError(
            f"the state folder {home.state} can't be made, because {file} is a file; move it, or set FEWSHOT_HOME to "
            "another folder"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise  # said by whoever reports errors, with what to do about a disk
        said = f"the state folder {home.state} can't be made ({error.strerror})"
        raise UsageError(f"{said}; set FEWSHOT_HOME to another folder") from None
    _check_profiles(home)
    os.environ.update(environment(home))
    for name in ("ALL_PROXY", "all_proxy"):
        if os.environ.get(name, "").startswith("socks") and find_spec("socksio") is None:
            # httpx, by which Prefect talks to this machine, would end with an error before it asks anybody.
            os.environ.pop(name)
