"""Train and fine-tune convolutional image classifiers in JAX."""

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn_jax.evaluation.classifier import Classifier

__all__ = ["load"]

STARTED = time.perf_counter()
"""When this process began to import the package; for the report of what a start takes."""


def load(run: str | os.PathLike[str]) -> "Classifier":
    """The trained network of a run directory, or of one of its checkpoints, ready to classify images.

        classifier = cnn_jax.load("runs/mobilenet_ft")
        classifier("photo.jpg").classes                  # ("dogs",)
        classifier(images).probabilities                 # images: uint8[n, h, w, 3]; float32[n, classes]

    Raises:
        cnn_jax.errors.RunError: there is no such run, it has no checkpoint yet, or the checkpoint is damaged.
    """
    from cnn_jax.evaluation.classifier import Classifier  # what takes long to import loads only when it is used
    from cnn_jax.files import as_path
    from cnn_jax.training import runs

    loaded = runs.load(as_path(run))
    return Classifier(loaded.model, loaded.variables, loaded.classes, loaded.resize)
