"""Whose work it is: which process, and whether it still lives. What a killed process left can so be told and freed."""

import os
import socket
from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux says which boot this is: ticks of another one mean nothing."""


def this_process() -> str:
    """The owner's mark of this process; see `mark_of`."""
    return mark_of(os.getpid())


def mark_of(pid: int) -> str:
    """host/pid/start: numbers of processes are used again, so that the start tells them apart.

    Raises psutil.NoSuchProcess if there is none.
    """
    return f"{socket.gethostname()}/{pid}/{_start(pid)}"


def is_dead(owner: str) -> bool:
    """Whether a process is sure to be gone: it was on this machine, and its number is free or used by another."""
    host, _, process = owner.partition("/")
    number, _, started = process.partition("/")
    if host != socket.gethostname() or not (number.isdigit() and started):
        return False
    try:
        return _start(int(number)) != started
    except psutil.NoSuchProcess:
        return True


def _start(pid: int) -> str:
    """When a process was started, as text to compare.

    In ticks since the boot where the system tells them. A time of day moves for all living processes when the clock is
    set, and they would be taken for dead.
    """
    try:
        # The name in brackets may hold anything, spaces and brackets too; the start is the 20th word after it.
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return f"{_BOOT.read_text(encoding='utf-8').strip()}+{ticks}"
    except (FileNotFoundError, ProcessLookupError):  # no such process, or a system without /proc
        return f"{psutil.Process(pid).create_time():.0f}"
