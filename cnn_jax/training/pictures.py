"""What TensorBoard shows beside the curves: some training images as the network sees them, and the confusion matrix."""

import contextlib

import numpy as np

from cnn_jax.data.stream import TrainStream, pass_order
from cnn_jax.evaluation import plots
from cnn_jax.evaluation.metrics import Predictions, confusion_matrix
from cnn_jax.runtime.compiling import beside
from cnn_jax.training.run.logs import MetricsLog
from cnn_jax.training.setup import Job

SHOWN_IMAGES = 8


def prepare(log: MetricsLog) -> None:
    """Begin to load what `log_confusion` draws with."""
    if log.shows_images:
        beside(plots.load)


def log_inputs(job: Job, log: MetricsLog) -> None:
    """Some training images, resized and augmented as in training."""
    if not log.shows_images:
        return
    split, data, seed = job.dataset.splits["train"], job.config.data, job.config.seed
    if not data.augment.changes_images:
        first = pass_order(len(split), SHOWN_IMAGES, seed, 0)[:SHOWN_IMAGES]
        log.images("train/images", 0, np.stack([job.resize.array(split.images.array(index)) for index in first]))
        return
    stream = TrainStream(split, job.resize, SHOWN_IMAGES, seed, data.augment)
    with contextlib.closing(stream.batches()) as batches:
        log.images("train/images", 0, next(batches)["image"])


def log_confusion(job: Job, log: MetricsLog, step: int, predictions: Predictions) -> None:
    """The confusion matrix of a validation."""
    if log.shows_images:
        picture = plots.confusion_picture(confusion_matrix(predictions), job.dataset.classes)
        log.images("validation/confusion_matrix", step, picture[None])
