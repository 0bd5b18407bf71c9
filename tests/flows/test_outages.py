"""Retrainings, as real processes, whose servers die: what they say, and that one more ends as if nothing had been."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from project_copy import ended, retrain, wait_for
from test_pipeline import runs, versions

from fewshot.project.paths import Home
from fewshot.system.files import sha256_file
from fewshot.tracking.store import Store
from flows.servers.ephemeral_prefect import free_port
from flows.servers.prefect_http import answers

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

MODEL = "glyphs-protonet"
SETTINGS = ["train.steps=40", "train.validate_every=20"]
"""A training that is long enough to lose a server in the midst of it."""
LIMIT_S = 200
"""By MLflow's own settings a single call tries for 244 s. Ours take 10 s; the rest is for a loaded machine's start."""


def start(home: Home, **variables: str) -> "subprocess.Popen[str]":
    return retrain(home, *SETTINGS, **variables)


def checkpoints(home: Home) -> list[Path]:
    return list((home.state / "training").glob("*/checkpoint-*"))


def weights(home: Home) -> Path:
    [file] = (home.state / "training").glob("*/model/weights.safetensors")
    return file


@contextmanager
def mlflow_server(home: Home, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server on the state's own database, killed at the end with its workers, if that was not done before."""
    places = ["--backend-store-uri", f"sqlite:///{home.mlflow / 'mlflow.db'}"]
    places += ["--artifacts-destination", str(home.mlflow / "artifacts")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *places],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.nightly
def test_what_was_trained_without_mlflow_is_registered_once_it_is_back(home: Home) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    said = f"error: MLflow at {address} does not answer; start that server, or unset MLFLOW_TRACKING_URI"

    began = time.monotonic()
    status, text = ended(start(home, MLFLOW_TRACKING_URI=address))
    assert status == 1
    assert said in text
    assert time.monotonic() - began < LIMIT_S

    with mlflow_server(home, port) as server:
        process = start(home, MLFLOW_TRACKING_URI=address)
        wait_for(lambda: checkpoints(home), process)
        kill(server)
        began = time.monotonic()
        status, text = ended(process)
    assert status == 1
    assert said in text
    assert time.monotonic() - began < LIMIT_S
    assert versions(home) == []
    kept = sha256_file(weights(home)), weights(home).stat().st_mtime_ns
    result = (weights(home).parents[1] / "result.json").read_bytes()

    with mlflow_server(home, port):
        status, text = ended(start(home, MLFLOW_TRACKING_URI=address))
    assert status == 0, text
    [version] = versions(home)
    assert version.tags["fewshot.weights_sha256"] == kept[0]
    assert (sha256_file(weights(home)), weights(home).stat().st_mtime_ns) == kept, "it was not trained again"
    assert (weights(home).parents[1] / "result.json").read_bytes() == result
    assert Store.open(home).aliases(MODEL, str(version.version)) == ["champion"]
    assert "RUNNING" not in {found.info.status for found in runs(home)}


@pytest.mark.nightly
def test_a_run_that_lost_prefect_is_marked_so_and_one_more_ends_alike(home: Home) -> None:
    # With fewer tries than usual, so that the test takes less time.
    process = start(home, PREFECT_API_URL="", PREFECT_CLIENT_MAX_RETRIES="1")
    wait_for(lambda: checkpoints(home), process)
    [server] = psutil.Process(process.pid).children()
    server.kill()
    status, text = ended(process)
    assert status == 1
    assert "\nerror: Prefect at http" in text
    assert "ERROR" not in text
    trained = weights(home).stat().st_mtime_ns

    status, text = ended(start(home, PREFECT_API_URL=""))
    assert status == 0, text
    assert weights(home).stat().st_mtime_ns == trained, "it was not trained again"
    [version] = versions(home)
    assert version.tags["fewshot.weights_sha256"] == sha256_file(weights(home))
    assert Store.open(home).aliases(MODEL, str(version.version)) == ["champion"]
    assert {found.info.status for found in runs(home)} <= {"FINISHED", "KILLED"}
    with closing(sqlite3.connect(home.prefect / "prefect.db")) as database:
        states = [state for (state,) in database.execute("SELECT state_type FROM flow_run")]
    assert sorted(states) == ["COMPLETED", "COMPLETED", "CRASHED", "CRASHED"]
