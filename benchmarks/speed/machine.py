"""Where the race is run, and whether anything else is running there."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.speed.cases import MODULES
from fewshot.system.progress import report_progress

QUIET = 0.5
"""Largest load average per core at which times can be believed."""
WAIT_S = 90
_PACKAGES = ("torch", "torchvision", "numpy", "fewshot", *MODULES)


def describe_machine() -> dict[str, object]:
    """The CPU's model, the cores this process may use, system."""
    return {"cpu": _cpu_model(), "cores": cores(), "system": f"{platform.system()} {platform.release()}"}


def describe_versions() -> dict[str, str]:
    """The versions of Python, of what computes and of the peers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_per_core() -> float:
    """The load average of the last minute for each core of the machine."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def wait_until_quiet() -> float:
    """Wait at most WAIT_S for what just ended (an installation, say) to leave the load average; returns the load."""
    began = time.monotonic()
    with report_progress("waiting for a quiet machine", WAIT_S) as reporter:
        while (load := load_per_core()) > QUIET and (waited := time.monotonic() - began) < WAIT_S:
            reporter(int(waited), f"load {load:.2f} per core")
            time.sleep(1)
    return load


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
