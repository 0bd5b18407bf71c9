"""The promotion gate's arithmetic: whether a challenger is shown to be better than the champion, and at what level.

**The test** is the paired t-test on the differences of accuracy, episode by episode. The gate's question is about the
mean difference, the one that users feel; its episodes are drawn independently, and with hundreds of them the mean is
close to normal however the differences themselves are spread. Wilcoxon's test asks about something else (a challenger
that is a little better on most episodes and much worse on a few would pass), and a bootstrap has no say on levels
such as 1 in 10,000 unless it draws ten times as many samples.

**Repeated testing is paid for.** A schedule that tests a new challenger every night at level 0.05 promotes an equal
model within weeks. Each test here is made at alpha / tests_per_year, as long as the levels of all tests of the last
365 days add up to no more than alpha, so that by Boole's inequality the chance to promote an equal model within a year
is at most alpha, whatever the settings were when those tests were made. Nothing is assumed of how the tests depend on
each other, and they do: the gate's episodes stay the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from fewshot.evaluation.costs import Costs
from fewshot.evaluation.stats import Score, score
from fewshot.promotion.spent import Spent
from fewshot.settings.schema import GateSettings

YEAR = timedelta(days=365)

Accuracies = Float[np.ndarray, "episode"]
"""Share of right answers in each episode, in [0, 1]."""


@dataclass(frozen=True)
class GateResult:
    """What the gate says of a challenger, and why."""

    decision: Literal["promoted", "kept"]
    reason: str
    champion: Score
    challenger: Score
    difference: Score
    """Challenger minus champion, on the same episodes."""
    p: float
    """Chance of such a difference, or a larger one, if the challenger is better by no more than the margin."""
    level: float
    """What p must not exceed: the part of alpha that this test spends; 0 if none was left."""


def decide(
    champion: Accuracies,
    challenger: Accuracies,
    settings: GateSettings,
    spent: Sequence[Spent],
    now: datetime,
    costs: Costs | None = None,
) -> GateResult:
    """Compare two models by their accuracies on the same episodes; `spent` are the earlier tests.

    `costs` are the challenger's, for the limits that `settings` may set on them.
    """
    level = level_of(settings, spent, now)
    p = p_value(challenger - champion, settings.margin)
    difference = score(challenger - champion)
    decision, reason = _decision(p, level, settings, difference, recently_spent(spent, now))
    if decision == "promoted" and costs is not None and (excess := _excess(costs, settings)):
        decision, reason = "kept", excess
    return GateResult(decision, reason, score(champion), score(challenger), difference, p, level)


def level_of(settings: GateSettings, spent: Sequence[Spent], now: datetime) -> float:
    """The level of a test that is made now; 0 when the tests of the last 365 days left too little of alpha."""
    level = settings.alpha / settings.tests_per_year
    # The sum of many equal parts is off by rounding.
    return level if recently_spent(spent, now) + level <= settings.alpha * (1 + 1e-9) else 0.0


def recently_spent(spent: Sequence[Spent], now: datetime) -> float:
    """The sum of the levels of the last 365 days.

    A test that lies in the future, as it may after the clock was set back, counts as well.
    """
    return math.fsum(level for time, level in spent if time > now - YEAR)


def p_value(differences: Accuracies, margin: float = 0.0) -> float:
    """One-sided p of the paired t-test against a mean difference of `margin` or less."""
    if np.ptp(differences) == 0:  # no spread, no test: all or nothing
        return 0.0 if differences[0] > margin else 1.0
    return float(stats.ttest_1samp(differences, margin, alternative="greater").pvalue)


def _decision(
    p: float, level: float, settings: GateSettings, difference: Score, spent: float
) -> tuple[Literal["promoted", "kept"], str]:
    beyond = f" by more than {100 * settings.margin:g} points" if settings.margin else ""
    if level == 0:
        return "kept", (
            f"not tested: the tests of the last 365 days have spent {spent:.2g} of gate.alpha = {settings.alpha:g}, "
            f"and one more costs {settings.alpha / settings.tests_per_year:.2g} (gate.alpha / gate.tests_per_year)"
        )
    if p > level:
        return "kept", f"not shown to be better{beyond}: {difference}, p = {p:.2g} is above the level {level:.2g}"
    return "promoted", f"better{beyond}: {difference}, p = {p:.2g} is at most the level {level:.2g}"


def _excess(costs: Costs, settings: GateSettings) -> str:
    """What of a challenger's costs is over its limit; empty if nothing is."""
    error, time = settings.max_calibration_error, settings.max_latency_ms
    if error is not None and costs.calibration_error > error:
        return f"better, but its calibration error {costs.calibration_error:.3f} is above {error:g}"
    if time is not None and costs.latency_ms > time:
        return f"better, but learning a task takes {costs.latency_ms:.1f} ms, more than {time:g} ms"
    return ""
