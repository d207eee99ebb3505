"""The temperature where the search begins at it."""

import math

import numpy as np
import pytest

from cnn_jax.evaluation.calibration import calibration
from cnn_jax.evaluation.metrics import Predictions


def test_predictions_that_are_as_often_right_as_they_say_keep_their_temperature() -> None:
    logits = np.asarray([[math.log(3), 0]] * 4, np.float32)  # three quarters for the first class
    found = calibration(Predictions(logits, np.asarray([0, 0, 0, 1], np.int32)))
    assert found["temperature"] == pytest.approx(1, abs=1e-6)
    assert found["ece"] == pytest.approx(0, abs=1e-6)
    assert found["loss_at_temperature"] == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), rel=1e-6)
