"""A supervisor of servers and workers.

Each part is a process of its own. It is started and waited for, started again when it dies, and stopped with all that
it started. Parts that a killed supervisor left behind are ended by the next one.
"""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock

from fewshot.errors import DamagedFileError, PipelineError
from fewshot.system.files import read_json, write_json
from fewshot.system.process_id import Liveness, liveness, mark_of
from flows.servers.prefect_http import answers

START_LIMIT_S = 180
STOP_LIMIT_S = 15
WATCH_S = 1.0
RESTARTS, WITHIN_S = 5, 600.0
"""A part that dies more than RESTARTS times within WITHIN_S seconds is given up."""


@dataclass
class Part:
    """A process to supervise."""

    name: str
    command: list[str]
    log: Path
    health: str
    """Address that answers once the part is ready."""
    variables: Mapping[str, str] = field(default_factory=dict)
    lock: Path | None = None
    """Held while the part starts."""
    key: str = ""
    """The key that the address asks for."""


class Supervisor:
    """Starts parts in order, watches them and stops them all."""

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

    def restart(self, part: Part) -> None:
        """Start a part again that did not start before."""
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
    while not answers(part.health, part.key):
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
    """End the processes of the note that are ours and live. A number of another machine is a stranger's here."""
    try:
        owners = list(read_json(note, "delete it")["processes"])
    except (DamagedFileError, KeyError, TypeError):  # not there, or nothing that can be trusted
        owners = []
    for owner in owners:
        if isinstance(owner, str) and liveness(owner) is Liveness.ALIVE:
            _end(_family(int(owner.split("/")[1])))
    note.unlink(missing_ok=True)
