"""The cost of drawing episodes from packs of many sizes. All images are noise: only their number matters here."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.scaling.conditions import Conditions, Values, memory_mb
from fewshot.data.batches import ImageBank
from fewshot.data.episode_sampler import ClassTable, EpisodeSampler
from fewshot.data.pack import Item, open_pack, write_pack
from fewshot.data.splits import class_table
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.device import pick_device, prepare_cpu

SHAPE = EpisodeShape(20, 5, 5)
CLASSES = 1000
"""Of the packs that grow in images: a fixed number, so that only the images grow."""
EPISODES, EPISODES_QUICK = 1000, 200
_WARM_UP = 20


def write_synthetic_pack(images: int, folder: Path) -> None:
    """A pack of `images` images of 28x28 pixels on disk."""
    write_pack(folder / str(images), _noise(images))


def measure_images(images: int, conditions: Conditions, folder: Path) -> Values:
    """Open a pack of that many images, then draw and gather episodes."""
    prepare_cpu(conditions.threads)
    device = pick_device(conditions.device)
    began = time.perf_counter()
    pack = open_pack(folder / str(images))
    open_s = time.perf_counter() - began
    bank = ImageBank(pack.images, device)
    source = EpisodeSampler(class_table(pack.classes, [c.name for c in pack.classes]), SHAPE, 0, "scaling")
    # To the host, because an accelerator only notes what it is asked to do.
    episode_ms = _median_ms(lambda number: bank.batch(source.sample(number)).query[0, 0, 0, 0, 0, 0].item(), conditions)
    return {
        "episode_ms": episode_ms,
        "anonymous_mb": memory_mb("RssAnon"),
        "resident_mb": memory_mb("VmRSS"),
        "open_s": open_s,
    }


def measure_classes(classes: int, conditions: Conditions, folder: Path) -> Values:
    """Draw episodes from a table of that many classes."""
    count = np.full(classes, 20, dtype=np.int64)
    source = EpisodeSampler(ClassTable(count.cumsum() - count, count, np.zeros(classes, np.int8)), SHAPE, 0, "scaling")
    return {"episode_ms": _median_ms(source.sample, conditions)}


def _median_ms(work: Callable[[int], object], conditions: Conditions) -> float:
    """Milliseconds of `work(number)`, the median over the numbers of many episodes."""
    times = []
    for number in range(_WARM_UP + (EPISODES_QUICK if conditions.quick else EPISODES)):
        began = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - began)
    return 1e3 * median(times[_WARM_UP:])


def _noise(images: int) -> Iterator[Item]:
    numbers = np.random.default_rng(0)
    for number in range(images):
        image = numbers.integers(0, 256, (1, 28, 28), dtype=np.uint8)
        yield f"class{number % CLASSES:04}", "noise", f"{number:07}", image
