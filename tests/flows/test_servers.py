"""`fewshot ui` and `fewshot up`: servers, workers, schedules, restarts, ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from project_copy import TINY, command, run_tiny, wait_for

from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment
from fewshot.tracking.store import Store
from flows.servers.ephemeral_prefect import answers, free_port, stop
from flows.summary import in_words, percent

# Of what the tests before left for the garbage collector; the servers are processes of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TARGET = "pipeline/manual"


def test_results_are_said_as_people_say_them() -> None:
    assert in_words("omniglot/5w1s") == "omniglot, 5-way 1-shot"
    assert in_words("digits/10w5s transductive") == "digits, 10-way 5-shot, transductive"
    assert percent({"accuracy": 0.95123, "ci95": 0.0031}) == "95.12 ± 0.31 %"


def lives(process: psutil.Process) -> bool:
    """Whether a process still does something; one that ended may wait for a parent that never asks."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_ui_serves_both_pages_a_worker_runs_the_deployment_and_all_ends(own_home: Home, tmp_path: Path) -> None:
    mlflow, prefect = free_port(), free_port()
    ui = command(own_home, "ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect), PREFECT_API_URL="")
    note = own_home.prefect / "api-url"
    children: list[psutil.Process] = []
    try:
        wait_for(note.is_file, ui)
        children = psutil.Process(ui.pid).children(recursive=True)
        assert answers(f"http://127.0.0.1:{mlflow}/")
        assert answers(f"http://127.0.0.1:{prefect}/")
        assert f"127.0.0.1:{prefect}/api" in httpx.get(f"http://127.0.0.1:{prefect}/ui-settings", timeout=20).text
        _deploy_and_run(own_home, note.read_text().strip(), tmp_path / "worker.log")
        # The command finds the server that is there, and the results that the worker left.
        out, err = run_tiny(own_home, PREFECT_API_URL="").communicate(timeout=200)
        assert "everything was cached" in out, out + err
    finally:
        ui.send_signal(signal.SIGTERM)
        out, err = ui.communicate(timeout=60)
    assert ui.returncode == 0, out + err
    assert f"MLflow   http://127.0.0.1:{mlflow}" in out
    assert f"Prefect  http://127.0.0.1:{prefect}" in out
    assert "both servers are stopped" in err
    assert not note.exists()
    assert len(children) >= 2
    assert not [child for child in children if lives(child)]
    assert not answers(f"http://127.0.0.1:{prefect}/api/health")


@pytest.mark.slow
def test_up_retrains_on_its_schedule_and_starts_again_what_dies(own_home: Home) -> None:
    mlflow, prefect = free_port(), free_port()
    settings = [part for setting in (*TINY, "gate.episodes=30") for part in ("--set", setting)]
    ports = ["--mlflow-port", str(mlflow), "--prefect-port", str(prefect)]
    up = command(own_home, "up", *settings, "--cron", "* * * * *", *ports, PREFECT_API_URL="")
    children: list[psutil.Process] = []

    def examined() -> str:
        out, err = command(own_home, "up", "--check", PREFECT_API_URL="").communicate(timeout=60)
        return str(out) + str(err)

    try:
        wait_for(lambda: "retrain at" in examined(), up)
        text = examined()
        assert "broken" not in text
        assert "* * * * *" in text
        # The first minute's run makes the first version.
        wait_for(lambda: Store.open(own_home).aliases("glyphs-protonet", "1"), up, limit_s=300)
        assert Store.open(own_home).aliases("glyphs-protonet", "1") == ["champion"]

        children = psutil.Process(up.pid).children(recursive=True)
        [worker] = [child for child in children if "worker" in child.cmdline() and child.ppid() == up.pid]
        worker.kill()
        log = (own_home.prefect / "worker.log").read_text()
        wait_for(lambda: (own_home.prefect / "worker.log").read_text()[len(log) :].count("started!") == 1, up)
        second = command(own_home, "up", PREFECT_API_URL="")
        assert "is running in this project already" in second.communicate(timeout=60)[1]
    finally:
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate(timeout=90)
    assert up.returncode == 0, out + err
    assert "retrain glyphs-protonet-5w1s at * * * * * (UTC)" in out
    assert "worker ended by itself and is started again" in err
    assert len(children) >= 3
    assert not [child for child in children if lives(child)]
    assert "no server of this project answers" in examined()


def _deploy_and_run(home: Home, url: str, log: Path) -> None:
    """Deploy prefect.yaml, start a worker from another folder, trigger one run and wait until it is done."""
    environ = {**os.environ, **environment(home), "PREFECT_API_URL": url, "PYTHONPATH": ""}
    prefect = [sys.executable, "-m", "prefect"]

    def tell(*arguments: str) -> None:
        done = subprocess.run(
            [*prefect, *arguments], cwd=home.project, env=environ, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr

    with log.open("wb") as file:
        worker = subprocess.Popen(
            [*prefect, "worker", "start", "--pool", "local", "--type", "process"],
            cwd=log.parent,
            env=environ,
            stdout=file,
            stderr=file,
        )
    try:
        _wait_for_pool(url)
        tell("--no-prompt", "deploy", "--all")
        overrides = "[" + ", ".join(f'"{setting}"' for setting in TINY) + "]"
        tell("deployment", "run", TARGET, "--param", f"overrides={overrides}", "--watch")
    finally:
        stop(worker)  # Prefect's worker was seen to miss the signal, and is then killed, as `fewshot up` does it
    assert "register           ran" in log.read_text()


def _wait_for_pool(url: str, limit_s: float = 100) -> None:
    """Until the worker has made its work pool."""
    deadline = time.monotonic() + limit_s
    while not answers(f"{url}/work_pools/local"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
