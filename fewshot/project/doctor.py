"""Is this machine and installation sound? Each finding says what was found and, if it is broken, what to do."""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from fewshot.errors import FewshotError
from fewshot.project.paths import find_home

LEAST_DISK_GB = 2.0
"""MLflow, Prefect, the packs and some trainings; the datasets that come with the package need less."""
BROKEN_FROM = {
    "fastapi": ((0, 151), "Prefect 3.8 passes it an argument that it no longer takes, and every flow dies at import"),
    "sqlalchemy": ((2, 1), "Prefect 3.8's scheduler fails on it, and planned runs are never created"),
}
"""Versions from which on a package breaks the others, although pip calls the installation sound."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    ok: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything that a run needs."""
    findings = [_python(), _machine(), _gpu(), _torch_pair()]
    findings += [_package(name) for name in ("prefect", "mlflow", "dvc")]
    findings += [_known_bad(name) for name in BROKEN_FROM]
    return findings + _folders()


def known_bad(name: str, installed: str) -> str | None:
    """What is wrong with an installed version, if it is one that breaks the others."""
    limit, reason = BROKEN_FROM[name]
    parts = tuple(int(part) for part in installed.split(".")[:2] if part.isdigit())
    if parts < limit:
        return None
    least = ".".join(map(str, limit))
    return f"{installed}: {reason}; pip install '{name}<{least}'"


def torch_pair(torch: str, torchvision: str) -> str | None:
    """What is wrong with a pair of versions: torch 2.N belongs to torchvision 0.(N + 15)."""
    minor, expected = torch.split(".")[:2], torchvision.split(".")[:2]
    if minor[0] == "2" and expected == ["0", str(int(minor[1]) + 15)]:
        return None
    return f"torch {torch} and torchvision {torchvision} are no pair; install both from requirements.lock"


def _python() -> Finding:
    new_enough = sys.version_info >= (3, 11)
    text = f"{sys.version.split()[0]} at {sys.executable}"
    return Finding("Python", new_enough, text if new_enough else f"{text}; 3.11 or newer is needed")


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    text = f"{cores} cores, {memory.total / 1e9:.1f} GB memory, {memory.available / 1e9:.1f} GB of it free"
    return Finding("machine", True, text)


def _gpu() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("torch", False, f"can't be imported ({error}); install from requirements.lock")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
        return Finding("GPU", True, ", ".join(names))
    return Finding("GPU", True, "Apple MPS" if torch.backends.mps.is_available() else "none; the CPU is used")


def _torch_pair() -> Finding:
    torch, torchvision = _installed("torch"), _installed("torchvision")
    if torch is None or torchvision is None:
        return Finding("torch", False, "torch or torchvision is not installed; install from requirements.lock")
    wrong = torch_pair(torch, torchvision)
    return Finding("torch", wrong is None, wrong or f"{torch} with torchvision {torchvision}")


def _package(name: str) -> Finding:
    found = _installed(name)
    return Finding(name, found is not None, found or "not installed; install from requirements.lock")


def _known_bad(name: str) -> Finding:
    found = _installed(name)
    wrong = known_bad(name, found) if found else "not installed; install from requirements.lock"
    return Finding(name, wrong is None, wrong or str(found))


def _folders() -> list[Finding]:
    try:
        home = find_home()
    except FewshotError as error:
        return [Finding("project", False, str(error))]
    findings = [Finding("project", True, str(home.project)), _writable(home.state)]
    place = next(folder for folder in (home.state, *home.state.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    enough = free >= LEAST_DISK_GB
    text = f"{free:.1f} GB free at {place}" + ("" if enough else f"; {LEAST_DISK_GB:.0f} GB are needed")
    return [*findings, Finding("disk", enough, text)]


def _writable(folder: Path) -> Finding:
    probe = folder / f".doctor.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding("state folder", False, f"{folder} can't be written ({error.strerror}); set FEWSHOT_HOME")
    return Finding("state folder", True, str(folder))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
