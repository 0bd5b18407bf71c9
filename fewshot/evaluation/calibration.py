"""Calibration: whether a model that is 80 % sure is right 80 % of the time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

BINS = 15
"""Ranges of confidence, as in Guo et al. 2017."""


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, by equal ranges of confidence; empty ranges are left out."""

    confidence: tuple[float, ...]
    """Mean confidence of each range."""
    accuracy: tuple[float, ...]
    """Share of right predictions of each range."""
    predictions: tuple[int, ...]
    """Number of predictions of each range."""

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3), in [0, 1]."""
        gaps = np.abs(np.subtract(self.confidence, self.accuracy))
        return float(np.average(gaps, weights=self.predictions))


def calibration(
    confidence: Float[np.ndarray, "*prediction"], right: Bool[np.ndarray, "*prediction"], bins: int = BINS
) -> Calibration:
    """Sort predictions into `bins` equal ranges of confidence and compare confidence with accuracy in each."""
    flat = confidence.ravel().astype(np.float64)
    place = np.minimum((flat * bins).astype(int), bins - 1)
    number = np.bincount(place, minlength=bins)
    there = number > 0
    means = [
        np.bincount(place, values, minlength=bins)[there] / number[there]
        for values in (flat, right.ravel().astype(float))
    ]
    return Calibration(tuple(means[0].tolist()), tuple(means[1].tolist()), tuple(number[there].tolist()))
