"""What TensorBoard shows beside the curves: some training images as the network sees them, and the confusion matrix."""

import contextlib

from cnn_jax.data.stream import TrainStream
from cnn_jax.evaluation.metrics import Predictions, confusion_matrix
from cnn_jax.evaluation.plots import confusion_picture
from cnn_jax.training.logs import MetricsLog
from cnn_jax.training.setup import Job

SHOWN_IMAGES = 8


def log_inputs(job: Job, log: MetricsLog) -> None:
    """Some training images, resized and augmented as in training."""
    if not log.shows_images:
        return
    split, data = job.dataset.splits["train"], job.config.data
    stream = TrainStream(split, job.resize, SHOWN_IMAGES, job.config.seed, data.augment)
    with contextlib.closing(stream.batches()) as batches:
        log.images("train/images", 0, next(batches)["image"])


def log_confusion(job: Job, log: MetricsLog, step: int, predictions: Predictions) -> None:
    """The confusion matrix of a validation."""
    if log.shows_images:
        picture = confusion_picture(confusion_matrix(predictions), job.dataset.classes)
        log.images("validation/confusion_matrix", step, picture[None])
