"""The promotion gate's arithmetic: its decisions by hand, and its error rates by simulation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewshot.errors import RegistryError
from fewshot.evaluation.costs import Costs
from fewshot.promotion.gate import decide, level_of, p_value
from fewshot.promotion.spent import Spent, read_spent, write_spent
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
    days = [Spent(NOW - timedelta(days=days), 0.05 / 3) for days in (400, 364, 10)]
    assert level_of(settings, days, NOW) == pytest.approx(0.05 / 3)
    assert level_of(settings, [*days, Spent(NOW, 0.05 / 3)], NOW) == 0
    # A clock that was set back makes no test of the past forgotten.
    assert level_of(settings, [*days, Spent(NOW + timedelta(days=30), 0.05 / 3)], NOW) == 0
    [one], [other] = accuracies(np.random.default_rng(1), 0.02)
    verdict = decide(one, other, settings, [Spent(NOW, 0.05)], NOW)
    assert verdict.decision == "kept"
    assert "not tested: the tests of the last 365 days have spent 0.05 of gate.alpha = 0.05" in verdict.reason


@given(
    nights=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 10_000)), max_size=60),
    alpha=st.floats(1e-6, 0.9),
)
def test_no_year_spends_more_than_alpha_however_the_settings_change(
    nights: list[tuple[int, int]], alpha: float
) -> None:
    spent: list[Spent] = []
    now = NOW
    for days, tests_per_year in nights:
        now += timedelta(days=days)
        if (level := level_of(GateSettings(alpha=alpha, tests_per_year=tests_per_year), spent, now)) > 0:
            spent = read_spent(write_spent([*spent, Spent(now, level)]), 1.0)
        year = [of.level for of in spent if of.time > now - timedelta(days=365)]
        assert sum(year) <= alpha * (1 + 1e-6)


def test_ten_thousand_tests_are_all_counted() -> None:
    settings, spent = GateSettings(tests_per_year=10_000), []
    for number in range(10_000):
        now = NOW + timedelta(minutes=10 * number)
        assert level_of(settings, spent, now) > 0
        spent = read_spent(write_spent([*spent, Spent(now, 0.05 / 10_000)]), 1.0)
    assert level_of(settings, spent, now) == 0
    assert len(write_spent(spent)) < 100_000


def test_the_tests_of_an_earlier_release_are_counted_at_the_present_level() -> None:
    tag = '["2026-05-01T03:00:00+00:00","2026-05-02T03:00:00+00:00"]'
    assert [of.level for of in read_spent(tag, 0.01)] == [0.01, 0.01]
    for wrong in ("{", "[1]", '[["x", 0.1]]', '[["2026-05-01", 0.1, 2]]', "7"):
        with pytest.raises(RegistryError, match=r"the tag fewshot\.tests of the model is not what was written"):
            read_spent(wrong, 0.01)


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
