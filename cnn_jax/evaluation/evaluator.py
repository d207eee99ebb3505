"""Run a model over every example of a split, each exactly once."""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from cnn_jax.data.stream import Batch
from cnn_jax.evaluation.metrics import Predictions


def predict_all(
    predict: Callable[[np.ndarray], np.ndarray | jax.Array],
    batches: Iterable[Batch],
    progress: Callable[[int], None] = lambda n: None,
) -> Predictions:
    """Collect predictions and labels from the same batches, padding left out.

    Args:
        predict: uint8[b, s, s, 3] to logits float32[b, classes].
        batches: see `cnn_jax.data.stream.evaluation_batches`.
        progress: called with the number of examples of each batch.
    """
    logits, labels = [], []
    for batch in batches:
        mask = batch["mask"]
        logits.append(np.asarray(predict(batch["image"]))[mask])
        labels.append(batch["label"][mask])
        progress(int(mask.sum()))
    return Predictions(np.concatenate(logits), np.concatenate(labels))
