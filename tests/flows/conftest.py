"""A copy of the project with prepared data, and one Prefect server for all tests of the flow."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from project_copy import FILES, copy_project, link

from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment, prepare_environment

Place = tuple[str, Path]
"""The address of a Prefect server and an empty MLflow database, shared by the tests."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose glyphs are prepared. Copy it before changing anything."""
    from flows.dvc import commands as dvc

    project = tmp_path_factory.mktemp("template")
    copy_project(project)
    dvc.prepare(Home(project, tmp_path_factory.mktemp("template-state")), "glyphs")
    return project


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What takes seconds to start, once for the session."""
    from flows.servers import ephemeral_prefect

    folder = tmp_path_factory.mktemp("servers")
    home = Home(folder, folder / "state")
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(home, patch)
        with ephemeral_prefect.prefect_api(home) as ready:
            from fewshot.tracking.store import Store

            Store.open(home).connect()
            ready()
            url = os.environ.pop("PREFECT_API_URL")
    return url, home.mlflow / "mlflow.db"


@pytest.fixture
def home(template: Path, tmp_path: Path, servers: Place) -> Iterator[Home]:
    """The prepared project with a state folder of its own; this process is told so."""
    with at_home(Home(template, tmp_path / "state"), servers) as home:
        yield home


@pytest.fixture
def own_home(template: Path, tmp_path: Path, servers: Place) -> Iterator[Home]:
    """A copy of the prepared project that a test may change."""
    project = tmp_path / "a project #1 ü%41"  # names with a meaning in addresses, or outside ASCII
    shutil.copytree(template, project, copy_function=link)
    for name in FILES:  # a test may write into these; a link would be the template's, and every other test's
        (project / name).unlink()
        shutil.copy2(template / name, project / name)
    with at_home(Home(project, project / ".fewshot"), servers) as home:
        yield home


@contextmanager
def at_home(home: Home, servers: Place) -> Iterator[Home]:
    """Tell this process, Prefect included, to keep to `home` while the block runs."""
    url, database = servers
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(home, patch)
        patch.setenv("PREFECT_API_URL", url)
        key = (database.parents[1] / "prefect" / "api-key").read_text().strip()
        patch.setenv("PREFECT_API_AUTH_STRING", key)
        home.mlflow.mkdir(parents=True)
        shutil.copy(database, home.mlflow / "mlflow.db")
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            PREFECT_HOME,
            PREFECT_LOCAL_STORAGE_PATH,
            temporary_settings,
        )

        server = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: key}
        with temporary_settings({**server, PREFECT_HOME: home.prefect, PREFECT_LOCAL_STORAGE_PATH: home.results}):
            yield home


def _set_environment(home: Home, patch: pytest.MonkeyPatch) -> None:
    for name, value in environment(home, {"PATH": os.environ["PATH"]}).items():
        patch.setenv(name, value)
    prepare_environment(home)
