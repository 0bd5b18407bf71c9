"""What a retraining survives: being killed at any moment, and the loss of what it leans on."""

import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Place, at_home
from filelock import FileLock
from own_images import draw, watch
from project_copy import TINY, command, ended, link, retrain
from test_pipeline import runs, versions

from fewshot.project.paths import Home
from fewshot.tracking.store import Store
from flows.dvc.commands import dvc_lock

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

MODEL = "glyphs-protonet"
KILLS, STATES = 20, 2
LONGEST_S = 16.0
"""About as long as an undisturbed run takes."""
SETTINGS = [
    *(setting for setting in TINY if not setting.startswith(("train.episode=", "evaluate.also="))),
    *("gate.episodes=30", "train.steps=40", "train.validate_every=10"),
]


def grow(folder: Path, state: int) -> None:
    """Two classes more."""
    for name in ("one", "other"):
        draw(folder, f"new/{name} {state}", range(6))


def killed_or_not(home: Home, limit_s: float | None = None) -> str:
    """Run `fewshot retrain` on the own folder, killed after `limit_s` if that is given; what it wrote."""
    words = [part for setting in SETTINGS for part in ("--set", setting)]
    process = command(home, "retrain", "folder-protonet", *words)
    if limit_s is not None:
        time.sleep(limit_s)
        process.kill()
    out, err = process.communicate(timeout=200)
    assert limit_s is not None or process.returncode == 0, out + err
    return out + err


def cycles(home: Home, folder: Path, kills: int) -> dict[str, Any]:
    """Retrain on each state of a growing folder, after `kills` tries that were killed; the data and models at the end.

    A whole cycle: collect, pack, split, train, evaluate, register, judge and promote.
    """
    moments = random.Random(0)
    watch(home, folder)
    for state in range(STATES):
        grow(folder, state)
        for _ in range(kills // STATES):
            killed_or_not(home, moments.uniform(0.5, LONGEST_S))
        killed_or_not(home)
    assert "nothing to do" in killed_or_not(home)
    client = Store.open(home).client
    found = sorted(client.search_model_versions("name = 'folder-protonet'"), key=lambda one: int(one.version))
    weights = {str(one.version): one.tags["fewshot.weights_sha256"] for one in found}
    named = client.get_registered_model("folder-protonet").aliases
    return {
        "md5": dvc_lock(home, "folder"),
        "versions": [(one.tags["fewshot.data_md5"], weights[str(one.version)]) for one in found],
        "aliases": {alias: weights[str(number)] for alias, number in named.items()},
    }


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_killed_at_twenty_random_moments_it_ends_as_if_it_had_not_been(
    own_home: Home, template: Path, servers: Place, tmp_path: Path
) -> None:
    project = tmp_path / "undisturbed"
    shutil.copytree(template, project, copy_function=link)
    with at_home(Home(project, project / ".fewshot"), servers) as home:
        undisturbed = cycles(home, tmp_path / "images", 0)
    shutil.rmtree(tmp_path / "images")
    assert len(undisturbed["versions"]) == STATES
    assert "champion" in undisturbed["aliases"]

    home = own_home
    assert cycles(home, tmp_path / "images", KILLS) == undisturbed

    # Nothing seems to run, nobody was left behind, no lock is held.
    assert {found.info.status for found in runs(home)} <= {"FINISHED", "KILLED"}
    assert list((home.state / "flow-runs").glob("*.json")) == []
    mine = [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(home.project)]
    assert mine == []
    for file in (home.state / "locks").glob("*.lock"):
        with FileLock(file, timeout=0):
            pass


@pytest.mark.slow
def test_of_two_started_together_one_does_the_work_and_the_other_says_so(home: Home) -> None:
    both = [retrain(home, "train.steps=200") for _ in range(2)]
    texts = []
    for process in both:
        status, text = ended(process)
        assert status == 0, text
        texts.append(text)
    assert sorted("already running: model glyphs-protonet" in text for text in texts) == [False, True]
    assert sorted("first: model glyphs-protonet version 1" in text for text in texts) == [False, True]
    [version] = versions(home)
    assert Store.open(home).aliases(MODEL, str(version.version)) == ["champion"]
    [found] = runs(home)
    assert found.info.status == "FINISHED"
    assert list((home.state / "flow-runs").glob("*.json")) == []


@pytest.mark.nightly
def test_a_champion_that_was_deleted_is_said_so_and_replaced(home: Home) -> None:
    assert ended(retrain(home))[0] == 0
    Store.open(home).client.delete_model_version(MODEL, "1")
    # MLflow takes the aliases of a version away with it; other tools, and a restored database, do not.
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database, database:
        poisoned = [(alias, 1, MODEL) for alias in ("champion", "previous")]
        database.executemany("INSERT INTO registered_model_aliases (alias, version, name) VALUES (?, ?, ?)", poisoned)

    status, text = ended(command(home, "rollback", MODEL))
    assert (status, text) == (
        1,
        f"error: {MODEL} has no version to go back to; fewshot history {MODEL} shows what there is\n",
    )
    status, text = ended(command(home, "history", MODEL))
    assert (status, text) == (1, f"error: there is no version of a model {MODEL}; fewshot ui shows those that are\n")
    status, text = ended(command(home, "lineage", MODEL))
    assert status == 1
    assert text.startswith(
        f"error: {MODEL} has no champion: there is no such model or alias, or its version was deleted;"
    )

    status, text = ended(retrain(home))
    assert status == 0, text
    assert "first: model glyphs-protonet version 2" in text
    [version] = versions(home)
    assert Store.open(home).aliases(MODEL, str(version.version)) == ["champion"]
    status, text = ended(command(home, "rollback", MODEL))
    assert (status, text.count("has no version to go back to")) == (1, 1)
