"""Train and fine-tune convolutional image classifiers in JAX.

Annotations of arrays say dtype and shape, as `Float32[Array, "b classes"]` does (jaxtyping). The same name is the same
size throughout a signature, and means the same throughout the package:

    b, part              images of a batch, and those of them that one process or device has
    n, m                 examples or other rows, and those of another number: chosen ones, or filled up to a whole batch
    h, w, s              rows and columns, and both of a square
    c, f                 channels of an input, and those of an output: the filters
    oh, ow, kh, kw, in   rows and columns of an output and of a kernel, and the channels that a kernel takes
    d                    values of a feature vector
    classes, classes_d   classes, and classes with a feature vector behind them
    pairs, draws, bytes  pairs of images, random numbers of an image, bytes of a fingerprint
    epochs, steps        epochs, and steps of a call
    splits, columns      splits of a data set, and columns of a grid of images
    places, row_bytes    places in the order of a pass, and bytes of a kept row
    *size, *shape        any axes between batch and channels, and any at all, that stay the same
    _, ...               one that nothing else has, and any number of those
"""

import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from cnn_jax.runtime.clock import process_age
from cnn_jax.runtime.tuning import keep_compiled_programs, tune_process

if TYPE_CHECKING:
    from cnn_jax.config import Config
    from cnn_jax.evaluation.classifier import Classifier

__all__ = ["fit", "load", "runs"]

# A library's bar for notebooks, which is not used here, asks for a package that is not needed either.
warnings.filterwarnings("ignore", message="IProgress not found")

# `cnn-jax` or `python -m cnn_jax.…`, whose module is being looked for: before anything else is imported.
if sys.argv[:1] == ["-m"] or os.path.basename("".join(sys.argv[:1])) == "cnn-jax":
    tune_process()

STARTED = time.perf_counter() - process_age()
"""When this process began, by `time.perf_counter`."""


def fit(config: "Config", workdir: str | os.PathLike[str], *, report: bool = True) -> dict[str, Any]:
    """Train or fine-tune as `python -m cnn_jax.train` does; called again, a run goes on where it stopped.

        from cnn_jax.config import Config, DataConfig
        result = cnn_jax.fit(Config(data=DataConfig(dataset="folder:photos")), "runs/first")
        result["best"]                                   # {"epoch": 5, "accuracy": 0.97, "loss": 0.09}

    Args:
        workdir: the run directory, made if need be.
        report: at the end, measure the best checkpoint on the validation images, and write report.html.

    Returns:
        What result.json holds.

    Raises:
        cnn_jax.errors.UserError: something that the caller can mend; the message says how.
        cnn_jax.errors.RunFailed: the training diverged, or the disk is full; what was saved stays.
        KeyboardInterrupt: as it came, but after the state was saved.
    """
    import signal
    from pathlib import Path

    begun = time.perf_counter()
    from cnn_jax.api.paths import resolve_paths
    from cnn_jax.runtime.clock import Clock

    keep_compiled_programs()
    from cnn_jax.api.fitting import fit_and_report
    from cnn_jax.training.run.logs import Reporter

    outcome = fit_and_report(resolve_paths(config), Path(workdir), Reporter(), Clock(begun), report)
    if outcome.stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    return outcome.result


def runs(pattern: str) -> list[dict[str, Any]]:
    """A row for each run directory that the pattern matches, by name: what it was told, and what it reached.

        import pandas
        table = pandas.DataFrame(cnn_jax.runs("runs/*"))
        table[["run", "train.freeze_until", "accuracy", "validation.low", "validation.high", "wall_seconds"]]

    Columns: `run`, `status`, `accuracy`, `loss` and `epoch` of the best epoch, numbers of parameters, for each
    evaluation `SPLIT.accuracy` with its interval `SPLIT.low` to `SPLIT.high`, and every field of the configuration
    under its flag's name. A run that cannot be read has the reason as its `status`. What is no run has no row.
    """
    from cnn_jax.comparing import table
    from cnn_jax.errors import RunError

    try:
        found = map(table.row, table.directories(pattern))
    except RunError:  # a path that is not there
        return []
    return [row for row in found if row is not None]


def load(run: str | os.PathLike[str], *, threshold: float = 0.0, other: float | None = None) -> "Classifier":
    """The trained network of a run directory, one of its checkpoints, or an exported file, ready to classify images.

        classifier = cnn_jax.load("runs/mobilenet_ft")   # or "mobilenet_ft.tflite", "mobilenet_ft.onnx", …
        classifier("photo.jpg").classes                  # ("dogs",)
        classifier(images).probabilities                 # images: uint8[n, h, w, 3]; float32[n, classes]
        cnn_jax.load(run, threshold=0.8)(images).answers # a class, or "not sure"

    Args:
        threshold: below this probability of the most probable class, the answer is "not sure".
        other: so large a share of the validation images is taken for known, such as 0.95; what is farther from the
            training images gets the answer "none of the classes". The run needs features.npz (`evaluate --features`).

    Raises:
        cnn_jax.errors.RunError: there is no such run, it has no checkpoint yet, or the checkpoint or features.npz is
            damaged or missing.
        cnn_jax.errors.WeightsError: the file cannot be run, or is no classifier of images of 0 to 255.
        cnn_jax.errors.ConfigError: `other` for a file, which does not know its training images.
    """
    from cnn_jax.api import inference  # what takes long to import loads only when it is used
    from cnn_jax.io.files import as_path

    return inference.load(as_path(run), threshold=threshold, other=other)
