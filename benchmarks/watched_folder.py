"""Seconds of a retraining that finds nothing changed in a watched folder of many files.

python -m benchmarks.watched_folder                   # 100,000 files, some minutes in all
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.growth import copy_project
from fewshot.project.lineage import machine
from fewshot.system.files import write_json

OF_A_CLASS = 100
RESULTS = Path(__file__).parent / "results_watched_folder.json"
SETTINGS = ["train.steps=2", "train.validate_every=2", "evaluate.episodes=10", "gate.episodes=30"]


def main() -> None:
    """Make the files, retrain twice, and time a third retraining."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project, images = Path(folder, "project"), Path(folder, "images")
        copy_project(project)
        _make(images, chosen.files)
        _fewshot(project, "data", "add", "folder", str(images), "--side", "28", "--channels", "1")
        first = _retrain(project)
        seconds = [_retrain(project) for _ in range(3)]
    result = {"files": chosen.files, "first, s": first, "nothing changed, s": seconds, "machine": machine()}
    print(result)
    if chosen.write:
        write_json(RESULTS, {"command": "python -m benchmarks.watched_folder", **result})


def _make(folder: Path, number: int) -> None:
    random = np.random.default_rng(0)
    for name in range(number // OF_A_CLASS):
        place = folder / f"class {name:05}"
        place.mkdir(parents=True)
        pattern = random.integers(0, 200, (28, 28))
        for image in range(OF_A_CLASS):
            buffer = io.BytesIO()
            pixels = (pattern + random.integers(0, 50, (28, 28))).astype(np.uint8)
            Image.fromarray(pixels).save(buffer, "JPEG")
            (place / f"{image:03}.jpg").write_bytes(buffer.getvalue())


def _retrain(project: Path) -> float:
    began = time.perf_counter()
    _fewshot(project, "retrain", "folder-protonet", *(part for one in SETTINGS for part in ("--set", one)))
    return round(time.perf_counter() - began, 1)


def _fewshot(project: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=project, check=True)


if __name__ == "__main__":
    main()
