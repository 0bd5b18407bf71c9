"""The promotion gate's arithmetic: its decisions by hand, and its error rates by simulation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from fewshot.evaluation.costs import Costs
from fewshot.promotion.gate import decide, level_of, p_value
from fewshot.settings.schema import GateSettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
QUERIES = 75


def accuracies(numbers: np.random.Generator, better: float = 0.0, tests: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies [test, 600] of a champion of 95 % and of a challenger better by so much, on the same episodes.

    Some episodes are harder than others, for both. The spread is that of our 5-way 1-shot episodes.
    """
    right = np.clip(numbers.beta(28, 1.5, (tests, 600)), 0.0, 1.0 - max(better, 0.0))
    champion = numbers.binomial(QUERIES, right)
    challenger = numbers.binomial(QUERIES, np.clip(right + better, 0, 1))
    return champion / QUERIES, challenger / QUERIES


def test_p_is_that_of_a_paired_t_test() -> None:
    [one], [other] = accuracies(np.random.default_rng(0), 0.003)
    expected = stats.ttest_rel(other, one, alternative="greater").pvalue
    assert p_value(other - one) == pytest.approx(expected)
    assert p_value(other - one, margin=0.01) > p_value(other - one)


def test_two_models_that_answer_alike_are_not_told_apart() -> None:
    same = np.full(600, 0.9)
    verdict = decide(same, same, GateSettings(), [], NOW)
    assert verdict.decision == "kept"
    assert verdict.p == 1
    assert p_value(np.full(600, 0.01)) == 0


def test_a_better_model_is_promoted_and_the_reason_says_by_how_much() -> None:
    [one], [other] = accuracies(np.random.default_rng(1), 0.02)
    verdict = decide(one, other, GateSettings(), [], NOW)
    assert verdict.decision == "promoted"
    assert verdict.level == pytest.approx(0.05 / 365)
    assert str(verdict.difference) in verdict.reason
    assert decide(other, one, GateSettings(), [], NOW).decision == "kept"
    assert decide(one, other, GateSettings(margin=0.03), [], NOW).decision == "kept"


def test_the_tests_of_a_year_are_counted() -> None:
    settings = GateSettings(tests_per_year=3)
    days = [NOW - timedelta(days=days) for days in (400, 364, 10)]
    assert level_of(settings, days, NOW) == pytest.approx(0.05 / 3)
    assert level_of(settings, [*days, NOW], NOW) == 0
    # A clock that was set back makes no test of the past forgotten.
    assert level_of(settings, [*days, NOW + timedelta(days=30)], NOW) == 0
    [one], [other] = accuracies(np.random.default_rng(1), 0.02)
    verdict = decide(one, other, settings, [NOW] * 3, NOW)
    assert verdict.decision == "kept"
    assert "3 tests were made in the last 365 days" in verdict.reason


@pytest.mark.parametrize(
    ("costs", "reason"),
    [(Costs(0.2, 10.0), "calibration error 0.200 is above 0.1"), (Costs(0.05, 60.0), "takes 60.0 ms, more than 50 ms")],
)
def test_a_better_model_that_costs_too_much_is_kept_out(costs: Costs, reason: str) -> None:
    [one], [other] = accuracies(np.random.default_rng(1), 0.02)
    settings = GateSettings(max_calibration_error=0.1, max_latency_ms=50.0)
    verdict = decide(one, other, settings, [], NOW, costs)
    assert verdict.decision == "kept"
    assert reason in verdict.reason
    assert decide(one, other, settings, [], NOW, Costs(0.05, 10.0)).decision == "promoted"


def promotions(numbers: np.random.Generator, better: float, tests: int, settings: GateSettings) -> np.ndarray:
    champions, challengers = accuracies(numbers, better, tests)
    return np.array(
        [
            decide(one, other, settings, [], NOW).decision == "promoted"
            for one, other in zip(champions, challengers, strict=True)
        ]
    )


def test_within_a_year_of_equal_challengers_one_is_promoted_with_a_chance_of_alpha_at_most() -> None:
    years, settings = 400, GateSettings(tests_per_year=12)
    promoted = promotions(np.random.default_rng(2), 0.0, 12 * years, settings).reshape(years, 12).any(1)
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / years)
    assert 0.01 < promoted.mean() <= limit
    # What the rule pays for: each of these tests at level alpha would promote an equal model in half of the years.
    unpaid = promotions(np.random.default_rng(2), 0.0, 12 * 100, GateSettings(tests_per_year=1))
    assert unpaid.reshape(100, 12).any(1).mean() > 0.3


def test_nightly_tests_find_a_better_model_and_never_take_a_worse_one() -> None:
    nightly = GateSettings()
    assert promotions(np.random.default_rng(3), 0.01, 400, nightly).mean() >= 0.9
    assert promotions(np.random.default_rng(4), -0.005, 2000, nightly).sum() == 0
    assert promotions(np.random.default_rng(5), 0.0, 2000, nightly).sum() <= 2
