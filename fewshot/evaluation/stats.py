"""A number and how sure we are of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t


@dataclass(frozen=True)
class Score:
    """A mean accuracy over episodes, with its 95 % confidence interval."""

    accuracy: float
    """Mean of the per-episode accuracies, in [0, 1]."""
    ci95: float
    """Half width of the interval, in the same unit."""
    episodes: int

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.2f} ± {100 * self.ci95:.2f} %"


def score(accuracies: Float[np.ndarray, "episode"]) -> Score:
    """The mean of at least two per-episode accuracies with Student's 95 % interval.

    The interval is over episodes: it says how far the mean would move with other episodes of the same classes, for
    these weights. It does not say what another training seed would give.
    """
    number = len(accuracies)
    standard_error = accuracies.std(ddof=1) / np.sqrt(number)
    half_width = student_t.ppf(0.975, number - 1) * standard_error
    return Score(float(accuracies.mean()), float(half_width), number)
