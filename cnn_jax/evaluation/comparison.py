"""Two networks on the same examples: the difference of their accuracies, and how sure it is."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from scipy import stats

from cnn_jax.evaluation.metrics import Z_95, wilson_interval

HALVINGS = 60
"""Of an interval no longer than 2, which leaves less than 2e-18."""


def compare(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Which of the same examples the first network and the second get right.

    Args:
        first: whether the first network is right.
        second: whether the second one is.

    Returns:
        `accuracy` and `accuracy_ci95` of the second network; `difference`, the first one's accuracy minus the
        second's, and `difference_ci95`; the numbers of examples that both, one or none of them get right; and
        `mcnemar_p_value`.
    """
    n, only_first, only_second = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "n": n,
        "accuracy": int(second.sum()) / n,
        "accuracy_ci95": wilson_interval(int(second.sum()), n),
        "difference": (only_first - only_second) / n,
        "difference_ci95": difference_interval(only_first, only_second, n),
        "both_right": int((first & second).sum()),
        "only_this_right": only_first,
        "only_other_right": only_second,
        "both_wrong": int((~first & ~second).sum()),
        "mcnemar_p_value": mcnemar_p_value(only_first, only_second),
    }


def compare_losses(first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " n"]) -> dict[str, Any]:
    """How much lower or higher the losses of the first network are on the same examples.

    Args:
        first: the loss of each example.
        second: that of the second network.

    Returns:
        `loss_difference`, the mean of the first ones minus the second ones, and `loss_difference_ci95`, Student's
        interval of the paired differences; None of a single example.
    """
    differences = first - second
    n, mean = len(differences), math.fsum(differences) / len(differences)
    interval = None
    if n > 1:
        half = float(stats.t.ppf(0.975, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)
        interval = (mean - half, mean + half)
    return {"loss_difference": mean, "loss_difference_ci95": interval}


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, such that one below 0.05 comes by chance in at most one of twenty such families.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 6, 1979): the
    smallest is multiplied by how many there are, the next by one less, and so on; none falls below one before it.
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min((len(p_values) - rank) * p_values[place], 1.0))
        adjusted[place] = highest
    return adjusted


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """The exact two-sided test (McNemar, 1947) of whether two networks are equally often right.

    If they are, the examples that only one of them gets right fall to either side like a fair coin. The sum over the
    binomial distribution is made in whole numbers.
    """
    n, term, tail = only_first + only_second, 1, 0
    for k in range(min(only_first, only_second) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(2 * tail / 2**n, 1.0)


def difference_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of the difference of two shares of the same n examples.

    Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design"
    (Statistics in Medicine 17, 1998): for paired shares what Wilson's interval is for one.
    """
    observed = (only_first - only_second) / n

    def limit(outside: float) -> float:
        """Where the score reaches the quantile, between the observed difference and `outside`."""
        inside = observed
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if abs(_score(middle, only_first, only_second, n)) < Z_95:
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2

    return limit(-1.0), limit(1.0)


def _score(difference: float, only_first: int, only_second: int, n: int) -> float:
    """How many standard deviations the counts are from what such a true difference lets expect.

    The share that only the second network gets right is the most likely one under that difference.
    """
    a = 2 * n
    b = (2 * n - only_first + only_second) * difference - only_first - only_second
    c = -only_second * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * share + difference * (1 - difference))
    return (only_first - only_second - n * difference) / math.sqrt(variance) if variance > 0 else 0.0
