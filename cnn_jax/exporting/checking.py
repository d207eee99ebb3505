"""Hold an exported file against its run: its own runtime on the run's images."""

import importlib.metadata
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from cnn_jax.data.sources import Split
from cnn_jax.data.sources.images import ResizedImages
from cnn_jax.evaluation.comparison import compare
from cnn_jax.evaluation.metrics import Predictions, wilson_interval
from cnn_jax.evaluation.network import Network
from cnn_jax.exporting import keras_files, litert, onnx, saved_model, stablehlo
from cnn_jax.exporting.formats import FORMATS, FormatName
from cnn_jax.models import quantization
from cnn_jax.models.model import Model
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run_evaluation import predict
from cnn_jax.training.trained_run import TrainedRun
from cnn_jax.weights.verify import made_up_images

BATCH = 64
TIMED, WARM_UP = 30, 3
"""Images, one at a time."""
MADE_UP = 16
"""Images where the run's own are not there."""

NETWORKS: dict[FormatName, Callable[[Path], Network]] = {
    "litert": litert.LiteRTNetwork,
    "litert-float16": litert.LiteRTNetwork,
    "litert-int8": litert.LiteRTNetwork,
    "onnx": onnx.OnnxNetwork,
    "saved-model": saved_model.SavedModelNetwork,
    "keras": keras_files.KerasNetwork,
    "keras-h5": keras_files.KerasNetwork,
    "stablehlo": stablehlo.StableHloNetwork,
}
PACKAGES: dict[str, tuple[str, ...]] = {
    "LiteRT": ("ai-edge-litert",),
    "ONNX Runtime": ("onnxruntime",),
    "TensorFlow": ("tensorflow-cpu", "tensorflow"),
    "Keras": ("keras",),
    "JAX": ("jax",),
}
"""Runtime to the package whose version is told, under the first name that is installed."""


@dataclass(frozen=True)
class Reference:
    """Images, and what the run says of them."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    predictions: Predictions
    """Of the run, in float32."""
    split: str | None
    """The name of the split; None where the images are made up, and have no labels."""

    @classmethod
    def of(cls, run: TrainedRun, split: str, examples: Split, reporter: Reporter) -> "Reference":
        """The run's own images; what it has said of them before is not computed again."""
        assert isinstance(examples.images, ResizedImages)
        in_float32 = replace(run, model=_in_float32(run))
        return cls(examples.images.pixels, predict(in_float32, examples, reporter, f"evaluate {split}"), split)

    @classmethod
    def made_up(cls, run: TrainedRun) -> "Reference":
        """Images without meaning: probabilities are compared, and there is no accuracy."""
        pixels = made_up_images(MADE_UP, run.model.image_size)
        model = _in_float32(run)
        logits = np.asarray(model.logits(run.variables, jnp.asarray(pixels)))
        return cls(pixels, Predictions(logits, np.zeros(len(pixels), np.int32)), None)


def _in_float32(run: TrainedRun) -> Model:
    """The network without the rounding of int8, and in float32, as the converters have it."""
    return replace(quantization.plain(run.model), precision="float32")


def check(name: FormatName, path: Path, reference: Reference, done: Callable[[int], None]) -> dict[str, Any]:
    """What the file's own runtime makes of the images, for export.json.

    `images`, `split`, `runtime` with its version, `largest_difference` of a probability, `changed`, the images with
    another most probable class, `milliseconds`, the median of one image at a time on this machine, and `fine`. Of
    images with labels also `accuracy`, `accuracy_ci95`, and the paired `difference` to the run's accuracy with
    `difference_ci95` and `mcnemar_p_value`.

    Args:
        done: is told how many images more are done.
    """
    network = NETWORKS[name](path)
    found = []
    for start in range(0, len(reference.pixels), BATCH):
        found.append(np.asarray(network.probabilities(reference.pixels[start : start + BATCH]), np.float64))
        done(len(found[-1]))
    probabilities = np.concatenate(found)
    expected, tolerance = reference.predictions, FORMATS[name].tolerance
    largest = float(np.abs(probabilities - expected.probabilities).max())
    predicted = probabilities.argmax(-1)
    record = {
        "runtime": runtime(name),
        "split": reference.split,
        "images": len(probabilities),
        "largest_difference": largest,
        "tolerance": tolerance,
        "changed": int((predicted != expected.predicted).sum()),
        "milliseconds": milliseconds(network, reference.pixels),
        # NaN is not within any bound
        "fine": bool(np.isfinite(largest)) and (tolerance is None or largest <= tolerance),
    }
    if reference.split is not None:
        record |= _accuracy(predicted == expected.labels, expected.right)
    return record


def _accuracy(right: Bool[np.ndarray, " n"], expected: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    both = compare(right, expected)
    return {
        "accuracy": int(right.sum()) / len(right),
        "accuracy_ci95": wilson_interval(int(right.sum()), len(right)),
        **{key: both[key] for key in ("difference", "difference_ci95", "mcnemar_p_value")},
    }


def milliseconds(network: Network, images: UInt8[np.ndarray, "n h w 3"]) -> float:
    """The median time of an image, one at a time."""
    taken = []
    for number in range(WARM_UP + TIMED):
        image = images[number % len(images)][None]
        begun = time.perf_counter()
        np.asarray(network.probabilities(image))
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken[WARM_UP:])


def runtime(name: FormatName) -> str:
    """What runs the file, with its version."""
    title = FORMATS[name].runtime
    for package in PACKAGES[title]:
        try:
            return f"{title} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return title
