"""From a configuration to everything that the training loop needs, before any file changes."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.sources import Dataset, open_dataset
from cnn_jax.data.stream import steps_per_pass, unreadable
from cnn_jax.errors import DataError
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.models.model import Model, build
from cnn_jax.training.freezing import Freezing, count
from cnn_jax.training.logs import Reporter, write_atomically
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.state import TrainState
from cnn_jax.weights import keras_h5, locate, transfer


@dataclass(frozen=True)
class Job:
    """A run that is ready to start."""

    config: Config
    mesh: Mesh
    dataset: Dataset
    model: Model
    freezing: Freezing
    optimizer: optax.GradientTransformation
    variables: Variables
    """Before the first step."""
    weights: list[str]
    """What became of the pretrained weights, for the log."""

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in an epoch."""
        full_pass = steps_per_pass(len(self.dataset.splits["train"]), self.config.data.batch_size)
        return self.config.data.steps_per_epoch or full_pass

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers of parameters: total, trainable and frozen."""
        trainable, frozen = (count(part) for part in self.freezing.split(self.variables["params"]))
        return {"total": trainable + frozen, "trainable": trainable, "frozen": frozen}

    def initial_state(self) -> TrainState:
        """The state before the first step, on all devices; a copy, since steps consume their input."""
        variables = jax.tree.map(jnp.array, self.variables)
        state = TrainState.create(variables, self.optimizer, self.freezing)
        return jax.device_put(state, self.mesh.replicated)


def set_up(config: Config, recorded_splits: Path | None) -> Job:
    """Find the data, build the model, load the weights.

    Args:
        recorded_splits: the split.json of an earlier start of this run; None draws the splits by the seed.

    Raises:
        UserError: what is wrong, and the fix.
    """
    mesh = Mesh.create()
    mesh.check_batch_size(config.data.batch_size, "data.batch_size")
    mesh.check_batch_size(config.data.eval_batch_size, "data.eval_batch_size")
    weights_file = locate.locate(config.model)  # before the data: a missing file is known at once
    dataset = _open_splits(config, recorded_splits)
    model = build(config.model, len(dataset.classes))
    freezing = Freezing.until(model, config.train.freeze_until)
    variables, weights = _initial_variables(config, model, weights_file)
    return Job(config, mesh, dataset, model, freezing, make_optimizer(config.optimizer), variables, weights)


def _open_splits(config: Config, recorded: Path | None) -> Dataset:
    dataset = open_dataset(config.data)
    if recorded is not None:
        dataset = splits.read(dataset, recorded)
    else:
        dataset = splits.partition(dataset, config.data.split, config.seed)
    for name in ("train", "validation"):
        if name not in dataset.splits:
            raise DataError(f"data.dataset={config.data.dataset} has no {name} images: give them a share in data.split")
    return dataset


def _initial_variables(config: Config, model: Model, path: Path | None) -> tuple[Variables, list[str]]:
    """Random variables by the seed, with the pretrained weights in their places; and what became of those."""
    variables = jax.jit(model.init)(jax.random.key(config.seed))
    if path is None:
        return variables, ["random weights"]
    merged, transferred = transfer.merge(
        variables,
        keras_h5.read(path),
        new_layers=model.new_layers,
        replaced_layers=model.replaced_layers,
        depthwise_layers=depthwise_layers(model.layers),
        source=str(path),
    )
    return merged, [f"weights {path.name}", *transferred.describe()]


def without_unreadable(dataset: Dataset, config: Config, workdir: Path, reporter: Reporter) -> Dataset:
    """With data.unreadable=skip, leave out the images that cannot be read and list them in unreadable.json."""
    if config.data.unreadable == "error":
        return dataset
    kept, bad = {}, {}
    for name, split in dataset.splits.items():
        found = unreadable(split, config.model.image_size)
        bad[name] = [split.ids[i] for i in found]
        kept[name] = split.take(np.setdiff1d(np.arange(len(split)), found))
        missing = [c for i, c in enumerate(dataset.classes) if not (kept[name].labels == i).any()]
        if missing:
            raise DataError(f"no image of class {missing[0]!r} in {name} can be read")
    listed = [name for names in bad.values() for name in names]
    write_atomically(workdir / "unreadable.json", json.dumps(bad, indent=1))
    if listed:
        reporter.line(
            f"{len(listed)} images cannot be read and are left out (unreadable.json), the first is {listed[0]}"
        )
    return Dataset(dataset.name, dataset.classes, kept)
