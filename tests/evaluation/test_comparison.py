"""The comparison of two networks against SciPy and a likelihood that is maximised numerically."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, norm, ttest_rel

from cnn_jax.evaluation.comparison import compare, compare_losses, difference_interval, holm, mcnemar_p_value


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_p_value_is_that_of_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    n = only_first + only_second
    expected = binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=1e-9, abs=1e-280)


def score(difference: float, b: int, c: int, n: int) -> float:
    """Tango's score, with the most likely probabilities under the difference from a numerical maximisation."""

    def unlikelihood(only_second: float) -> float:
        cells = ((b, only_second + difference), (c, only_second), (n - b - c, 1 - 2 * only_second - difference))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    q = minimize_scalar(unlikelihood, bounds=bounds, options={"xatol": 1e-13}).x
    return (b - c - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (5, 5, 20), (61, 2, 200), (1, 30, 31), (3, 1, 1000)])
def test_the_interval_of_the_difference_is_where_the_score_reaches_the_quantile(b: int, c: int, n: int) -> None:
    observed, z = (b - c) / n, norm.ppf(0.975)
    low = brentq(lambda d: score(d, b, c, n) - z, -1 + 1e-9, observed - 1e-9)
    high = brentq(lambda d: score(d, b, c, n) + z, observed + 1e-9, 1 - 1e-9)
    assert difference_interval(b, c, n) == pytest.approx((low, high), abs=1e-5)


def test_without_any_disagreement_the_interval_has_a_width_all_the_same() -> None:
    z2 = norm.ppf(0.975) ** 2
    assert difference_interval(0, 0, 100) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))


def test_one_network_right_everywhere_and_the_other_nowhere() -> None:
    low, high = difference_interval(10, 0, 10)
    assert 0 < low < high == 1
    assert difference_interval(0, 10, 10) == pytest.approx((-high, -low))


def test_the_counts_say_who_is_right_where() -> None:
    first = np.asarray([1, 1, 1, 1, 0, 0, 0, 1], bool)
    second = np.asarray([1, 1, 0, 0, 1, 0, 0, 0], bool)
    found = compare(first, second)
    assert (found["n"], found["accuracy"], found["difference"]) == (8, 3 / 8, 2 / 8)
    assert (found["both_right"], found["only_this_right"], found["only_other_right"], found["both_wrong"]) == (
        2,
        3,
        1,
        2,
    )
    low, high = found["difference_ci95"]
    assert low < found["difference"] < high
    assert found["mcnemar_p_value"] == binomtest(3, 4).pvalue


def test_the_difference_of_losses_is_students_of_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, (2, 40))
    found = compare_losses(first, second)
    expected = ttest_rel(first, second).confidence_interval(0.95)
    assert found["loss_difference"] == pytest.approx((first - second).mean())
    assert found["loss_difference_ci95"] == pytest.approx((expected.low, expected.high))
    assert compare_losses(first[:1], second[:1])["loss_difference_ci95"] is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-6, 0.004, 0.01, 0.012, 0.02, 0.04, 0.06, 0.5, 1.0]), max_size=7))
def test_adjusted_p_values_reject_what_the_sequential_procedure_rejects(p_values: list[float]) -> None:
    for level in (0.001, 0.03, 0.05, 0.2):
        rejected: list[int] = []
        left = list(range(len(p_values)))
        while left and min(p_values[i] for i in left) * len(left) <= level:
            rejected.append(min(left, key=p_values.__getitem__))
            left.remove(rejected[-1])
        assert sorted(rejected) == [i for i, p in enumerate(holm(p_values)) if p <= level]
