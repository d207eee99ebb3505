"""Knowledge distillation: a trained network, the teacher, from whose probabilities another one learns.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015, arXiv:1503.02531).
"""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from cnn_jax.config import Config, DataConfig, TrainConfig
from cnn_jax.config.image_size import in_pixels
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import Batch, evaluation_batches
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.evaluation.evaluator import run_ahead
from cnn_jax.io.files import as_path
from cnn_jax.models.chain import Variables
from cnn_jax.training import trained_run
from cnn_jax.training.features.kept_predictions import KeptPredictions
from cnn_jax.training.freezing import digest
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.step import Distillation, make_predict
from cnn_jax.training.trained_run import TrainedRun
from cnn_jax.weights import pretrained
from cnn_jax.weights.options import PretrainedConfig

FILES = (".keras", ".h5")
"""Endings of Keras' models; anything else is a run, or a checkpoint of one."""
TAUGHT = "taught"
"""The teacher's logits in a batch."""


@dataclass(frozen=True)
class Teacher:
    """A trained network for the classes of the run that learns from it."""

    run: TrainedRun
    order: tuple[int, ...]
    """For each class of the run that learns, its place among the teacher's."""
    inside: bool
    """Whether it runs inside the training step, on the very images that the step trains on: these differ from visit to
    visit. Otherwise what it says of each image is computed once."""

    @property
    def content(self) -> str:
        """A hash of its parameters and statistics."""
        return digest(self.run.variables)

    @property
    def description(self) -> str:
        """In a few words."""
        step = f", step {self.run.step}" if self.run.step else ""
        return f"{self.run.config.model.name}, {in_pixels(self.run.model.image_size)}, of {self.run.directory}{step}"

    def distillation(self, config: TrainConfig) -> Distillation:
        """What the training step has to know of it."""
        model = self.run.model if self.inside else None
        return Distillation(config.distillation_temperature, config.distillation_weight, model, self.order)

    def logits(
        self, examples: Split, mesh: Mesh, batch_size: int, reporter: Reporter, stopped: Callable[[], bool]
    ) -> Float32[np.ndarray, "n classes"] | None:
        """What it says of each example; None where `stopped` says that nobody waits for it.

        Kept in the cache folder, as what `evaluate` computes.

        Raises:
            RunError: it gives no numbers.
            DataError: an image cannot be read; the message names the file.
        """
        kept = KeptPredictions(self.run, examples, flip_averaging=False)
        logits, missing = kept.read()
        step, variables, done = make_predict(self.run.model, mesh), mesh.replicate(self.run.variables), 0
        read = evaluation_batches(examples.take(missing), self.run.resize, batch_size, mesh.process, mesh.processes)
        with reporter.bar("teacher", len(missing), "images") as bar, contextlib.closing(read):
            parts = mesh.with_all_labels(read) if len(missing) else ()
            for batch, found in run_ahead(lambda images: step(variables, mesh.put_batch(images)), parts):
                rows = found[batch["mask"]]
                logits[missing[done : done + len(rows)]] = rows
                done += len(rows)
                bar.advance(len(rows), items=len(rows))
                if stopped():
                    break
        reason = kept.add(missing[:done], logits[missing[:done]])
        if done < len(missing):
            return None
        if not np.isfinite(logits).all():
            raise RunError(f"train.teacher={self.run.directory} gives no numbers for some images: it diverged")
        known = f", {len(logits) - len(missing):,} of them known before" if len(missing) < len(logits) else ""
        reporter.line(f"teacher    asked once for each of {len(logits):,} training images{known}")
        if reason:
            reporter.line(f"           what it said is not kept for the next start: {reason}")
        return logits[:, self.order]


@dataclass(frozen=True)
class Taught:
    """What the steps of a phase are given of a teacher: its logits of every training image, or the teacher itself."""

    rows: Float32[np.ndarray, "n classes"] | None = None
    variables: Variables | None = None
    """On all devices."""

    def batches(self, batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
        """The batches, with the teacher's logits where there are some."""
        with contextlib.closing(batches):
            for batch in batches:
                yield batch if self.rows is None else {**batch, TAUGHT: self.rows[batch["index"]]}

    def arguments(self, batch: dict[str, Any]) -> tuple[Any, ...]:
        """What the step takes after the state, of a batch on the devices."""
        more = [batch[TAUGHT]] if TAUGHT in batch else [] if self.variables is None else [self.variables]
        return (batch["image"], batch["label"], *more)


def load(config: Config, classes: tuple[str, ...]) -> Teacher | None:
    """The teacher that the configuration names, for these classes; None without one.

    Raises:
        UserError: there is no such network, it cannot be read, or it tells other classes apart.
    """
    if config.train.teacher is None:
        return None
    path = as_path(config.train.teacher)
    try:
        run = _of_file(path) if path.suffix in FILES else trained_run.load(path)
    except RunError as error:
        raise RunError(str(error).replace("--checkpoint=", "train.teacher=", 1)) from error
    if set(run.classes) != set(classes):
        raise ConfigError(
            f"train.teacher={path} tells other classes apart: {', '.join(run.classes[:10])}; those of the data set "
            f"are {', '.join(classes[:10])}"
        )
    augment = config.data.augment
    order = tuple(run.classes.index(name) for name in classes)
    return Teacher(run, order, inside=augment.changes_images or augment.mixes)


def _of_file(path: Path) -> TrainedRun:
    try:
        loaded = pretrained.load(PretrainedConfig(name="keras", weights=str(path)), need_top=True)
    except ConfigError as error:  # what a flag says for a network that trains, a teacher's file has to say itself
        raise RunError(
            f"train.teacher={path} leaves open what images it takes. {error}. Put that into the file, for images from "
            "0 to 1: keras.Sequential([keras.Input((h, w, 3)), keras.layers.Rescaling(1 / 255), model]).save(…)"
        ) from error
    if loaded.classes is None:
        raise RunError(f"train.teacher={path} does not name its classes: put a labels.txt beside it, a class a line")
    return trained_run.of_file(loaded, loaded.classes, DataConfig())
