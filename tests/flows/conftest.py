"""A copy of the project with prepared data, and one Prefect server for all tests of the flow."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewshot.home import Home, environment, prepare_environment
from fewshot.keys import SOURCES

TINY = [
    "train.steps=4",
    "train.episode=5w1s5q",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.validation_episodes=4",
    "evaluate.episodes=4",
    "evaluate.also=[]",
    "device=cpu",
    "threads=1",  # two threads that wait for each other on a busy machine are 20 times slower
]
"""Settings under which a run takes seconds."""

FILES = ("dvc.yaml", "dvc.lock", "params.yaml", "prefect.yaml", "requirements.lock", ".dvc/config")
TRACKED = ("fewshot", "flows", *FILES)


def copy_project(target: Path) -> None:
    """What git holds of the project that a run needs, and the glyphs if they were prepared here."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in TRACKED:
        source = SOURCES / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        elif source.is_file():
            shutil.copy2(source, target / name)
    # Linked, not copied: DVC and the library replace files, they never write into one.
    for name in ("data/glyphs", ".dvc/cache"):
        if (SOURCES / name).is_dir():
            shutil.copytree(SOURCES / name, target / name, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose glyphs are prepared. Copy it before changing anything."""
    from flows import versions

    project = tmp_path_factory.mktemp("template")
    copy_project(project)
    versions.prepare(Home(project, tmp_path_factory.mktemp("template-state")), "glyphs")
    return project


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, which takes seconds to make."""
    from fewshot.mlflow_store import connect

    folder = tmp_path_factory.mktemp("mlflow")
    home = Home(folder, folder / "state")
    connect(home)
    return home.mlflow / "mlflow.db"


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a Prefect server that lasts for the session."""
    from flows import embedded

    folder = tmp_path_factory.mktemp("prefect")
    home = Home(folder, folder / "state")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(home, {"PATH": os.environ["PATH"]}).items():
            patch.setenv(name, value)
        prepare_environment(home)
        with embedded.prefect_api(home) as ready:
            ready()
            url = os.environ.pop("PREFECT_API_URL")
    return url


@pytest.fixture
def home(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_url: str, database: Path
) -> Iterator[Home]:
    """The prepared project with a state folder of its own; this process is told so."""
    yield from _at_home(Home(template, tmp_path / "state"), monkeypatch, prefect_url, database)


@pytest.fixture
def own_home(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_url: str, database: Path
) -> Iterator[Home]:
    """A copy of the prepared project that a test may change."""
    shutil.copytree(template, tmp_path / "project", copy_function=_link)
    project = tmp_path / "project"
    yield from _at_home(Home(project, project / ".fewshot"), monkeypatch, prefect_url, database)


def _at_home(home: Home, monkeypatch: pytest.MonkeyPatch, prefect_url: str, database: Path) -> Iterator[Home]:
    for name, value in environment(home, {"PATH": os.environ["PATH"]}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    home.mlflow.mkdir(parents=True)
    shutil.copy(database, home.mlflow / "mlflow.db")
    prepare_environment(home)
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    updates = {PREFECT_API_URL: prefect_url, PREFECT_HOME: home.prefect, PREFECT_LOCAL_STORAGE_PATH: home.results}
    with temporary_settings(updates):
        yield home


def command(home: Home, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    """Start the `fewshot` command of a project's own copy of the code."""
    environ = {**os.environ, "PYTHONPATH": str(home.project), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=home.project,
        env={name: value for name, value in environ.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_tiny(home: Home, *overrides: str, **variables: str) -> "subprocess.Popen[str]":
    """Start `fewshot run` with tiny settings."""
    settings = [part for setting in (*TINY, *overrides) for part in ("--set", setting)]
    return command(home, "run", *settings, **variables)
