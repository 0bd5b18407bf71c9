"""Guard against lost speed: our training steps against a plain reference of our own, in under a minute.

    python -m benchmarks.speed.guard        # make race-quick

It needs no other library. Both compute in float32, so that the ratio depends little on the machine, and both use all
cores. It fails where a ratio is below half of what is expected; a busy machine slows both.
"""

import sys
from contextlib import ExitStack
from dataclasses import replace

from rich.console import Console

from benchmarks.speed.cases import CASES, OURS_FLOAT32, PLAIN, Case
from benchmarks.speed.contest import compare
from benchmarks.speed.machine import cores
from benchmarks.speed.paired import Ratio, paired_ratio
from benchmarks.speed.process import WorkerProcess

EXPECTED = {"maml-15q": 1.9, "maml-1q-5steps": 1.9, "protonet-20w5s5q": 2.5}
"""Times as fast as the reference on 2 quiet cores (Zen 4). The steps of MAML have GUARD_TASKS tasks."""
GUARD_TASKS = 8
ROUNDS = 5


def main() -> int:
    """Race and judge; returns 1 if a step has lost its speed."""
    console = Console()
    slow = []
    for name, expected in EXPECTED.items():
        case = CASES[name]
        case = replace(case, tasks=min(case.tasks, GUARD_TASKS), contestants=(OURS_FLOAT32, PLAIN))
        ratio = race(case)
        enough = ratio.median >= expected / 2
        slow += [] if enough else [name]
        verdict = "ok" if enough else "[bold red]too slow"
        console.print(
            f"{name:<18} {ratio} times as fast as the plain step; expected {expected:g}: {verdict}", soft_wrap=True
        )
    if slow:
        console.print(
            f"error: {', '.join(slow)}: less than half of the expected speed; what changed in this step?",
            soft_wrap=True,
        )
    return bool(slow)


def race(case: Case) -> Ratio:
    """The ratio of one case, after checking that both compute the same."""
    arguments = [str(cores()), "", "--tasks", str(case.tasks)]
    with ExitStack() as running:
        workers = [WorkerProcess([case.name, name, *arguments], cores()) for name in case.contestants]
        for worker in workers:
            running.callback(worker.close)
        compare(case, {name: worker.check() for name, worker in zip(case.contestants, workers, strict=True)})
        times = [[worker.step(1)[0] for worker in workers] for _ in range(1 + ROUNDS)][1:]
    return paired_ratio([own for own, _ in times], [theirs for _, theirs in times])


if __name__ == "__main__":
    sys.exit(main())
