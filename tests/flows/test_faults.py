"""What a retraining survives: being killed at any moment, and the loss of what it leans on."""

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from project_copy import TINY, command, ended, retrain
from test_pipeline import runs, versions

from fewshot.data.splits import open_dataset
from fewshot.home import Home
from fewshot.mlflow_store import aliases, connect
from fewshot.preset import load_settings
from fewshot.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

PRESET, MODEL = "glyphs-protonet-5w1s", "glyphs-protonet"
KILLS, SEEDS = 20, 4
LONGEST_S = 14.0
"""About as long as an undisturbed run takes."""


def settings(seed: int) -> list[str]:
    return [*TINY, "gate.episodes=30", "train.steps=40", "train.validate_every=10", f"seed={seed}"]


def killed_or_not(home: Home, seed: int, limit_s: float | None = None) -> str:
    """Run `fewshot retrain`, killed after `limit_s` if that is given; what it wrote."""
    process = retrain(home, *settings(seed))
    if limit_s is not None:
        time.sleep(limit_s)
        process.kill()
    out, err = process.communicate(timeout=200)
    assert limit_s is not None or process.returncode == 0, out + err
    return out + err


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_if_it_had_not_been(home: Home, tmp_path: Path) -> None:
    moments = random.Random(0)
    for kill in range(KILLS):
        killed_or_not(home, kill * SEEDS // KILLS, moments.uniform(0.5, LONGEST_S))
    for seed in range(SEEDS):
        killed_or_not(home, seed)
    assert "nothing to do" in killed_or_not(home, SEEDS - 1)

    # The weights are those of trainings that nobody disturbed.
    registered = {found.tags["fewshot.weights_sha256"] for found in versions(home)}
    dataset = open_dataset(home.data, "glyphs", "scripts")
    for seed in range(SEEDS):
        undisturbed = train(load_settings(PRESET, settings(seed)), dataset, tmp_path / str(seed))
        assert undisturbed.weights_sha256 in registered
    assert len(registered) == len(versions(home)) == SEEDS

    # One champion, nothing that seems to run, nobody left behind.
    named = connect(home).get_registered_model("glyphs-protonet").aliases
    assert "champion" in named
    assert {found.info.status for found in runs(home)} <= {"FINISHED", "KILLED"}
    assert list((home.state / "flow-runs").glob("*.json")) == []
    mine = [process for process in psutil.process_iter(["cmdline"]) if "retrain" in (process.info["cmdline"] or [])]
    assert mine == []


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
    assert aliases(home, MODEL, str(version.version)) == ["champion"]
    [found] = runs(home)
    assert found.info.status == "FINISHED"
    assert list((home.state / "flow-runs").glob("*.json")) == []


@pytest.mark.slow
def test_a_champion_that_was_deleted_is_said_so_and_replaced(home: Home) -> None:
    assert ended(retrain(home))[0] == 0
    connect(home).delete_model_version(MODEL, "1")
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
    assert aliases(home, MODEL, str(version.version)) == ["champion"]
    status, text = ended(command(home, "rollback", MODEL))
    assert (status, text.count("has no version to go back to")) == (1, 1)
