"""What a retraining survives: being killed at any moment, and the loss of what it leans on."""

import random
import time
from pathlib import Path

import psutil
import pytest
from project_copy import TINY, command
from test_pipeline import runs, versions

from fewshot.data.splits import open_dataset
from fewshot.home import Home
from fewshot.mlflow_store import connect
from fewshot.preset import load_settings
from fewshot.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

PRESET = "glyphs-protonet-5w1s"
KILLS, SEEDS = 20, 4
LONGEST_S = 14.0
"""About as long as an undisturbed run takes."""


def settings(seed: int) -> list[str]:
    return [*TINY, "gate.episodes=30", "train.steps=40", "train.validate_every=10", f"seed={seed}"]


def retrain(home: Home, seed: int, limit_s: float | None = None) -> str:
    """Run `fewshot retrain`, killed after `limit_s` if that is given; what it wrote."""
    process = command(home, "retrain", *[part for one in settings(seed) for part in ("--set", one)])
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
        retrain(home, kill * SEEDS // KILLS, moments.uniform(0.5, LONGEST_S))
    for seed in range(SEEDS):
        retrain(home, seed)
    assert "nothing to do" in retrain(home, SEEDS - 1)

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
