"""`fewshot ui` and `fewshot up`: servers, workers, schedules, restarts, ends."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from mlflow import MlflowClient
from project_copy import TINY, command, run_tiny, wait_for

from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from fewshot.project.tool_environment import environment
from fewshot.tracking.store import Store
from flows.servers.ephemeral_prefect import free_port, stop
from flows.servers.prefect_http import answers, ask
from flows.summary import in_words, percent

# Of what the tests before left for the garbage collector; the servers are processes of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TARGET = "pipeline/manual"


def test_results_are_said_as_people_say_them() -> None:
    assert in_words("omniglot/5w1s") == "omniglot, 5-way 1-shot"
    assert in_words("glyphs/5w1s4q") == "glyphs, 5-way 1-shot, 4 queries"
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
        # The page asks the server that it is from, by whichever name it was opened and through whichever tunnel.
        assert httpx.get(f"http://127.0.0.1:{prefect}/ui-settings", timeout=20).json()["api_url"] == "/api"
        artifacts_travel(f"http://127.0.0.1:{mlflow}")
        assert strangers_let_in(own_home, mlflow, prefect) == []
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
    # The key is in its own file, for its owner to read, and in nothing else that was written.
    key = own_home.prefect / "api-key"
    assert key.stat().st_mode & 0o077 == 0
    secret = server_key(own_home).partition(":")[2].encode()
    assert [file for file in own_home.state.rglob("*") if file.is_file() and secret in file.read_bytes()] == [key]
    assert secret.decode() not in out + err
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
    own = environment(home, {"PATH": os.environ["PATH"]})
    environ = {**os.environ, **own, "PREFECT_API_URL": url, "PYTHONPATH": ""}
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
        _wait_for_pool(url, environ["PREFECT_API_AUTH_STRING"])
        tell("--no-prompt", "deploy", "--all")
        overrides = "[" + ", ".join(f'"{setting}"' for setting in TINY) + "]"
        tell("deployment", "run", TARGET, "--param", f"overrides={overrides}", "--watch")
    finally:
        stop(worker)  # Prefect's worker was seen to miss the signal, and is then killed, as `fewshot up` does it
    assert "register           ran" in log.read_text()


def strangers_let_in(home: Home, mlflow: int, prefect: int) -> list[str]:
    """Requests as pages of other origins, other programs and names send them; those that were not refused."""
    key = server_key(home)
    own = {"Authorization": "Basic " + base64.b64encode(key.encode()).decode()}
    places = {
        f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/experiments/create": {},
        f"http://127.0.0.1:{prefect}/api/variables/": own,
    }
    hostile: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8000"},  # a page on another port of this machine
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "10.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.168.1.5"},
        {"Host": "10.evil.example", "Origin": "http://10.evil.example"},
    ]
    let_in = []
    with httpx.Client(trust_env=False, timeout=20) as client:
        for place, known in places.items():
            for number, headers in enumerate(hostile):
                for kind in ("application/json", "text/plain"):
                    body = json.dumps({"name": f"stranger_{number}", "value": "x"})
                    answer = client.post(place, content=body, headers={"Content-Type": kind, **known, **headers})
                    if answer.status_code not in (400, 403) or "access-control-allow-origin" in answer.headers:
                        let_in.append(f"{place} {headers} {kind}: {answer.status_code} {answer.text}")
            asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            preflight = client.options(place, headers={"Origin": "https://evil.example", **asked})
            if preflight.headers.get("access-control-allow-origin"):
                let_in.append(f"{place} preflight: {preflight.headers}")
        for name in ("127.0.0.1", "localhost"):  # the page is used by both names; what it asks is its own origin
            for port in (mlflow, prefect):
                page = client.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{name}:{port}"})
                if not page.is_success or page.headers["x-frame-options"] != "SAMEORIGIN":
                    let_in.append(f"own page {name}:{port}: {page.status_code} {page.headers}")
        # Without Origin: what has no key reads and writes nothing; what has it writes only with a token.
        api = f"http://127.0.0.1:{prefect}/api"
        if (without := client.post(f"{api}/flows/filter", json={})).status_code not in (401, 403):
            let_in.append(f"no key: {without.status_code}")
        if (untokened := client.post(f"{api}/variables/", json={"name": "a", "value": 1}, headers=own)).is_success:
            let_in.append(f"no token: {untokened.status_code}")
        if (port := client.get(f"{api}/flows/count", headers={**own, "Sec-Fetch-Site": "same-site"})).is_success:
            let_in.append(f"a page of another port: {port.status_code}")
        if ask(api, key, "/flows/filter", {}) is None:
            let_in.append("our own question was refused")
    return let_in


def artifacts_travel(address: str) -> None:
    """An artifact that is given to the server comes back, and lies where the server keeps them."""
    client = MlflowClient(address, address)
    run = client.create_run(client.create_experiment("artifacts travel"))
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    client.log_text(run.info.run_id, "text", "file.txt")
    assert [found.path for found in client.list_artifacts(run.info.run_id)] == ["file.txt"]
    client.set_terminated(run.info.run_id)


def _wait_for_pool(url: str, key: str, limit_s: float = 100) -> None:
    """Until the worker has made its work pool."""
    deadline = time.monotonic() + limit_s
    while not answers(f"{url}/work_pools/local", key):
        assert time.monotonic() < deadline
        time.sleep(0.3)
