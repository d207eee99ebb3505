"""The layers of a run without its classifier, as a Keras model of feature maps."""

from dataclasses import replace
from pathlib import Path

from cnn_jax.config import ModelConfig
from cnn_jax.models import quantization
from cnn_jax.models.architectures.registry import ARCHITECTURES
from cnn_jax.models.head import HEAD
from cnn_jax.models.model import Model
from cnn_jax.training.trained_run import TrainedRun
from cnn_jax.weights import keras_model


def write(run: TrainedRun, path: Path) -> tuple[int, ...]:
    """Write them to `path`; returns the shape of the feature maps of one image."""
    model = without_classifier(quantization.plain(run.model), run.config.model)
    keras_model.write(path, model, run.variables, run.config.name, probabilities=False)
    return tuple(model.output_shapes[str(model.layers[-1].name)].shape[1:])


def without_classifier(model: Model, config: ModelConfig) -> Model:
    """The model up to its feature maps; that of a Keras file up to what its classifier takes."""
    if config.name == "keras":
        return replace(model, layers=model.layers[: len(model.layers_before(HEAD, "--top"))])
    return replace(model, layers=ARCHITECTURES[config.name].body(config))
