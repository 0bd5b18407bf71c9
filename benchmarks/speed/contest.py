"""How a case is raced: each contestant is tuned, their numbers are compared, then they take turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks.speed.cases import FROM_ARCHIVE, MODULES, OURS, Case

WARM_UP = 1
"""Steps before the first that is timed."""
TUNING_STEPS = 2
GIVE_UP = 2.5
"""A way that takes so many times as long as the best so far, in its first step, is not tried further."""
PAUSE_S = 0.02
"""Between two rotation: OpenMP's threads spin for a moment before they sleep."""

TOLERANCE = {"loss": 1e-5, "gradient norm": 1e-3, "accuracy": 1e-3, "probability": 1e-3}
"""Largest relative difference of a peer's number from ours in float32, by the first words of its name. Second-order
gradients collect more rounding errors than losses; a first-order gradient would be off by far more than 1e-3."""


class ContestantFailedError(Exception):
    """A contestant could not do its work."""


class DisagreementError(Exception):
    """Contestants do not compute the same thing, so that their times can't be compared."""


class Worker(Protocol):
    """A contestant in its own process."""

    def check(self) -> dict[str, float]:
        """The numbers that must agree."""

    def step(self, times: int) -> list[float]:
        """Seconds of each of some steps."""

    def close(self) -> None:
        """End it."""


Start = Callable[[str, str, int, bool], Worker]
"""Start a worker for (contestant, variant, threads, in tuning size)."""
Report = Callable[[str], None]
"""Told what is being done, once for each piece of work."""


@dataclass(frozen=True)
class Choice:
    """The fastest way found to run a contestant."""

    threads: int
    variant: str
    tried: tuple[dict[str, object], ...] = ()
    """Each way that was tried: "threads", "variant" and "seconds", or "failed"."""


@dataclass(frozen=True)
class LossAndAccuracy:
    """What a case gave, by contestant."""

    choices: Mapping[str, Choice]
    numbers: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, Sequence[float]]
    """Seconds of each round (the median of its calls)."""
    calls: Mapping[str, Sequence[float]]
    """Seconds of each call of all rounds."""


def thread_counts(cores: int) -> list[int]:
    """The numbers of threads to try: the powers of two below the number of cores, and that number."""
    return [count for count in (2**power for power in range(12)) if count < cores] + [cores]


def pieces(case: Case, cores: int) -> int:
    """How often `run_case` reports."""
    ways = sum(len(case.variants(name)) * len(thread_counts(cores)) for name in case.contestants)
    return ways + len(case.contestants) * (1 + case.rounds)


def run_case(case: Case, cores: int, start: Start, report: Report) -> LossAndAccuracy:
    """Tune, compare and race. Raises ContestantFailedError and DisagreementError."""
    choices: dict[str, Choice] = {}
    for name in case.contestants:
        if name == FROM_ARCHIVE:
            choices[name] = choices[OURS]  # the same training
        else:
            choices[name] = tune(case, name, thread_counts(cores), start, report)
    with ExitStack() as running:
        workers, numbers = {}, {}
        for name, choice in choices.items():
            report(f"{name}: numbers")
            workers[name] = start(name, choice.variant, choice.threads, False)
            running.callback(workers[name].close)
            numbers[name] = workers[name].check()
        compare(case, numbers)
        if case.kind != "disk":  # there the check is a training itself
            for worker in workers.values():
                worker.step(WARM_UP)
        calls: dict[str, list[float]] = {name: [] for name in workers}
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(case.rounds):
            for name, worker in workers.items():
                report(f"{name}: round {turn + 1} of {case.rounds}")
                time.sleep(PAUSE_S)
                of_turn = worker.step(case.calls)
                calls[name] += of_turn
                seconds[name].append(median(of_turn))
    return LossAndAccuracy(choices, numbers, seconds, calls)


def tune(case: Case, contestant: str, threads: Sequence[int], start: Start, report: Report) -> Choice:
    """The fastest of a contestant's variants and numbers of threads, by the median of a few steps."""
    tried: list[dict[str, object]] = []
    best, best_seconds = None, float("inf")
    for variant in case.variants(contestant):
        for count in threads:
            report(f"{contestant}: tuning {variant or ''} with {count} thread{'s' * (count > 1)}")
            way: dict[str, object] = {"threads": count, "variant": variant}
            try:
                seconds = _tried(start(contestant, variant, count, True), best_seconds)
            except ContestantFailedError as error:
                tried.append({**way, "failed": str(error)})
                continue
            tried.append({**way, "seconds": seconds})
            if seconds < best_seconds:
                best, best_seconds = way, seconds
    if best is None:
        raise ContestantFailedError("; ".join(str(way["failed"]) for way in tried))
    return Choice(int(str(best["threads"])), str(best["variant"]), tuple(tried))


def _tried(worker: Worker, best_seconds: float) -> float:
    try:
        first = worker.step(WARM_UP)[-1]
        return first if first > GIVE_UP * best_seconds else median(worker.step(TUNING_STEPS))
    finally:
        worker.close()


def compare(case: Case, numbers: Mapping[str, Mapping[str, float]]) -> None:
    """DisagreementError if a peer's number differs from ours by more than its tolerance."""
    for name in numbers:
        for number, difference in differences(case, numbers, name).items():
            tolerance = TOLERANCE.get(number.rstrip(" 0123456789"))
            if name in MODULES and tolerance is not None and not difference <= tolerance:
                raise DisagreementError(
                    f"{case.name}: {name}'s {number} is {numbers[name][number]:.8g}, that of {case.reference} is "
                    f"{numbers[case.reference][number]:.8g}; they may differ by {tolerance:g} of it"
                )


def differences(case: Case, numbers: Mapping[str, Mapping[str, float]], contestant: str) -> dict[str, float]:
    """Each number's relative difference from that of the reference."""
    reference = numbers[case.reference]
    return {name: abs(value - reference[name]) / abs(reference[name]) for name, value in numbers[contestant].items()}
