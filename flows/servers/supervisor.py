"""What a machine needs that serves and retrains: servers and a worker under one supervisor.

Each part is a process of its own. It is started and waited for, started again when it dies, and stopped with all that
it started. Parts that a killed supervisor left behind are ended by the next one.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from fewshot.errors import PipelineError
from fewshot.project.paths import Home
from fewshot.system.files import read_json, write_bytes, write_json
from fewshot.system.process_id import is_dead, mark_of
from flows.servers.ephemeral_prefect import answers

HOST = "127.0.0.1"
START_LIMIT_S = 180
STOP_LIMIT_S = 15
WATCH_S = 1.0
RESTARTS, WITHIN_S = 5, 600.0
"""A part that dies more often than so many times within so many seconds is given up."""


@dataclass
class Part:
    """One process of the supervisor's."""

    name: str
    command: list[str]
    log: Path
    health: str
    """Address that answers once the part is ready."""
    variables: Mapping[str, str] = field(default_factory=dict)
    lock: Path | None = None
    """Held while the part starts."""


class Supervisor:
    """Starts parts in order, watches them, stops them all."""

    def __init__(self, note: Path) -> None:
        """`note` is a file that keeps which processes are ours; those that an earlier one left behind are ended."""
        self._note = note
        self._parts: list[Part] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: dict[str, deque[float]] = {}
        self._seen: dict[int, psutil.Process] = {}  # what a part started lives on when the part is killed
        _end_left_behind(note)

    def start(self, part: Part) -> None:
        """Start a part and wait until it answers; PipelineError if it does not."""
        self._parts.append(part)
        self._start(part)

    def watch(self, seconds: float, remark: Callable[[str], None]) -> None:
        """Look after the parts for a while. PipelineError when one dies again and again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for part in self._parts:
                self._seen |= {child.pid: child for child in _family(self._running[part.name].pid)}
                if self._running[part.name].poll() is not None:
                    self._again(part, remark)
            self._seen = {pid: process for pid, process in self._seen.items() if _lives(process)}
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """End all parts, the last one first, and whatever they started."""
        for part in reversed(self._parts):
            if part.name in self._running:
                _stop(self._running.pop(part.name))
        _end(list(self._seen.values()))
        self._note.unlink(missing_ok=True)

    def _again(self, part: Part, remark: Callable[[str], None]) -> None:
        now, deaths = time.monotonic(), self._deaths.setdefault(part.name, deque(maxlen=RESTARTS + 1))
        deaths.append(now)
        if len(deaths) > RESTARTS and now - deaths[0] < WITHIN_S:
            often = f"{len(deaths)} times in {now - deaths[0]:.0f} s"
            raise PipelineError(f"{part.name} ended {often}; {part.log} says why")
        _stop(self._running[part.name])  # what it started may have outlived it
        remark(f"{part.name} ended by itself and is started again; {part.log} says why")
        self._start(part)

    def _start(self, part: Part) -> None:
        part.log.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(part.lock) if part.lock else nullcontext():
            process = self._running[part.name] = _spawn(part)
            write_json(self._note, {"processes": [mark_of(running.pid) for running in self._running.values()]})
            _wait(part, process)


@contextmanager
def both_servers(home: Home, mlflow_port: int, prefect_port: int) -> Iterator[Supervisor]:
    """MLflow's page and Prefect's server while the block runs, under a supervisor that can take further parts.

    The block is entered when both answer. Raises PipelineError if a port is taken or one does not start.
    """
    from fewshot.tracking.store import Store

    taken = (("MLflow", mlflow_port, "--mlflow-port"), ("Prefect", prefect_port, "--prefect-port"))
    api = api_address(prefect_port)
    python = [sys.executable, "-m"]
    places = ["--backend-store-uri", home.tracking_uri, "--artifacts-destination", str(home.mlflow / "artifacts")]
    mlflow = ["mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1", *places]
    prefect = ["prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)]
    note, ours = home.prefect / "api-url", FileLock(home.file_lock("supervisor"))
    try:
        ours.acquire(timeout=0)
    except Timeout:
        raise PipelineError("fewshot ui or fewshot up is running in this project already; stop it first") from None
    supervisor = Supervisor(home.state / "supervised.json")
    try:
        for name, port, option in taken:
            _check_free(name, port, option)
        Store.open(home).connect()  # a new database is made by one process
        supervisor.start(
            Part("MLflow", [*python, *mlflow], home.mlflow / "server.log", f"http://{HOST}:{mlflow_port}/health")
        )
        supervisor.start(
            Part(
                "Prefect",
                [*python, *prefect],
                home.prefect / "server.log",
                f"{api}/health",
                # The page asks this address; it would ask port 4200 whatever the server's own port is.
                {"PREFECT_SERVER_UI_API_URL": api},
                # The lock that `fewshot run` holds while its own server brings a new database up to date.
                home.file_lock("prefect"),
            )
        )
        write_bytes(note, f"{api}\n".encode())
        yield supervisor
    finally:
        note.unlink(missing_ok=True)
        supervisor.stop()
        ours.release()


def api_address(port: int) -> str:
    """Of Prefect's server on a port of this machine."""
    return f"http://{HOST}:{port}/api"


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


def _spawn(part: Part) -> "subprocess.Popen[bytes]":
    with part.log.open("ab") as file:
        # A session of its own: Ctrl-C reaches this process alone, which then stops each part with all it started.
        return subprocess.Popen(
            part.command,
            env={**os.environ, **part.variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _wait(part: Part, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(part.health):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PipelineError(f"{part.name} did not start; {part.log} says why")
        time.sleep(0.2)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """MLflow's server has a worker process, Prefect's worker the flows it runs: they end with it."""
    family = _family(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    _end(family)
    process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end(processes: list[psutil.Process]) -> None:
    """Ask processes to end, and end those that do not in time."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + STOP_LIMIT_S
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in filter(_lives, processes):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _lives(process: psutil.Process) -> bool:
    """Whether a process still does something; one that ended may wait for a parent that never asks."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end_left_behind(note: Path) -> None:
    if not note.is_file():
        return
    for owner in read_json(note, "delete it")["processes"]:
        if not is_dead(owner):
            _end(_family(int(owner.split("/")[1])))
    note.unlink(missing_ok=True)
