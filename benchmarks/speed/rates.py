"""What the machine can do, and how much work the steps are: their share of it is then a division.

python -m benchmarks.speed.rates THREADS    # one line of JSON
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.cases import CASES, CHANNELS, Case
from benchmarks.speed.reference import PlainMAMLStep, PlainProtoNetStep
from fewshot.system.device import pick_precision, prepare_cpu

SIDE = 2048
CONVOLVED = (360, CHANNELS, 14, 14)
"""What is convolved: the second layer, which does most of the work, of a 60-way 1-shot 5-query episode."""
REPEATS = 5


def measure(threads: int) -> dict[str, object]:
    """GFLOP/s of a matrix product and a convolution in each format, floating-point operations of the training steps."""
    prepare_cpu(threads)
    capabilities = torch.cpu.get_capabilities()
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {
        "threads": threads,
        "capabilities": sorted(name for name, has in capabilities.items() if has and name.startswith(("avx", "amx"))),
        "auto": str(pick_precision("auto", torch.device("cpu"))).removeprefix("torch."),
        "matrix product": {name: _product_rate(dtype) for name, dtype in formats.items()},
        "convolution": {name: _convolution_rate(dtype) for name, dtype in formats.items()},
        "operations of a task": {case.name: count(case) for case in CASES.values() if case.kind.endswith("-step")},
    }


def count(case: Case) -> int:
    """Floating-point operations of one task's part in a training step of the plain network, two for each multiply-add.

    Counted are matrix products and convolutions: forward, backward, and for MAML through the inner backward passes.
    """
    one = replace(case, tasks=1)
    step = PlainMAMLStep(one, "") if case.kind == "maml-step" else PlainProtoNetStep(one, "")
    with FlopCounterMode(display=False) as counter:
        step.step()
    return int(counter.get_total_flops())


def _product_rate(dtype: torch.dtype) -> float:
    a, b = torch.rand(SIDE, SIDE).to(dtype), torch.rand(SIDE, SIDE).to(dtype)
    return 2 * SIDE**3 / _seconds(lambda: a @ b) / 1e9


def _convolution_rate(dtype: torch.dtype) -> float:
    images = torch.rand(CONVOLVED).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(CHANNELS, CHANNELS, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        seconds = _seconds(lambda: conv2d(images, weight, padding=1))
    return 2 * images.numel() * 9 * CHANNELS / seconds / 1e9


def _seconds(work: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times[1:])


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
