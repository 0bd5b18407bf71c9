"""Means with their intervals."""

import numpy as np
import pytest

from fewshot.evaluation.calibration import calibration
from fewshot.evaluation.stats import Score, score


def test_interval_by_hand() -> None:
    # mean 0.6, standard deviation 0.2, t(0.975, 2) = 4.302653: 4.302653 * 0.2 / sqrt(3)
    found = score(np.array([0.4, 0.6, 0.8]))
    assert (found.accuracy, found.episodes) == (pytest.approx(0.6), 3)
    assert found.ci95 == pytest.approx(0.496828, abs=1e-6)


def test_interval_covers_the_truth_95_times_in_100() -> None:
    numbers = np.random.default_rng(0)
    accuracies = numbers.binomial(75, 0.9, size=(4000, 50)) / 75
    scores = [score(episode) for episode in accuracies]
    covered = np.mean([abs(found.accuracy - 0.9) <= found.ci95 for found in scores])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_a_score_reads_as_papers_write_it() -> None:
    assert str(Score(0.98765, 0.00213, 600)) == "98.77 ± 0.21 %"


def test_calibration_error_by_hand() -> None:
    # Two ranges: of the answers at 0.25 none was right, of the two at 0.75 and 0.85 one; (0.25 + |1.6 - 1|) / 3.
    confidence, right = np.array([0.25, 0.75, 0.85]), np.array([False, True, False])
    assert calibration(confidence, right, bins=2).error == pytest.approx((0.25 + 0.6) / 3)
    assert calibration(np.ones((2, 3)), np.ones((2, 3), dtype=bool)).error == 0


def test_calibration_error_of_honest_confidence_is_small() -> None:
    numbers = np.random.default_rng(0)
    confidence = numbers.uniform(0.2, 1, 40_000)
    right = numbers.uniform(size=40_000) < confidence
    assert calibration(confidence, right).error < 0.01
    assert calibration(np.sqrt(confidence), right).error > 0.1
