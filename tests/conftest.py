"""No test touches the state of the clone: FEWSHOT_HOME points elsewhere before anything reads it."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

# Tests run side by side on the same cores: threads that spin while they wait for each other would starve. Read when
# torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# MLflow, which some tests import when they are collected, would write a file into the user's home.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"

import pytest
from hypothesis import settings

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import MARKS, Home
from fewshot.project.tool_environment import environment, prepare_environment
from fewshot.settings.declarations import FILE

# The same examples in each run: a change is judged by itself, not by luck. `--hypothesis-profile=default` draws others.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _state_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    os.environ["FEWSHOT_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A project folder with a state folder of its own, to which MLflow keeps; nothing is in it yet."""
    folder = tmp_path_factory.mktemp("project")
    home = Home(folder, folder / ".fewshot")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(home, {"PATH": os.environ["PATH"]}).items():
            patch.setenv(name, value)
        prepare_environment(home)
        yield home


@pytest.fixture
def own_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that declares datasets of the user's own, birds and folder, beside those that come with the clone."""
    for name in (*MARKS, FILE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCES / name, tmp_path / name)
    own = "".join(
        f"  {name}: {{source: fewshot/data/sources/local.py, splits: [hash]}}\n" for name in ("birds", "folder")
    )
    with (tmp_path / FILE).open("a") as file:
        file.write(own)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command_line_leaves_no_trace() -> Iterator[None]:
    """The command sets a signal handler and a log handler for its process, which here is that of all tests."""
    library, before = logging.getLogger("fewshot"), signal.getsignal(signal.SIGTERM)
    handlers, propagate = library.handlers, library.propagate
    yield
    signal.signal(signal.SIGTERM, before)
    library.handlers, library.propagate = handlers, propagate
