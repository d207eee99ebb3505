"""The features of a run's own images, for `predict --other` (see `cnn_jax.evaluation.known`)."""

from dataclasses import replace

import numpy as np
from jaxtyping import Array, Float32, UInt8

from cnn_jax.data import sources, splits
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import evaluation_batches
from cnn_jax.errors import RunError
from cnn_jax.evaluation.evaluator import run_ahead
from cnn_jax.evaluation.known import Known
from cnn_jax.runtime.compiling import jit
from cnn_jax.training.freezing import digest
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.trained_run import TrainedRun

MOST = 10_000
"""Training images, evenly chosen: a hundredth of ImageNet's was enough in the paper."""


def compute(run: TrainedRun, reporter: Reporter) -> Known:
    """What is known of the images of a run: the training images' features, and the validation images' distances.

    Raises:
        UserError: the images are gone, one cannot be read, or there are no validation images.
    """
    dataset = splits.read(sources.open_dataset(replace(run.config.data, exclude=None)), run.directory / "split.json")
    if "validation" not in dataset.splits:
        raise RunError(f"{run.directory} has no validation images, by which --features sets how far is too far")
    training, validation = dataset.splits["train"], dataset.splits["validation"]
    if len(training) > MOST:
        training = training.take(np.linspace(0, len(training) - 1, MOST).astype(np.int64))
    known = _features(run, training, "train", reporter)
    return Known.of(known, _features(run, validation, "validation", reporter), digest(run.variables))


def _features(run: TrainedRun, examples: Split, name: str, reporter: Reporter) -> Float32[np.ndarray, "n d"]:
    """What the classifier is given of each image."""
    mesh, size, found = Mesh.create(), run.config.data.eval_batch_size, []
    mesh.check_batch_size(size, "data.batch_size")
    step = jit(
        lambda variables, images: run.model.features(variables, images),
        in_shardings=(mesh.replicated, mesh.sharded),
        out_shardings=mesh.replicated,
    )
    variables = mesh.replicate(run.variables)

    def features(images: UInt8[np.ndarray, "part h w 3"]) -> Float32[Array, "b d"]:
        return step(variables, mesh.put_batch(images))

    parts = mesh.with_all_labels(evaluation_batches(examples, run.resize, size, mesh.process, mesh.processes))
    with reporter.bar(f"features {name}", len(examples), "images") as bar:
        for batch, rows in run_ahead(features, parts):
            found.append(rows[batch["mask"]])
            bar.advance(len(found[-1]), items=len(found[-1]))
    return np.concatenate(found)
