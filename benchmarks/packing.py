"""Images a second: packing small JPEG files, beside Pillow alone on as many cores, and the memory that it takes.

python -m benchmarks.packing                    # 10,000 and 100,000 images of 84x84, a few minutes
python -m benchmarks.packing --images 1000000 --side 32
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from fewshot.data.sources import open_source
from fewshot.data.sources.local import IMAGES, INDEX
from fewshot.data.stages.pack import pack
from fewshot.project.lineage import machine
from fewshot.settings.declarations import Declaration
from fewshot.system.files import sha256_file, write_json

SIDE = 84
"""Pixels of the JPEG files."""
OF_A_CLASS, DISTINCT = 100, 500
RESULTS = Path(__file__).parent / "results_packing.json"


def main() -> None:
    """Measure each number of images, print a line, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of a packed image")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_packed(chosen.one, chosen.side)))
        return
    found = [_measured(number, chosen.side) for number in chosen.images]
    if chosen.write:
        write_json(RESULTS, {"command": "python -m benchmarks.packing", "machine": machine(), "results": found})


def _measured(number: int, side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        _make(data / "photos" / "raw", number)
        alone = [_pillow_alone(data / "photos" / "raw" / IMAGES, number, side) for _ in range(2)]
        command = [sys.executable, "-m", "benchmarks.packing", "--one", str(data), "--side", str(side)]
        ours = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(2)
        ]
    best = min(ours, key=lambda one: float(one["seconds"]))
    result = {
        "images": number,
        "side": side,
        "ours, images/s": number / best["seconds"],
        "Pillow alone, images/s": number / min(alone),
        "share": min(alone) / best["seconds"],
        "peak memory, MB": best["peak MB"],
        "cores": len(os.sched_getaffinity(0)),
    }
    print({key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}, flush=True)
    return result


def _make(raw: Path, number: int) -> None:
    """An archive as the stage fetch leaves it."""
    raw.mkdir(parents=True)
    pictures, numbers = [], np.random.default_rng(0)
    for _ in range(min(DISTINCT, number)):
        noise = Image.fromarray(numbers.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        noise.filter(ImageFilter.GaussianBlur(1.5)).save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    classes: dict[str, dict[str, str]] = {}
    with zipfile.ZipFile(raw / IMAGES, "w", zipfile.ZIP_STORED) as archive:
        for place in range(number):
            name, file = f"class {place // OF_A_CLASS:06}", f"{place:07}.jpg"
            archive.writestr(zipfile.ZipInfo(f"{name}/{file}"), pictures[place % len(pictures)])
            classes.setdefault(name, {})[file] = ""
    write_json(raw / INDEX, {"classes": classes, "archive": sha256_file(raw / IMAGES)})


def _packed(data: Path, side: int) -> dict[str, float]:
    """Seconds of the stage pack, and the most memory that this process took."""
    options = {"side": side, "channels": 3}
    declaration = Declaration(source="fewshot/data/sources/local.py", path=".", options=options, splits=("test-only",))
    source = open_source("photos", declaration, Path.cwd())
    began = time.perf_counter()
    pack("photos", source, data)
    return {"seconds": time.perf_counter() - began, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def _pillow_alone(archive: Path, number: int, side: int) -> float:
    """Seconds to read and decode all files, each core a part of them, and to do nothing with the pixels."""
    cores = len(os.sched_getaffinity(0))
    parts = [(archive, side, place, cores) for place in range(cores)]
    with ProcessPoolExecutor(cores, get_context("forkserver")) as pool:
        list(pool.map(len, [()] * cores))  # the processes are there
        began = time.perf_counter()
        assert sum(pool.map(_decoded, parts)) == number
        return time.perf_counter() - began


def _decoded(part: tuple[Path, int, int, int]) -> int:
    archive, side, first, step = part
    with zipfile.ZipFile(archive) as members:
        names = members.namelist()[first::step]
        for name in names:
            image = Image.open(io.BytesIO(members.read(name))).convert("RGB")
            pixels = np.asarray(image if image.size == (side, side) else image.resize((side, side), 1))
            assert pixels.shape == (side, side, 3)
        return len(names)


if __name__ == "__main__":
    main()
