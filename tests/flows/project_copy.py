"""Copies of the project to run and to change, and the command line started in them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home

TINY = [
    "train.steps=4",
    "train.episode=5w1s5q",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.validation_episodes=4",
    "evaluate.episodes=4",
    "evaluate.also=[]",
    "device=cpu",
    "threads=1",  # two threads that wait for each other on a busy machine are 20 times slower
]
"""Settings under which a run takes seconds."""

FILES = ("dvc.yaml", "dvc.lock", "data/datasets.yaml", "prefect.yaml", "requirements.lock", ".dvc/config")


def copy_project(target: Path) -> None:
    """What git holds of the project that a run needs, and the glyphs if they were prepared here."""
    for name in ("fewshot", "flows"):
        shutil.copytree(SOURCES / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCES / name, target / name)
    # Linked, not copied: DVC and the library replace files, they never write into one.
    for name in ("data/glyphs", ".dvc/cache"):
        if (SOURCES / name).is_dir():
            shutil.copytree(SOURCES / name, target / name, copy_function=link)


def link(source: str, target: str) -> None:
    """A second name for a file, or a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def command(home: Home, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    """Start the `fewshot` command of a project's own copy of the code; an empty variable is taken out."""
    return python(home, "-m", "flows.cli", *arguments, **variables)


def python(home: Home, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    """Start Python with a project's own copy of the code; an empty variable is taken out."""
    environ = {**os.environ, "PYTHONPATH": str(home.project), **variables}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=home.project,
        env={name: value for name, value in environ.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_tiny(home: Home, *overrides: str, **variables: str) -> "subprocess.Popen[str]":
    """Start `fewshot run` with tiny settings."""
    settings = [part for setting in (*TINY, *overrides) for part in ("--set", setting)]
    return command(home, "run", *settings, **variables)


def retrain(home: Home, *overrides: str, **variables: str) -> "subprocess.Popen[str]":
    """Start `fewshot retrain` with tiny settings."""
    settings = [part for setting in (*TINY, "gate.episodes=30", *overrides) for part in ("--set", setting)]
    return command(home, "retrain", *settings, **variables)


def ended(process: "subprocess.Popen[str]", limit_s: float = 300) -> tuple[int, str]:
    """Its exit status and all that it wrote; what no command may end with is a traceback."""
    out, err = process.communicate(timeout=limit_s)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out + err


def wait_for(there: Callable[[], Any], process: "subprocess.Popen[str]", limit_s: float = 180) -> None:
    """Until `there()` is true; fails if the process ends before."""
    deadline = time.monotonic() + limit_s
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
