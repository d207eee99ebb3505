"""Run a model over every example of a split, each exactly once."""

from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from cnn_jax.data.stream import Batch
from cnn_jax.evaluation.metrics import Predictions

Predict = Callable[[UInt8[np.ndarray, "b h w 3"]], Float32[np.ndarray | Array, "b _"]]
"""Images to logits, or to something else of each."""


def predict_all(
    predict: Predict, batches: Iterable[Batch], progress: Callable[[int], None] = lambda n: None
) -> Predictions:
    """Collect predictions and labels from the same batches, padding left out.

    Args:
        predict: see `Predict`.
        batches: see `cnn_jax.data.stream.evaluation_batches`.
        progress: called with the number of examples of each batch.
    """
    logits, labels = [], []
    for batch, found in run_ahead(predict, batches):
        mask = batch["mask"]
        logits.append(found[mask])
        labels.append(batch["label"][mask])
        progress(int(mask.sum()))
    return Predictions(np.concatenate(logits), np.concatenate(labels))


def run_ahead(predict: Predict, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Float32[np.ndarray, "b _"]]]:
    """Each batch with what `predict` says of it.

    The device gets the next batch before its answer to this one is waited for, so that it never idles between them.
    """
    waiting: list[tuple[Batch, Float32[np.ndarray | Array, "b _"]]] = []
    for batch in batches:
        waiting.append((batch, predict(batch["image"])))
        if len(waiting) > 1:
            before, found = waiting.pop(0)
            yield before, np.asarray(found)
    for last, found in waiting:
        yield last, np.asarray(found)


def flip_averaged(predict: Predict) -> Predict:
    """Log-probabilities in the place of logits: the mean of the probabilities of each image and its mirror image.

    As Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015, §3.2),
    average the posteriors of the softmax.
    """

    def both(images: UInt8[np.ndarray, "b h w 3"]) -> Float32[Array, "_ classes"]:
        return _mean_log_probabilities(predict(images), predict(images[:, :, ::-1]))

    return both


@jax.jit
def _mean_log_probabilities(
    first: Float32[Array, "b classes"], second: Float32[Array, "b classes"]
) -> Float32[Array, "b classes"]:
    return jnp.logaddexp(jax.nn.log_softmax(first), jax.nn.log_softmax(second)) - jnp.log(2.0)
