"""A trained network, read from a run directory, one of its checkpoints, or a file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from cnn_jax.config import Config, DataConfig
from cnn_jax.config.serialization import from_json
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.evaluation import known
from cnn_jax.evaluation.classifier import Classifier, Doubt
from cnn_jax.evaluation.network import LayeredNetwork
from cnn_jax.models import quantization
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import digest
from cnn_jax.training.run import run_directory
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.weights.pretrained import Pretrained


@dataclass(frozen=True)
class TrainedRun:
    """A run, or one checkpoint of it, ready for inference."""

    directory: Path
    step: int
    config: Config
    classes: tuple[str, ...]
    model: Model
    variables: Variables
    meta: dict[str, Any]

    @property
    def is_file(self) -> bool:
        """Whether it is the network of a file, of whose training nothing is known."""
        return not self.meta

    @property
    def resize(self) -> Resize:
        """How images of any size become what the network takes."""
        return Resize.of(self.config.data, self.config.model.image_size)

    def classifier(self, threshold: float = 0.0, other: float | None = None) -> Classifier:
        """It, ready to name what is on images.

        Args:
            threshold: see `Doubt`.
            other: the share of the validation images that are to be taken for known; None: every image is.

        Raises:
            RunError: with `other`, what is known of the images is not beside the run.
        """
        near = None if other is None else known.read(self.directory, digest(self.variables))
        doubt = Doubt(threshold, near, Doubt.share if other is None else other)
        network = LayeredNetwork(self.model, self.variables)
        return Classifier(network, self.classes, self.resize, self.config.data.background, doubt)


def load(path: Path) -> TrainedRun:
    """Read the best checkpoint of a run directory, or the checkpoint that `path` is; needs nothing else.

    Raises:
        RunError: there is no such run, it has no checkpoint yet, or the checkpoint is damaged.
    """
    directory, step = run_directory.locate(path)
    with Checkpoints(directory / "checkpoints", reading=True) as checkpoints:
        chosen = checkpoints.best() if step is None else step
        if chosen is None:
            raise RunError(f"{path} has no checkpoint: train it first, or wait for the end of the first epoch")
        meta = checkpoints.meta(chosen)
        try:
            config = from_json(json.dumps(meta["config"]), f"the checkpoint {chosen} of {directory}")
            classes = tuple(meta["classes"])
        except (ConfigError, KeyError, TypeError) as error:
            raise RunError(
                f"the checkpoint {chosen} of {directory} has metadata that cannot be read: {error}"
            ) from error
        model = build(config.model, len(classes), config.train.precision, meta.get("keras_layers"))
        if config.train.quantize is not None:
            model = quantization.active(quantization.prepared(model))
        place: Any = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        if jax.process_count() > 1:
            place = Mesh.create().replicated
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), model.shapes)
        restored = checkpoints.restore_variables(chosen, like)
        variables = jax.tree.map(lambda leaf: leaf.addressable_data(0), restored)
        return TrainedRun(directory, chosen, config, classes, model, variables, meta)


def of_file(loaded: Pretrained, classes: tuple[str, ...], data: DataConfig) -> TrainedRun:
    """The network of a file as if it were a run, of step 0."""
    config = Config(name=loaded.path.stem, model=loaded.config, data=data)
    return TrainedRun(loaded.path, 0, config, classes, loaded.model, loaded.variables, {})
