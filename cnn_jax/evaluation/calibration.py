"""Whether probabilities mean what they say: reliability curve, expected calibration error, temperature.

As in Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from cnn_jax.evaluation.metrics import Predictions, mean_loss

BINS = 15
"""Of equal width, as in the paper."""
MOST_STEPS = 200
"""Of the search for the temperature; about ten are usual."""


def reliability_bins(predictions: Predictions) -> list[dict[str, Any]]:
    """The examples by confidence, the probability of the predicted class, in `BINS` bins above `low` up to `high`.

    Each bin has its number of examples, their mean confidence and their accuracy; both are None for an empty one.
    """
    edges = np.linspace(0, 1, BINS + 1)
    confidence = predictions.probability_of(predictions.predicted)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    found = []
    for index in range(BINS):
        inside = place == index
        count = int(inside.sum())
        found.append(
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(predictions.right[inside].mean()) if count else None,
            }
        )
    return found


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """The distance between confidence and accuracy, averaged over the examples of the bins."""
    filled = [b for b in bins if b["count"]]
    distances = [b["count"] * abs(b["confidence"] - b["accuracy"]) for b in filled]
    return sum(distances) / sum(b["count"] for b in filled)


def fit_temperature(predictions: Predictions) -> float | None:
    """The number by which the logits are to be divided for the lowest mean cross-entropy on these examples.

    The loss is convex in the inverse temperature, so its slope has one zero at most: Newton's method, kept inside a
    bracket, in float64.

    Returns:
        None where no temperature is best: all predictions are right, and the lower the better; or they are no better
        than chance, and the higher the better.
    """
    logits = predictions.logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    own = logits[np.arange(len(logits)), predictions.labels]
    if not own.any() or (logits.mean(-1) - own).mean() >= 0:
        return None
    span = -logits.mean()
    logits, own = logits / span, own / span
    inverse, low, high = 1.0, 0.0, math.inf
    for _ in range(MOST_STEPS):
        slope, curvature = _derivatives(inverse, logits, own)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature else math.copysign(math.inf, -slope)
        better = min(max(newton, inverse / 4), inverse * 4)
        if abs(better - inverse) <= 1e-13 * inverse:
            break
        inverse = better if low < better < high else (low + high) / 2
    return float(span / inverse)


def _derivatives(
    inverse: float, logits: Float64[np.ndarray, "n classes"], own: Float64[np.ndarray, " n"]
) -> tuple[float, float]:
    """First and second derivative of the mean cross-entropy by the inverse temperature."""
    weights = np.exp(inverse * logits)
    weights /= weights.sum(-1, keepdims=True)
    mean = (weights * logits).sum(-1)
    variance = (weights * (logits - mean[:, None]) ** 2).sum(-1)
    return float((mean - own).mean()), float(variance.mean())


def calibration(predictions: Predictions) -> dict[str, Any]:
    """Calibration error and curve, the best temperature, and what loss and error become with it.

    The temperature is fitted on the same examples that it is then measured on, so the last two are a little too good.
    """
    bins, temperature = reliability_bins(predictions), fit_temperature(predictions)
    loss = error = None
    if temperature is not None:
        scaled = Predictions(predictions.logits.astype(np.float64) / temperature, predictions.labels)
        loss, error = mean_loss(scaled), expected_calibration_error(reliability_bins(scaled))
    return {
        "ece": expected_calibration_error(bins),
        "bins": bins,
        "temperature": temperature,
        "loss_at_temperature": loss,
        "ece_at_temperature": error,
    }
