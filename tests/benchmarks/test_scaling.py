"""Memory does not grow with the dataset, and the benchmark that says so finds a law where there is one."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.data.batches import ImageBank
from fewshot.data.episode_sampler import ClassTable, EpisodeSampler
from fewshot.settings.episode_shape import EpisodeShape

ROOT = Path(__file__).parents[2]
SHAPE = EpisodeShape(20, 5, 5)
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")


def mapped(path: Path, number: int) -> np.ndarray:
    """Images of 28x28 pixels in a memory-mapped file, all black, so that the file takes no room on the disk."""
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(number, 1, 28, 28))
    return np.load(path, mmap_mode="r")


def source(images: int) -> EpisodeSampler:
    """Episodes of classes of 20 images, each turned once, so that every episode costs the same."""
    start = np.arange(0, images, 20)
    turned = np.ones(len(start), dtype=np.int8)
    return EpisodeSampler(ClassTable(start, np.full(len(start), 20), turned), SHAPE, 0, "test")


def own_memory() -> int:
    """Bytes of this process that belong to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def test_drawing_an_episode_allocates_as_much_from_a_large_dataset_as_from_a_small_one(tmp_path: Path) -> None:
    def peak(images: int) -> int:
        bank, drawing = ImageBank(mapped(tmp_path / str(images), images), torch.device("cpu")), source(images)
        bank.batch(drawing.sample(0))
        tracemalloc.start()
        for number in range(1, 6):
            bank.batch(drawing.sample(number))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(1000), peak(200_000)
    assert large == pytest.approx(small, rel=0.02)
    # The pixels of an episode three times (gathered, then those to be turned, then turned), and room for the drawing.
    assert large < 3 * 200 * 28 * 28 + 100_000


@linux
def test_images_of_a_mapped_file_are_not_copied(tmp_path: Path) -> None:
    images, before = mapped(tmp_path / "images.npy", 200_000), own_memory()
    bank, drawing = ImageBank(images, torch.device("cpu")), source(200_000)
    for number in range(50):
        bank.batch(drawing.sample(number))
    assert images.nbytes > 150e6
    assert own_memory() - before < 15e6


def test_a_law_is_found_and_what_grows_too_fast_is_a_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.scaling.curves import Cost
    from benchmarks.scaling.report import law_of

    sizes, wobble = [10, 100, 1000, 10_000] * 2, [1.02, 0.98, 1.01, 0.99, 0.97, 1.03, 1.0, 1.0]
    constant, growing = Cost("ms", "ms", at_most=0.1), [3 * s**0.5 * w for s, w in zip(sizes, wobble, strict=True)]
    law = law_of(constant, sizes, growing)
    assert law.slope == pytest.approx(0.5, abs=0.01)
    assert law.surprise
    law = law_of(constant, sizes, wobble)
    assert abs(law.slope) <= law.ci95 < 0.02
    assert not law.surprise
    copied = law_of(Cost("mb", "MB", "linear", 16, "MB per million", 1e6), sizes, [300 + 784e-6 * s for s in sizes])
    assert copied.slope == pytest.approx(784)
    assert copied.surprise


@linux
@pytest.mark.slow
def test_the_benchmark_measures_draws_and_prints_their_law() -> None:
    done = run("scaling", "--quick", "--only", "classes", "--threads", "1")
    assert "classes 3/3" in done.stderr
    assert "episode_ms: size^" in done.stdout
    assert "expected at most 0.1" in done.stdout


@linux
@pytest.mark.parametrize("curve", ["tasks", "way"])
def test_a_point_of_each_method_is_measured(curve: str, tmp_path: Path) -> None:
    conditions = json.dumps({"quick": True, "device": "cpu", "threads": 1})
    values = json.loads(run("point", "measure", curve, "2", str(tmp_path), conditions).stdout)
    assert values["step_ms"] > 0
    assert values["peak_mb"] > 0


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.scaling.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
