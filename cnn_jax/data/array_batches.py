"""Batches of rows of arrays, in the very order in which the images themselves would come (see `stream`)."""

from collections.abc import Generator, Sequence

import numpy as np
from jaxtyping import Int32, Int64, Shaped

from cnn_jax.config import AugmentConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import Batch, TrainStream, pass_order, steps_per_pass
from cnn_jax.io.store import Rows


def training_batches(
    split: Split,
    resize: Resize,
    batch_size: int,
    seed: int,
    augment: AugmentConfig,
    first_step: int = 0,
    process: int = 0,
    processes: int = 1,
) -> Generator[Batch, None, None]:
    """The batches of `TrainStream`; of images in memory that stay as they are, without TensorFlow."""
    images = split.images
    if isinstance(images, ArrayImages) and images.pixels.shape[1:] == resize.shape and not augment.changes_images:
        return training_rows([images.pixels], split.labels, batch_size, seed, first_step, process, processes)
    stream = TrainStream(split, resize, batch_size, seed, augment, process, processes)
    return stream.batches(first_step)


def training_rows(
    views: Sequence[Shaped[np.ndarray, "n ..."] | Rows],
    labels: Int32[np.ndarray, " n"],
    batch_size: int,
    seed: int,
    first_step: int = 0,
    process: int = 0,
    processes: int = 1,
) -> Generator[Batch, None, None]:
    """The batches of `TrainStream` from step `first_step` on, with rows of arrays in the place of images.

    Args:
        views: arrays of the same examples; the passes over the data take them in turn.
        labels: of the examples.
        process: this one's place among `processes`: it gets that part of each batch.
    """
    steps = steps_per_pass(len(labels), batch_size)
    number, first = divmod(first_step, steps)
    while True:
        rows, order = views[number % len(views)], pass_order(len(labels), batch_size, seed, number)
        for step in range(first, steps):
            here = order[step * batch_size : (step + 1) * batch_size]
            yield _batch(rows, labels, here, batch_size, process, processes)
        number, first = number + 1, 0


def evaluation_rows(
    rows: Shaped[np.ndarray, "n ..."] | Rows,
    labels: Int32[np.ndarray, " n"],
    batch_size: int,
    process: int = 0,
    processes: int = 1,
) -> Generator[Batch, None, None]:
    """The batches of `evaluation_batches` with rows of an array in the place of images."""
    for start in range(0, len(labels), batch_size):
        here = np.arange(start, min(start + batch_size, len(labels)))
        yield _batch(rows, labels, here, batch_size, process, processes)


def _batch(
    rows: Shaped[np.ndarray, "n ..."] | Rows,
    labels: Int32[np.ndarray, " n"],
    indices: Int64[np.ndarray, " m"],
    batch_size: int,
    process: int,
    processes: int,
) -> Batch:
    """A process' part of the rows at these places, filled up with the first row, whose mask is False."""
    local = batch_size // processes
    part = slice(process * local, (process + 1) * local)
    mask = (np.arange(batch_size) < len(indices))[part]
    filled = np.concatenate([indices, np.zeros(batch_size - len(indices), indices.dtype)])[part]
    return {"image": rows[filled], "label": labels[filled], "index": filled, "mask": mask}
