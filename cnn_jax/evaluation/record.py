"""An evaluation as it is written: `evaluation-<split>.json`, and the predictions themselves beside it."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.sources import Split
from cnn_jax.evaluation.calibration import calibration
from cnn_jax.evaluation.metrics import (
    Predictions,
    accuracy_and_loss,
    scores_by_class,
    top_k_accuracy,
    wilson_interval,
)
from cnn_jax.files import write_atomically

MOST_MISTAKES = 50
"""In the record, the most confident first."""


@dataclass(frozen=True)
class Evaluation:
    """What a run says of every example of a split."""

    split: str
    examples: Split
    """In the order of `predictions`; labels count in the classes of the run."""
    predictions: Predictions
    record: dict[str, Any]
    """What `evaluation-<split>.json` holds."""


def summarise(predictions: Predictions, classes: tuple[str, ...], ids: Sequence[str]) -> dict[str, Any]:
    """All that follows from the predictions alone, as JSON can hold it; what is undefined is None.

    Args:
        ids: the names of the examples.
    """
    return {
        "n": len(predictions.labels),
        **accuracy_and_loss(predictions),
        "accuracy_ci95": wilson_interval(int(predictions.right.sum()), len(predictions.labels)),
        "top5_accuracy": top_k_accuracy(predictions, 5),
        **scores_by_class(predictions, classes),
        "calibration": calibration(predictions),
        "mistakes": mistakes(predictions, classes, ids),
    }


def mistakes(predictions: Predictions, classes: tuple[str, ...], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The wrong predictions with the highest probability, `MOST_MISTAKES` of them, equals in the order of the data."""
    confidence = predictions.probability_of(predictions.predicted)
    true_probability = predictions.probability_of(predictions.labels)
    wrong = np.flatnonzero(~predictions.right)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")[:MOST_MISTAKES]]
    return [
        {
            "id": ids[i],
            "true": classes[predictions.labels[i]],
            "predicted": classes[predictions.predicted[i]],
            "probability": float(confidence[i]),
            "true_probability": float(true_probability[i]),
        }
        for i in chosen
    ]


def write(evaluation: Evaluation, path: Path, predictions_path: Path) -> None:
    """Write the record as JSON, and the predictions as arrays for `numpy.load`.

    These are `ids` str[n], `labels` int32[n] and `logits` float32[n, classes], which with flip averaging are
    log-probabilities, and `classes` str[classes].
    """
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        ids=np.asarray(evaluation.examples.ids),
        labels=evaluation.predictions.labels,
        logits=evaluation.predictions.logits,
        classes=np.asarray(evaluation.record["classes"]),
    )
    write_atomically(predictions_path, arrays.getvalue())
    write_atomically(path, json.dumps(evaluation.record, indent=2, allow_nan=False))
