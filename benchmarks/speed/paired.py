"""How many times as long a peer takes, pair by pair, and how sure we are of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

WANTED = 0.95


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios with a distribution-free confidence interval."""

    median: float
    low: float
    high: float
    coverage: float
    """Confidence of [low, high]: at least 0.95 for six pairs or more, 1 - 2 * 0.5^n for fewer."""

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def paired_ratio(ours: Sequence[float], peer: Sequence[float]) -> Ratio:
    """peer / ours in each round, where both met the same state of the machine.

    The interval runs between two order statistics: the number of pairs below the true median is binomial with
    probability one half, whatever the distribution (e.g. Conover, "Practical nonparametric statistics", section 3.2).
    """
    if len(ours) != len(peer) or not ours:
        raise ValueError(f"{len(ours)} and {len(peer)} times can't be paired; give as many of both, one or more")
    ratios = sorted(theirs / own for own, theirs in zip(ours, peer, strict=True))
    left_out, coverage = _left_out(len(ratios))
    return Ratio(median(ratios), ratios[left_out], ratios[-1 - left_out], coverage)


def _left_out(number: int) -> tuple[int, float]:
    """How many values to leave out at each end so that the interval still covers WANTED, and what it then covers."""
    left_out, below = 0, 0.5**number
    while left_out + 1 < (number + 1) // 2:
        further = below + math.comb(number, left_out + 1) * 0.5**number
        if 1 - 2 * further < WANTED:
            break
        left_out, below = left_out + 1, further
    return left_out, max(0.0, 1 - 2 * below)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
