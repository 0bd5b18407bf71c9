"""Growth of a project's state: bytes of one retraining by kind, and a year of nights with and without cleaning.

    python -m benchmarks.growth [--nights 365] [--keep-days 30] [--new-data-every 14] [--out FILE]

A copy of the project in a temporary folder watches a folder of 60 classes of small images. Each night it is retrained
with another seed, so that there is always something to do; every so many nights an image is added first. Then all that
was written becomes a day older: files, model versions, flow runs. The first nights, which nothing is removed in, say
what a night costs; after them `clean.keep_days` is set. Trainings are of a few steps: what is written is of the size
of a long one's, but for the curve, and for the answers to each episode, which grow with `evaluate.episodes`.
"""

import argparse
import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home
from fewshot.project.tool_environment import prepare_environment

PRESET, MODEL = "folder-protonet", "folder-protonet"
SETTINGS = (
    "train.steps=4", "train.validate_every=2", "train.checkpoint_every=2", "train.validation_episodes=4",
    "evaluate.episodes=60", "gate.episodes=30", "device=cpu", "threads=1",
)  # fmt: skip
FILES = ("dvc.yaml", "dvc.lock", "data/datasets.yaml", "prefect.yaml", "requirements.lock", ".dvc/config")
UNCLEANED, DAY_S, CLASSES = 10, 86_400, 60
AGED = {
    "mlflow": (
        ("model_versions", "creation_time = creation_time - 86400000"),
        ("logged_models", "creation_timestamp_ms = creation_timestamp_ms - 86400000"),
    ),
    "prefect": tuple(
        (table, f"{column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '-1 day')")
        for table, column in (("flow_run", "end_time"), ("events", "occurred"), ("event_resources", "occurred"))
    ),
}
"""Times in the two databases, in their own units."""


def main() -> None:
    """Live through the nights, print and write what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--keep-days", type=int, default=30)
    parser.add_argument("--new-data-every", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results_growth.json")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        project = Path(folder, "project")
        copy_project(project)
        home = Home(project, project / ".fewshot")
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "FEWSHOT_HOME"):
            os.environ.pop(name, None)
        os.environ["FEWSHOT_PROJECT"] = str(project)
        prepare_environment(home)
        nights = _nights(home, options.nights, options.keep_days, options.new_data_every)
        left = _what_is_left(home)
    found = _summary(nights, options.new_data_every) | left
    found["command"] = (
        f"python -m benchmarks.growth --nights {options.nights} --keep-days {options.keep_days} "
        f"--new-data-every {options.new_data_every}"
    )
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def copy_project(project: Path) -> None:
    """Copy what a run of the project needs."""
    for name in ("fewshot", "flows"):
        shutil.copytree(SOURCES / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCES / name, project / name)


def _draw(folder: Path, images: int) -> None:
    """Images of each class: a pattern of its own, with noise. Those that are there stay."""
    for number in range(CLASSES):
        place = folder / f"class {number:02}"
        place.mkdir(parents=True, exist_ok=True)
        for image in range(images):
            if not (file := place / f"{image}.png").exists():
                pattern = np.random.default_rng(number).integers(0, 200, (28, 28))
                noise = np.random.default_rng([number, image]).integers(0, 50, (28, 28))
                Image.fromarray((pattern + noise).astype(np.uint8)).save(file)


def _nights(home: Home, number: int, keep_days: int, new_data_every: int) -> list[dict[str, int]]:
    """Bytes by kind after each night."""
    from flows import steps
    from flows.cleaning.state_folder import sizes
    from flows.dvc import adding
    from flows.servers.ephemeral_prefect import prefect_api

    images, after, began = home.project.parent / "images", [], time.monotonic()
    _draw(images, 6)
    adding.add(home, "folder", images, {"side": 28, "channels": 1}, ("hash",))
    steps.show(steps.ReportHandler(100))  # no lines
    with prefect_api(home) as ready:
        from flows.retrain import retrain

        ready()
        for night in range(number):
            if night and night % new_data_every == 0:
                _draw(images, 6 + night // new_data_every)
            kept = keep_days if night >= UNCLEANED else 0
            retrain(PRESET, [*SETTINGS, f"seed={night}", f"clean.keep_days={kept}"])
            _age(home)
            after.append(sizes(home))
            if night % 10 == 9:
                spent = time.monotonic() - began
                print(f"night {night + 1}: {sum(after[-1].values()) / 1e6:.1f} MB, {spent:.0f} s", flush=True)
    return after


def _age(home: Home) -> None:
    """Let a day pass."""
    for folder in (home.state, home.project / ".dvc" / "cache"):
        for path in folder.rglob("*"):
            if path.suffix not in (".db", ".db-wal", ".db-shm") and path.exists():
                seen = path.stat()
                os.utime(path, (seen.st_atime - DAY_S, seen.st_mtime - DAY_S))
    for name, columns in AGED.items():
        with closing(sqlite3.connect(home.state / name / f"{name}.db", timeout=60)) as opened:
            for table, change in columns:
                with opened:
                    opened.execute(f"UPDATE {table} SET {change}")


def _what_is_left(home: Home) -> dict[str, Any]:
    """That all versions are told of, and that those that something leads to are whole."""
    from fewshot.tracking.artifact import is_whole
    from fewshot.tracking.store import Store
    from fewshot.tracking.versions import CLEANED, list_versions

    store = Store.open(home)
    versions = list_versions(store, MODEL)
    named = [version for version in versions if version.aliases]
    assert all(is_whole(store, MODEL, version.number) for version in named)
    whole = sum(CLEANED not in version.tags for version in versions)
    return {"versions": len(versions), "versions with files": whole, "aliases whole": len(named)}


def _summary(nights: list[dict[str, int]], new_data_every: int) -> dict[str, Any]:
    kinds = list(nights[0])
    first = range(1, min(UNCLEANED, len(nights)))
    cost = {kind: mean(nights[one][kind] - nights[one - 1][kind] for one in first) for kind in kinds}
    data = [nights[one]["DVC's cache"] - nights[one - 1]["DVC's cache"] for one in range(1, len(nights))]
    of_data = max(data)
    uncleaned = {kind: nights[0][kind] + 365 * each for kind, each in cost.items()}
    uncleaned["DVC's cache"] += 365 // new_data_every * of_data
    return {
        "bytes of one retraining": {kind: round(each) for kind, each in cost.items()},
        "bytes of one new version of the data": of_data,
        "bytes after a year without cleaning": {kind: round(each) for kind, each in uncleaned.items()},
        "bytes after the simulated nights": nights[-1],
        "together": {str(one + 1): sum(nights[one].values()) for one in range(9, len(nights), 10)},
    }


if __name__ == "__main__":
    main()
