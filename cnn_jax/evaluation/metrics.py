"""Exact metrics from the predictions on every example of a split."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of n examples, in their order."""

    logits: np.ndarray
    """float32[n, classes]"""
    labels: np.ndarray
    """int32[n]"""

    @property
    def predicted(self) -> np.ndarray:
        """int64[n]: the class with the highest logit, the first of equals."""
        return self.logits.argmax(-1)


def losses(predictions: Predictions) -> np.ndarray:
    """Cross-entropy of each example in nats: float64[n]."""
    logits = predictions.logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(shifted)), predictions.labels]


def accuracy_and_loss(predictions: Predictions) -> dict[str, float]:
    """Share of right predictions, and mean cross-entropy."""
    right = int((predictions.predicted == predictions.labels).sum())
    return {
        "accuracy": right / len(predictions.labels),
        "loss": math.fsum(losses(predictions)) / len(predictions.labels),
    }


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """int64[classes, classes]: row is the true class, column the predicted one."""
    classes = predictions.logits.shape[1]
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (predictions.labels, predictions.predicted), 1)
    return matrix


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927)."""
    share, z2 = right / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def summarise(predictions: Predictions, classes: tuple[str, ...]) -> dict[str, Any]:
    """Everything that `evaluation-<split>.json` holds; shares without a denominator are 0."""
    matrix, n = confusion_matrix(predictions), len(predictions.labels)
    right = np.diag(matrix)
    support, predicted = matrix.sum(1), matrix.sum(0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    own = predictions.logits[np.arange(n), predictions.labels][:, None]
    rank = (predictions.logits > own).sum(-1)
    return {
        "n": n,
        **accuracy_and_loss(predictions),
        "accuracy_ci95": wilson_interval(int(right.sum()), n),
        "top5_accuracy": float((rank < 5).mean()),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion_matrix": matrix.tolist(),
        "classes": list(classes),
    }
