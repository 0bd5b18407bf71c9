"""Means with their intervals."""

import numpy as np
import pytest

from fewshot.stats import Score, score


def test_interval_by_hand() -> None:
    # mean 0.6, standard deviation 0.2, t(0.975, 2) = 4.302653: 4.302653 * 0.2 / sqrt(3)
    found = score(np.array([0.4, 0.6, 0.8]))
    assert (found.accuracy, found.episodes) == (pytest.approx(0.6), 3)
    assert found.interval == pytest.approx(0.496828, abs=1e-6)


def test_interval_covers_the_truth_95_times_in_100() -> None:
    numbers = np.random.default_rng(0)
    accuracies = numbers.binomial(75, 0.9, size=(4000, 50)) / 75
    scores = [score(episode) for episode in accuracies]
    covered = np.mean([abs(found.accuracy - 0.9) <= found.interval for found in scores])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_a_score_reads_as_papers_write_it() -> None:
    assert str(Score(0.98765, 0.00213, 600)) == "98.77 ± 0.21 %"
