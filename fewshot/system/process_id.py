"""The mark of a process as the owner of some work, and the answer to whether it still lives.

There are three answers. A mark from another machine, or from another container of this one, can't be looked up here: a
process that can't be asked is not one that is dead. What holds a lock file for as long as it lives can be asked from
every container that shares the folder.
"""

import atexit
import hashlib
import os
import socket
from contextlib import suppress
from enum import Enum
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux says which boot this is: ticks of another one mean nothing."""
_NAMESPACE = Path("/proc/self/ns/pid")
"""A link that names the space of numbers in which processes of this container are counted."""

_held: dict[Path, FileLock] = {}
"""The locks that this process holds until it ends."""


class Liveness(Enum):
    """The answer to whether a process still lives."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


def this_process(alive: Path | None = None) -> str:
    """The mark of this process; see `mark_of`. In the folder `alive` it holds a lock file until it ends."""
    mark = mark_of(os.getpid())
    if alive is not None and (file := _lock_file(mark, alive)) not in _held:
        with suppress(OSError):  # as on a full disk: other containers then can't know
            alive.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file)
            lock.acquire()
            _held[file] = lock
            atexit.register(file.unlink, missing_ok=True)
    return mark


def mark_of(pid: int) -> str:
    """host/pid/boot+ticks+namespace: numbers of processes are used again, so that the start tells them apart.

    Raises psutil.NoSuchProcess if there is none.
    """
    return f"{socket.gethostname()}/{pid}/{_start(pid)}"


def liveness(owner: str, alive: Path | None = None) -> Liveness:
    """The answer for the process of a mark. `alive` is the folder in which it may hold its lock file."""
    host, _, process = owner.partition("/")
    number, _, started = process.partition("/")
    if not (number.isdecimal() and started):
        return Liveness.UNKNOWN
    boot, _, counted = started.partition("+")
    here = host == socket.gethostname()
    if counted and boot != _boot():
        # Two machines may share a name, as containers do: one that holds its lock is no process of before the boot.
        if alive is not None and _is_held(_lock_file(owner, alive)):
            return Liveness.ALIVE
        return Liveness.DEAD if here else Liveness.UNKNOWN
    namespace = counted.partition("+")[2]  # not in the marks of earlier versions
    if namespace and namespace != _namespace():
        return _asked(_lock_file(owner, alive)) if alive is not None else Liveness.UNKNOWN
    if not (here or namespace):
        return Liveness.UNKNOWN
    try:
        now = _start(int(number))
        same = started in (now, *([now.rpartition("+")[0]] if counted and not namespace else []))
    except (psutil.NoSuchProcess, OverflowError):
        same = False
    return Liveness.ALIVE if same else Liveness.DEAD


def is_dead(owner: str, alive: Path | None = None) -> bool:
    """True only for a process that is sure to be gone."""
    return liveness(owner, alive) is Liveness.DEAD


def _start(pid: int) -> str:
    """When a process was started, as text to compare.

    In ticks since the boot where the system tells them. A time of day moves for all living processes when the clock is
    set, and they would be taken for dead.
    """
    try:
        # The name in brackets may hold anything, spaces and brackets too; the start is the 20th word after it.
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return f"{_boot()}+{ticks}+{_namespace()}"
    except (FileNotFoundError, ProcessLookupError):  # no such process, or a system without /proc
        return f"{psutil.Process(pid).create_time():.0f}"


def _boot() -> str:
    return _BOOT.read_text(encoding="utf-8").strip() if _BOOT.is_file() else ""


def _namespace() -> str:
    return os.readlink(_NAMESPACE).strip("pid:[]") if _NAMESPACE.is_symlink() else ""


def _lock_file(mark: str, alive: Path) -> Path:
    return alive / f"{hashlib.sha256(mark.encode()).hexdigest()[:24]}.lock"


def _asked(file: Path) -> Liveness:
    """The answer of a lock file: the kernel frees it when its holder ends, in whichever container that was."""
    if not file.is_file():
        return Liveness.UNKNOWN
    return Liveness.ALIVE if _is_held(file, is_left=False) else Liveness.DEAD


def _is_held(file: Path, is_left: bool = True) -> bool:
    """True if a process holds the lock; a file that nobody holds is deleted, or left."""
    if not file.is_file():
        return False
    try:
        with FileLock(file, timeout=0):
            if not is_left:
                file.unlink(missing_ok=True)
            return False
    except Timeout:
        return True
