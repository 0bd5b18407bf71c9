"""A folder of images of 60 classes, for tests that watch one."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from project_copy import command, ended

from fewshot.project.paths import Home

OPTIONS = ("--side", "16", "--channels", "1", "--splits", "hash", "--replace")


def draw(folder: Path, name: str, images: range) -> None:
    """Images of one class: a pattern of its own, each with other noise."""
    seed = zlib.crc32(name.encode())  # no two names share one
    pattern = np.random.default_rng(seed).integers(0, 200, (16, 16))
    (folder / name).mkdir(parents=True, exist_ok=True)
    for image in images:
        noise = np.random.default_rng([seed, image]).integers(0, 50, (16, 16))
        Image.fromarray((pattern + noise).astype(np.uint8)).save(folder / name / f"{image}.png")


def watch(home: Home, folder: Path) -> str:
    """Draw 60 classes of 6 images and declare the folder as a dataset; what the command said."""
    for number in range(60):
        draw(folder, f"group {number % 3}/class {number:02}", range(6))
    status, text = ended(command(home, "data", "add", "folder", str(folder), *OPTIONS))
    assert status == 0, text
    return text
