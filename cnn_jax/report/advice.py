"""What the numbers of a finished run plainly say, in two lines at most; nothing where they leave room for doubt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from cnn_jax.config import Config, DataConfig
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.io.escaping import printable

MOST_LINES = 2

FEWEST_EPOCHS = 4
"""Of a curve that says anything."""

STEADY = 0.5
"""The last fall of a loss, as a share of its mean fall from epoch to epoch, from which on it has not begun to level."""

LEAST_FALL = 0.003
"""Of the loss itself, in the last epoch; less may be noise."""

PARTED = 0.15
"""Share by which the validation loss has risen, and the training loss fallen, since the best epoch."""

PARTED_EPOCHS = 3
"""How long ago that epoch is at least."""

FEWEST_IMAGES = 10
"""Of a class that is never predicted; fewer may be chance."""


def advice(
    config: Config, metrics: Sequence[dict[str, Any]], predictions: Predictions | None, classes: Sequence[str]
) -> list[str]:
    """Sentences, each with the flag that helps.

    Args:
        metrics: the lines of metrics.jsonl.
        predictions: of the validation images by the best epoch, where they are known.
    """
    train, validation = (_losses(metrics, split) for split in ("train", "validation"))
    found = [
        *_still_falls(config, train, validation),
        *_parted(config.data, train, validation),
        *_never_predicted(predictions, classes),
    ]
    return found[:MOST_LINES]


def _losses(metrics: Sequence[dict[str, Any]], split: str) -> Float64[np.ndarray, " epochs"]:
    """By epoch."""
    return np.asarray([line["loss"] for line in metrics if line.get("split") == split and "loss" in line], np.float64)


def _still_falls(
    config: Config, train: Float64[np.ndarray, " epochs"], validation: Float64[np.ndarray, " _"]
) -> list[str]:
    if config.train.head_epochs or len(validation) < FEWEST_EPOCHS:  # the curve of two phases is no one curve
        return []
    for losses in (train, validation):
        falls = -np.diff(losses)
        if (falls <= 0).any() or falls[-1] < max(STEADY * falls.mean(), LEAST_FALL * losses[-1]):
            return []
    rate, epochs = config.optimizer.learning_rate, config.train.epochs
    return [
        f"the losses fall as fast at the end as before: train longer (--train.epochs={3 * epochs}), or with a higher "
        f"--optimizer.learning_rate than {rate:g} (--find-learning-rate suggests one)"
    ]


def _parted(
    config: DataConfig, train: Float64[np.ndarray, " epochs"], validation: Float64[np.ndarray, " _"]
) -> list[str]:
    if len(validation) < FEWEST_EPOCHS:
        return []
    best = int(validation.argmin())
    ago = len(validation) - 1 - best
    since = validation[best + 1 :]
    if ago < PARTED_EPOCHS or since.min() < (1 + PARTED / 3) * validation[best]:
        return []
    if validation[-1] < (1 + PARTED) * validation[best] or train[-1] > (1 - PARTED) * train[best]:
        return []
    stop = f"--train.early_stopping_epochs={PARTED_EPOCHS}"
    helps = stop if config.augment.changes_images else f"--augment, or {stop}"
    return [
        f"since epoch {best + 1} the training loss falls and the validation loss rises, so what is learnt since is the "
        f"training images by heart: {helps}"
    ]


def _never_predicted(predictions: Predictions | None, classes: Sequence[str]) -> list[str]:
    if predictions is None:
        return []
    there = np.bincount(predictions.labels, minlength=len(classes))
    said = np.bincount(predictions.predicted, minlength=len(classes))
    never = [printable(classes[int(i)]) for i in np.flatnonzero((there >= FEWEST_IMAGES) & (said == 0))]
    if not never:
        return []
    names = ", ".join(never[:3]) + (f" and {len(never) - 3} more" if len(never) > 3 else "")
    return [
        f"no validation image is taken for {names}: look at its images (check_data), or --train.class_weights=balanced"
    ]
