"""The cost of a training step, through the code that `fewshot run` trains with."""

import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.scaling.conditions import Conditions, Values, memory_mb
from fewshot.data.batches import ImageBank
from fewshot.data.episode_sampler import ClassTable, EpisodeSampler
from fewshot.methods.build import build_method
from fewshot.settings.presets import load_settings
from fewshot.system.device import Compute, prepare_cpu
from fewshot.training.outer_step import OuterStep

_CLASSES, _IMAGES_OF_CLASS = 200, 20
_WARM_UP, _STEPS = 2, 5


def measure_tasks(tasks: int, conditions: Conditions, folder: Path) -> Values:
    """A MAML step of that many tasks."""
    return _measure("omniglot-maml-5w1s", ["train.episode=5w1s1q", f"train.tasks={tasks}"], conditions)


def measure_inner_steps(inner_steps: int, conditions: Conditions, folder: Path) -> Values:
    """A MAML step of 8 tasks with that many inner steps."""
    changes = ["train.episode=5w1s1q", "train.tasks=8", f"method.inner_steps={inner_steps}"]
    return _measure("omniglot-maml-5w1s", changes, conditions)


def measure_way(way: int, conditions: Conditions, folder: Path) -> Values:
    """A ProtoNet step of one episode of that many classes."""
    return _measure("omniglot-protonet-5w1s", [f"train.episode={way}w1s5q", "train.tasks=1"], conditions)


def _measure(preset: str, changes: list[str], conditions: Conditions) -> Values:
    """Draw, gather and learn from one batch after the other, as meta-training does."""
    settings = load_settings(preset, changes)
    train = settings.train
    compute = Compute.pick(conditions.device, train.precision, conditions.threads)
    prepare_cpu(compute.threads)
    images = np.random.default_rng(0).integers(0, 256, (_CLASSES * _IMAGES_OF_CLASS, 1, 28, 28), dtype=np.uint8)
    start = np.arange(0, len(images), _IMAGES_OF_CLASS)
    table = ClassTable(start, np.full(_CLASSES, _IMAGES_OF_CLASS), np.zeros(_CLASSES, np.int8))
    bank, source = ImageBank(images, compute.device), EpisodeSampler(table, train.episode, settings.seed, "scaling")
    method = build_method(settings, bank.image_shape).to(compute.device)
    learn = OuterStep(method, train, compute)
    before, times = memory_mb("VmRSS"), []
    for step in range(_WARM_UP + _STEPS):
        began = time.perf_counter()
        done = learn(bank.batch(source.sample(step * train.tasks, train.tasks)), train.learning_rate)
        done.loss.item()  # waits for an accelerator
        times.append(time.perf_counter() - began)
    step_ms = 1e3 * median(times[_WARM_UP:])
    images_of_step = train.tasks * train.episode.way * (train.episode.shot + train.episode.query)
    return {
        "step_ms": step_ms,
        "task_ms": step_ms / train.tasks,
        "image_ms": step_ms / images_of_step,
        "peak_mb": memory_mb("VmHWM") - before,
    }
