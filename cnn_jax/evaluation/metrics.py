"""Exact metrics from the predictions on every example of a split."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of n examples, in their order."""

    logits: Float[np.ndarray, "n classes"]
    """Float32 as a network gives them; float64 where they were divided by a temperature."""
    labels: Int[np.ndarray, " n"]

    @cached_property
    def predicted(self) -> Int64[np.ndarray, " n"]:
        """The class with the highest logit, the first of equals."""
        return self.logits.argmax(-1)

    @cached_property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether the predicted class is the true one."""
        return self.predicted == self.labels

    @cached_property
    def probabilities(self) -> Float64[np.ndarray, "n classes"]:
        """Softmax of the logits."""
        logits = self.logits.astype(np.float64)
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    def probability_of(self, classes: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The probability of one class of each example."""
        return self.probabilities[np.arange(len(classes)), classes]


def losses(predictions: Predictions) -> Float64[np.ndarray, " n"]:
    """Cross-entropy of each example in nats."""
    logits = predictions.logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(shifted)), predictions.labels]


def mean_loss(predictions: Predictions) -> float:
    """Mean cross-entropy in nats; the sum over the examples is exact."""
    return math.fsum(losses(predictions)) / len(predictions.labels)


def accuracy_and_loss(predictions: Predictions) -> dict[str, float]:
    """Share of right predictions, and mean cross-entropy."""
    return {
        "accuracy": int(predictions.right.sum()) / len(predictions.labels),
        "loss": mean_loss(predictions),
    }


def top_k_accuracy(predictions: Predictions, k: int) -> float:
    """Share of examples whose true class is among the k most probable; of equal logits the first classes count."""
    logits, labels = predictions.logits, predictions.labels[:, None]
    own = np.take_along_axis(logits, labels, 1)
    tied_before = (logits == own) & (np.arange(logits.shape[1]) < labels)
    return float((((logits > own) | tied_before).sum(-1) < k).mean())


def confusion_matrix(predictions: Predictions) -> Int64[np.ndarray, "classes classes"]:
    """How many examples of a class are taken for which: row is the true class, column the predicted one."""
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


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of each class; a share without a denominator is 0."""

    precision: Float64[np.ndarray, " classes"]
    recall: Float64[np.ndarray, " classes"]
    f1: Float64[np.ndarray, " classes"]
    support: Int64[np.ndarray, " classes"]
    """Examples of the class."""
    predicted: Int64[np.ndarray, " classes"]
    """Examples that are taken for it."""
    occurs: Bool[np.ndarray, " classes"]
    """Whether the class is the true or the predicted one of any example."""

    @classmethod
    def of(cls, matrix: Int64[np.ndarray, "classes classes"]) -> "ClassScores":
        """The scores that follow from a confusion matrix."""
        right, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        return cls(
            right / np.maximum(predicted, 1),
            right / np.maximum(support, 1),
            2 * right / np.maximum(support + predicted, 1),
            support,
            predicted,
            support + predicted > 0,
        )

    def macro(self) -> dict[str, float]:
        """Plain means over the classes that occur, as scikit-learn's by default."""
        return self._means(self.occurs.astype(np.float64))

    def weighted(self) -> dict[str, float]:
        """Means over the classes, weighted by their numbers of examples."""
        return self._means(self.support.astype(np.float64))

    def _means(self, weights: Float64[np.ndarray, " classes"]) -> dict[str, float]:
        shares = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {name: float(np.average(values, weights=weights)) for name, values in shares.items()}


def roc_auc(scores: Float64[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float | None:
    """Area under the ROC curve: the chance that a positive example scores above a negative one, ties counting half.

    By the rank sum (Mann and Whitney, 1947; Hanley and McNeil, 1982).

    Args:
        scores: higher for what is more probably positive.
        positive: whether it is.

    Returns:
        None where there are no positive examples, or no others.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of equal scores, the mean of their places
    above = math.fsum(ranks[place[positive]]) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def one_vs_rest_auc(predictions: Predictions) -> list[float | None]:
    """`roc_auc` of the probability of each class against all others; None where a class has no example."""
    return [roc_auc(column, predictions.labels == label) for label, column in enumerate(predictions.probabilities.T)]


def overall_auc(areas: list[float | None]) -> float | None:
    """Of two classes the second one's area, of more their plain mean; None where that of some class is undefined."""
    if any(area is None for area in areas):
        return None
    known = [area for area in areas if area is not None]
    return known[1] if len(known) == 2 else math.fsum(known) / len(known)


def lowest_f1_first(per_class: dict[str, Any]) -> list[str]:
    """The names of the classes in `scores_by_class`, those without an F1 last."""
    return sorted(per_class, key=lambda name: math.inf if per_class[name]["f1"] is None else per_class[name]["f1"])


def scores_by_class(predictions: Predictions, classes: tuple[str, ...]) -> dict[str, Any]:
    """The scores of each class, their averages, the areas under the ROC curves, and the confusion matrix.

    None is what has no denominator: precision where no image is taken for the class, recall where none is of it, F1
    where neither is.
    """
    matrix = confusion_matrix(predictions)
    scores, areas = ClassScores.of(matrix), one_vs_rest_auc(predictions)
    return {
        "per_class": {
            name: {
                "precision": float(scores.precision[i]) if scores.predicted[i] else None,
                "recall": float(scores.recall[i]) if scores.support[i] else None,
                "f1": float(scores.f1[i]) if scores.occurs[i] else None,
                "support": int(scores.support[i]),
                "roc_auc": areas[i],
            }
            for i, name in enumerate(classes)
        },
        "macro": scores.macro(),
        "weighted": scores.weighted(),
        "roc_auc": overall_auc(areas),
        "confusion_matrix": matrix.tolist(),
        "classes": list(classes),
    }
