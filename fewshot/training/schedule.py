"""The schedule of the outer learning rate."""

import math

from fewshot.settings.training import TrainSettings


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """The outer learning rate of a step (counted from 0): a pure function, so that a schedule has no state to save.

    The schedule counts from the first step; warm-up scales the rates of its first steps down.
    """
    rate = _scheduled(step, settings)
    return rate * ((step + 1) / (settings.warmup + 1)) if step < settings.warmup else rate


def _scheduled(step: int, settings: TrainSettings) -> float:
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    if settings.schedule == "halving":
        return settings.learning_rate * float(0.5 ** (step // settings.halve_every))
    return settings.learning_rate
