"""The pages of MLflow and Prefect, started together and stopped together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from fewshot.errors import PipelineError
from fewshot.files import write_bytes
from fewshot.home import Home
from flows.embedded import answers

HOST = "127.0.0.1"
START_LIMIT_S = 180
STOP_LIMIT_S = 15


@contextmanager
def both_servers(home: Home, mlflow_port: int, prefect_port: int) -> Iterator[Callable[[], str]]:
    """MLflow's page and Prefect's server while the block runs; gives a function that returns what ended, or "".

    The block is entered when both answer. Raises PipelineError if a port is taken or one does not start.
    """
    for name, port, option in (("MLflow", mlflow_port, "--mlflow-port"), ("Prefect", prefect_port, "--prefect-port")):
        _check_free(name, port, option)
    home.mlflow.mkdir(parents=True, exist_ok=True)
    home.prefect.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    note, api = home.prefect / "api-url", f"http://{HOST}:{prefect_port}/api"
    try:
        _upgrade(home)
        running["MLflow"] = _start(_mlflow_command(home, mlflow_port), home.mlflow / "server.log")
        # The lock that `fewshot run` holds while its own server brings a new database up to date.
        with FileLock(home.lock("prefect")):
            # The page asks this address; it would ask port 4200 whatever the server's own port is.
            variables = {"PREFECT_SERVER_UI_API_URL": api}
            running["Prefect"] = _start(_prefect_command(prefect_port), home.prefect / "server.log", variables)
            _wait("Prefect", running["Prefect"], f"{api}/health", home.prefect / "server.log")
        _wait("MLflow", running["MLflow"], f"http://{HOST}:{mlflow_port}/health", home.mlflow / "server.log")
        write_bytes(note, f"{api}\n".encode())
        yield lambda: next((name for name, process in running.items() if process.poll() is not None), "")
    finally:
        note.unlink(missing_ok=True)
        _stop(list(running.values()))


def _check_free(name: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        # A port whose last connections are still closing is free for a server, which sets the same option.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PipelineError(
                f"port {port} for {name} can't be used ({error.strerror}); choose another with {option}"
            ) from None


def _upgrade(home: Home) -> None:
    from fewshot.mlflow_store import connect

    connect(home)


def _mlflow_command(home: Home, port: int) -> list[str]:
    places = ["--backend-store-uri", home.tracking_uri, "--artifacts-destination", str(home.mlflow / "artifacts")]
    return [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *places]


def _prefect_command(port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def _start(command: list[str], log: Path, variables: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    with log.open("ab") as file:
        # A session of its own: Ctrl-C reaches this process alone, which then stops each server with all it started.
        return subprocess.Popen(
            command,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _wait(name: str, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PipelineError(f"{name} did not start; {log} says why")
        time.sleep(0.2)


def _stop(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """To the whole group: MLflow's server has a worker process, which a signal to its parent alone may leave behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
