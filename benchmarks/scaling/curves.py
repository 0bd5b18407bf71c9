"""What is measured: for each curve what grows, over which sizes, and how fast its costs may grow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.scaling.conditions import Conditions, Values
from benchmarks.scaling.drawing import measure_classes, measure_images, write_synthetic_pack
from benchmarks.scaling.training import measure_inner_steps, measure_tasks, measure_way


@dataclass(frozen=True)
class Cost:
    """One number that is measured at each size, and the law that it should follow."""

    key: str
    label: str
    law: Literal["power", "linear"] = "power"
    """power: cost ~ size ** slope, fitted to logarithms; linear: cost = constant + slope * size."""
    at_most: float | None = None
    """The largest slope that is no surprise; None: the cost is only reported."""
    unit: str = ""
    """Of the slope of a linear law."""
    per: float = 1.0
    """The slope of a linear law is per so many."""


@dataclass(frozen=True)
class MetricWriter:
    """Costs over a size that grows while everything else stays the same."""

    axis: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    costs: tuple[Cost, ...]
    measure: Callable[[int, Conditions, Path], Values]
    """Called in a process of its own, with a folder that holds what `prepare` left there."""
    prepare: Callable[[int, Path], None] | None = None
    """Called once for each size, in a process of its own."""


_STEP = Cost("step_ms", "one step, ms", at_most=1.1)


def _peak(at_most: float) -> Cost:
    return Cost("peak_mb", "peak of the steps' memory, MB", at_most=at_most)


CURVES = {
    "images": MetricWriter(
        "images in the pack (of 1,000 classes)",
        sizes=(10_000, 30_000, 100_000, 300_000, 1_000_000),
        quick=(10_000, 40_000, 160_000),
        costs=(
            Cost("episode_ms", "draw and gather one 20w5s5q episode, ms", at_most=0.1),
            # A copy of the pack would be 784 MB for a million images of 28x28 bytes.
            Cost("anonymous_mb", "own memory of the process, MB", "linear", 16, "MB per million images", 1e6),
            Cost("resident_mb", "resident memory, mapped file included, MB"),
            Cost("open_s", "open the pack and check its digest, s", at_most=1.1),
        ),
        measure=measure_images,
        prepare=write_synthetic_pack,
    ),
    "classes": MetricWriter(
        "classes (of 20 images)",
        sizes=(100, 1_000, 10_000, 100_000),
        quick=(100, 3_000, 100_000),
        costs=(Cost("episode_ms", "draw one 20w5s5q episode, ms", at_most=0.1),),
        measure=measure_classes,
    ),
    "tasks": MetricWriter(
        "tasks in one step (MAML, 5w1s1q, strided)",
        sizes=(4, 8, 16, 32, 64, 128),
        quick=(4, 16),
        costs=(Cost("task_ms", "one step, ms per task", at_most=0.1), _STEP, _peak(0.3)),
        measure=measure_tasks,
    ),
    "inner-steps": MetricWriter(
        "inner steps (MAML, 8 tasks of 5w1s1q, strided)",
        sizes=(1, 2, 3, 5, 10),
        quick=(1, 4),
        costs=(_STEP, _peak(1.1)),
        measure=measure_inner_steps,
    ),
    "way": MetricWriter(
        "way (ProtoNet, 1 shot, 5 queries)",
        sizes=(5, 10, 20, 50, 100),
        quick=(5, 20),
        costs=(Cost("image_ms", "one step, ms per image", at_most=0.1), _STEP, _peak(1.1)),
        measure=measure_way,
    ),
}
