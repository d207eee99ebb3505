"""Calibration against plain loops and SciPy's minimiser."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cnn_jax.evaluation.calibration import calibration, expected_calibration_error, fit_temperature, reliability_bins
from cnn_jax.evaluation.metrics import Predictions
from tests.evaluation.helpers import PREDICTIONS, random_predictions


def mean_nll(predictions: Predictions, temperature: float) -> float:
    scaled = log_softmax(predictions.logits.astype(np.float64) / temperature, axis=1)
    return -scaled[np.arange(len(scaled)), predictions.labels].mean()


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_bins_and_calibration_error_are_those_of_a_loop_over_the_examples(predictions: Predictions) -> None:
    probabilities = softmax(predictions.logits.astype(np.float64), axis=1)
    confidences, right = probabilities.max(1), probabilities.argmax(1) == predictions.labels
    bins, error = reliability_bins(predictions), 0.0
    assert [(b["low"], b["high"]) for b in bins] == [pytest.approx((i / 15, (i + 1) / 15)) for i in range(15)]
    for found in bins:
        inside = [i for i, c in enumerate(confidences) if found["low"] < c <= found["high"]]
        assert found["count"] == len(inside)
        if inside:
            assert found["confidence"] == pytest.approx(confidences[inside].mean(), rel=1e-12)
            assert found["accuracy"] == pytest.approx(right[inside].mean(), rel=1e-12)
            error += len(inside) / len(right) * abs(confidences[inside].mean() - right[inside].mean())
        else:
            assert (found["confidence"], found["accuracy"]) == (None, None)
    assert expected_calibration_error(bins) == pytest.approx(error, rel=1e-9, abs=1e-15)


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    logits = np.log(np.asarray([[0.6, 0.4], [1.0, 1e-30]]))
    assert [b["count"] for b in reliability_bins(Predictions(logits, np.asarray([0, 0])))] == [0] * 8 + [1] + [
        0
    ] * 5 + [1]


@pytest.mark.parametrize("scale", [1e-6, 0.2, 1.0, 30.0, 1e30])
@pytest.mark.parametrize(("n", "classes"), [(40, 2), (500, 7)])
def test_the_temperature_is_the_one_that_scipy_finds(n: int, classes: int, scale: float) -> None:
    one = random_predictions(n, classes, classes, seed=3)
    found = fit_temperature(Predictions(one.logits * np.float32(scale), one.labels))
    expected = minimize_scalar(lambda t: mean_nll(one, np.exp(t)), bounds=(-5, 5), options={"xatol": 1e-9})
    assert found == pytest.approx(np.exp(expected.x) * scale, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_no_other_temperature_has_a_lower_loss(predictions: Predictions) -> None:
    temperature = fit_temperature(predictions)
    if temperature is not None:
        others = [mean_nll(predictions, temperature * factor) for factor in (0.01, 0.5, 0.99, 1.01, 2, 100)]
        assert mean_nll(predictions, temperature) <= min(others) + 1e-12
    else:  # the loss falls all the way towards 0, or towards infinity
        falling = [mean_nll(predictions, 10.0**power) for power in (-3, 0, 3)]
        assert falling == pytest.approx(sorted(falling)) or falling == pytest.approx(sorted(falling, reverse=True))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([[3, 0], [0, 1]], [0, 1]), ([[3, 0], [0, 1]], [1, 0]), ([[2, 2], [0, 0]], [0, 1])],
    ids=["all right", "all wrong", "all equal"],
)
def test_where_no_temperature_is_best_there_is_none(logits: list[list[float]], labels: list[int]) -> None:
    found = calibration(Predictions(np.asarray(logits, np.float32), np.asarray(labels, np.int32)))
    assert (found["temperature"], found["loss_at_temperature"], found["ece_at_temperature"]) == (None, None, None)


def test_loss_and_error_at_the_temperature_are_those_of_the_divided_logits() -> None:
    predictions = random_predictions(300, 4, 4, seed=0)
    found = calibration(predictions)
    assert found["loss_at_temperature"] == pytest.approx(mean_nll(predictions, found["temperature"]), rel=1e-12)
    divided = Predictions(predictions.logits.astype(np.float64) / found["temperature"], predictions.labels)
    assert found["ece_at_temperature"] == expected_calibration_error(reliability_bins(divided))
    assert found["ece_at_temperature"] < found["ece"]


def test_predictions_that_are_as_often_right_as_they_say_keep_their_temperature() -> None:
    logits = np.asarray([[math.log(3), 0]] * 4, np.float32)  # three quarters for the first class
    found = calibration(Predictions(logits, np.asarray([0, 0, 0, 1], np.int32)))
    assert found["temperature"] == pytest.approx(1, abs=1e-6)
    assert found["ece"] == pytest.approx(0, abs=1e-6)
    assert found["loss_at_temperature"] == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), rel=1e-6)
