"""A network exactly as a pretrained file has it: width, image size and classifier are read off the file.

A file that describes its layers (`model.name=keras`) says all of them.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from cnn_jax.config import ModelConfig
from cnn_jax.config.image_size import as_flag, in_pixels
from cnn_jax.errors import WeightsError
from cnn_jax.models.architectures.registry import ARCHITECTURES
from cnn_jax.models.building import build_imagenet
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.models.keras_graph.build import as_model
from cnn_jax.models.model import Model
from cnn_jax.weights import class_names, keras_arrays, keras_description, rescaling, transfer
from cnn_jax.weights.catalog import BUNDLED
from cnn_jax.weights.locate import locate
from cnn_jax.weights.options import PretrainedConfig
from cnn_jax.weights.readers import keras_h5
from cnn_jax.weights.readers.leaves import Leaves
from cnn_jax.weights.recognition import fitting_alphas


@dataclass(frozen=True)
class Pretrained:
    """A network with the weights of a file."""

    path: Path
    config: ModelConfig
    model: Model
    variables: Variables
    has_top: bool
    """Whether the file, and so the model, has its classifier; without, the model ends with the feature maps."""
    classes: tuple[str, ...] | None = None
    """The names of its classes where they are known and not ImageNet's."""
    notes: tuple[str, ...] = ()
    """What was read off the file and what was left out, a sentence each."""


def load(config: PretrainedConfig, *, need_top: bool) -> Pretrained:
    """Find and read the file, and build the network that it fits.

    Raises:
        ConfigError: the architecture has no pretrained weights.
        FetchError: the file is not here and cannot be fetched.
        WeightsError: there is no such file, it cannot be read, does not fit, was trained on images that were scaled in
            another way, or lacks the classifier that is needed.
    """
    if config.name == "keras":
        return _load_keras(config, need_top)
    path = locate(_assumed(config), top=True)
    assert path is not None, "PretrainedConfig refuses `none`"
    leaves = keras_h5.read(path)
    model_config = _described(config, path, leaves)
    model = build_imagenet(model_config)
    if other := rescaling.difference(path, model.normalisation):
        raise WeightsError(
            f"{path} gives other numbers here: {other}. Train on from it, which says the same and goes on"
        )
    has_top = any(layer in leaves["params"] for layer in _top_layers(model, model_config))
    if not has_top and need_top:
        raise WeightsError(
            f"{path} has no classifier: give the file with the top (without `no_top` or `notop` in its name), "
            "or train one with python -m cnn_jax.train"
        )
    if not has_top:
        model = replace(model, layers=ARCHITECTURES[config.name].body(model_config))
    variables, _ = transfer.merge(
        model.shapes,
        leaves,
        new_layers=(),
        replaced_layers=(),
        depthwise_layers=depthwise_layers(model.layers),
        source=str(path),
    )
    return Pretrained(path, model_config, model, variables, has_top)


def _load_keras(config: PretrainedConfig, need_top: bool) -> Pretrained:
    """The network that the file itself describes."""
    given = config.model_config()
    path = locate(given)
    assert path is not None, "PretrainedConfig refuses `none`"
    if path.is_dir():
        raise WeightsError(f"model.weights={path} is a run: give it as --checkpoint")
    network = keras_description.network(path, given.image_size)
    if config.image_size is not None and given.image_size != network.image_size:
        raise WeightsError(
            f"model.image_size={as_flag(given.image_size)}: {path} takes images of {in_pixels(network.image_size)}"
        )
    if network.classes is None and need_top:
        raise WeightsError(f"{path} has no classifier: train one with python -m cnn_jax.train")
    model = as_model(network, given)
    variables, _ = transfer.merge(
        model.shapes,
        keras_arrays.read(path, network),
        new_layers=(),
        replaced_layers=(),
        depthwise_layers=(),  # theirs were changed as they were read
        source=str(path),
    )
    names, where = None, ""
    if network.classes is not None:
        names, where = class_names.find(path, network.classes, config.classes)
    scaling = network.scaling or f"none of its own; here {model.normalisation}"
    notes = [f"scaling of images: {scaling}", *([f"names of the classes: {where}"] if where else []), *network.notes]
    described = replace(given, image_size=network.image_size)
    return Pretrained(path, described, model, variables, network.classes is not None, names, tuple(notes))


def _assumed(config: PretrainedConfig) -> ModelConfig:
    """The configuration; what was left open is that of the weights that come with the package, or has its default."""
    given = config.model_config()
    if config.weights not in BUNDLED:
        return given
    record = BUNDLED[config.weights]
    return replace(given, alpha=config.alpha or record.alpha, image_size=config.image_size or record.image_size)


def _described(config: PretrainedConfig, path: Path, leaves: Leaves) -> ModelConfig:
    """The configuration with what was left open read off the file."""
    given = _assumed(config)
    if config.alpha is None:
        given = replace(given, alpha=next(fitting_alphas(config.name, leaves), given.alpha))
    if config.image_size is None and config.weights not in BUNDLED:
        size = re.search(r"(?<!\d)(96|128|160|192|224)(?!\d)", path.stem)
        given = replace(given, image_size=int(size[1]) if size else given.image_size)
    return given


def _top_layers(model: Model, config: ModelConfig) -> list[str]:
    body = len(ARCHITECTURES[config.name].body(config))
    return [str(layer.name) for layer in model.layers[body:]]
